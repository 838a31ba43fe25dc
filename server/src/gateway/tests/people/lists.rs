//! Viewers of member lists, whatever happens and however slow they are.

use super::*;

#[tokio::test]
async fn viewers_see_the_list_as_it_is_whatever_happens() {
    let world = world().await;
    let ann = world.user("ann").await;
    let (server, _) = world.server(&ann, &[]).await;
    let users = crowd(&world, server, 150).await;
    let views = [(0, 20), (10, 100), (140, 30)];
    let viewer = world.connect(watching(&ann), 256);
    viewer.send(Input::View(ranges(server, &views)));
    let mut picture = Picture::default();
    let mut rng = StdRng::seed_from_u64(4);
    let mut live: HashMap<usize, Client> = HashMap::new();
    for step in 0..400 {
        let n = rng.random_range(0..users.len());
        happen(&world, &mut rng, &ann, server, &users[n], n, &mut live).await;
        if step % 40 == 39 {
            picture.rest(&viewer).await;
        }
    }
    // The grace of those who went last.
    tokio::time::sleep(GRACE).await;
    let fresh = world.connect(watching(&ann), 256);
    fresh.send(Input::View(ranges(server, &views)));
    let mut truth = Picture::default();
    truth.rest(&fresh).await;
    picture.rest(&viewer).await;
    for (start, count) in views {
        let expected = truth.places(start, count);
        assert!(!expected.is_empty());
        assert_eq!(picture.places(start, count), expected, "from {start}");
    }
    let statuses = |p: &Picture| users.iter().map(|user| p.status(user)).collect::<Vec<_>>();
    assert_eq!(statuses(&picture), statuses(&truth));
    assert!(live.len() > 10, "some are here");
}

#[tokio::test]
async fn a_slow_viewer_misses_nothing_and_is_sent_the_latest() {
    let world = world().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let (server, _) = world.server(&ann, &[&bob]).await;
    let users = crowd(&world, server, 260).await;
    // It takes four frames, and reads nothing for a while.
    let slow = world.connect(viewed(&bob), 4);
    slow.ready().await;
    slow.send(Input::View(ranges(server, &[(0, 100), (100, 100)])));
    let mut picture = Picture::default();
    let synced = |p: &Picture| p.ranges.len() == 2;
    picture.until(&slow, "two ranges", synced).await;
    let mut live = Vec::new();
    for tick in 0..8 {
        for user in &users[tick * 10..tick * 10 + 10] {
            live.push(world.connect(identify(user), 256));
        }
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    let fresh = world.connect(viewed(&ann), 256);
    fresh.send(Input::View(ranges(server, &[(0, 100), (100, 100)])));
    let mut truth = Picture::default();
    truth.until(&fresh, "two ranges", synced).await;
    truth.rest(&fresh).await;
    let same = |p: &Picture| {
        [0, 100]
            .iter()
            .all(|at| p.places(*at, 100) == truth.places(*at, 100))
    };
    assert!(!same(&picture), "it has missed something");
    picture.until(&slow, "it has caught up", same).await;
}

async fn happen(
    world: &World,
    rng: &mut StdRng,
    ann: &User,
    server: Id,
    user: &User,
    n: usize,
    live: &mut HashMap<usize, Client>,
) {
    match rng.random_range(0..6) {
        0 | 1 => {
            live.insert(n, world.connect(identify(user), 256));
        }
        2 => drop(live.remove(&n)),
        3 => {
            if let Some(client) = live.get(&n) {
                let statuses = [Status::Idle, Status::Online, Status::Invisible];
                set(client, 1, statuses[rng.random_range(0..3)], "words").await;
            }
        }
        4 => {
            // Who isn't there comes again.
            let roles = [Role::Member, Role::Moderator, Role::Admin];
            let role = roles[rng.random_range(0..3)];
            let id = user.caller.user_id;
            let changed = world
                .domain
                .update_member(&ann.caller, server, id, role)
                .await;
            if changed.is_err() {
                world.join(user, server).await;
            } else if rng.random_bool(0.3) {
                world.kick(ann, server, user).await;
            }
        }
        _ => {
            let name = format!("{} {n}", ["zoe", "Émile", "bert"][rng.random_range(0..3)]);
            let changes = ProfileChanges {
                display_name: Some(name),
                metadata: None,
            };
            let changed = world.domain.update_profile(&user.caller, changes).await;
            changed.expect("another name");
        }
    }
}

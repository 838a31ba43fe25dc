//! What lists of members are made of.

use super::*;

pub(crate) async fn members_are_found_among_users<P: Place>() {
    let world = World::<P>::new().await;
    world.account(4).await;
    for user in [3, 4] {
        world.join(SERVER, user).await;
    }
    let all = world.store.members(SERVER, 0, 9).await.unwrap();
    assert_eq!(all.len(), 3, "the owner, too");
    let found = world.store.members_among(SERVER, &[4, 99, OWNER, 3]).await;
    assert_eq!(found.unwrap(), all, "99 is none");
    let names = world.store.member_names(SERVER, 0, 9).await.unwrap();
    let expected = all.iter().map(|(member, user)| {
        let name = user.display_name.clone();
        (member.user_id, member.role, name)
    });
    assert_eq!(names, expected.collect::<Vec<_>>());
    let rest = world.store.member_names(SERVER, names[0].0, 1).await;
    assert_eq!(rest.unwrap(), &names[1..2]);
    let others = world.store.members_among(7, &[OWNER]).await;
    assert!(others.unwrap().is_empty());
}

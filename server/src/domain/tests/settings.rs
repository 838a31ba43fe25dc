//! Who may write to whom directly.

use super::*;
use crate::model::{ChannelType, DirectMessages, UserSettings};

async fn set(world: &World, caller: &Caller, direct_messages: DirectMessages) {
    let changes = SettingsChanges {
        direct_messages: Some(direct_messages),
    };
    let set = world.domain.update_settings(caller, changes).await.unwrap();
    assert_eq!(set, UserSettings { direct_messages });
    assert_eq!(world.domain.get_settings(caller).await.unwrap(), set);
}

#[tokio::test]
async fn who_is_not_wanted_opens_no_direct_channel() {
    let world = World::new().await;
    let (anna, ben, eve) = (
        world.user("anna").await,
        world.user("ben").await,
        world.user("eve").await,
    );
    world.server(&ben, &[&anna]).await;
    set(&world, &anna, DirectMessages::SharedServers).await;
    assert_eq!(why(world.direct(&eve, &anna).await), Reason::DirectRefused);
    let direct = world.direct(&ben, &anna).await.unwrap();
    world.send(&ben, direct, "hi").await.unwrap();
    set(&world, &anna, DirectMessages::Nobody).await;
    assert_eq!(why(world.direct(&ben, &anna).await), Reason::DirectRefused);
    // A group asks each of its users.
    let group = |members: &[&Caller]| NewChannel {
        member_ids: members.iter().map(|member| member.user_id).collect(),
        ..new_channel(0, ChannelType::Direct, "")
    };
    let create = |members: &[&Caller]| world.domain.create_channel(&eve, group(members));
    assert_eq!(why(create(&[&ben, &anna]).await), Reason::DirectRefused);
    set(&world, &anna, DirectMessages::Everyone).await;
    let group = create(&[&ben, &anna]).await.unwrap().id;
    // Within a group, whoever is there writes: who doesn't want that leaves.
    set(&world, &anna, DirectMessages::Nobody).await;
    world.send(&eve, group, "hi all").await.unwrap();
    // The integrator itself isn't bound by it.
    let service = world.service().await;
    let notice = world.direct(&service, &anna).await.unwrap();
    world.send(&service, notice, "welcome").await.unwrap();
}

#[tokio::test]
async fn a_setting_holds_for_a_conversation_that_is_there() {
    let world = World::new().await;
    let (anna, ben) = (world.user("anna").await, world.user("ben").await);
    let (server, _) = world.server(&ben, &[&anna]).await;
    let direct = world.direct(&ben, &anna).await.unwrap();
    let first = world.send(&ben, direct, "hi").await.unwrap();
    set(&world, &anna, DirectMessages::SharedServers).await;
    world.send(&ben, direct, "still").await.unwrap();
    world.domain.leave_server(&anna, server).await.unwrap();
    let domain = &world.domain;
    assert_eq!(
        why(world.send(&ben, direct, "?").await),
        Reason::DirectRefused
    );
    let edit = domain.edit_message(&ben, direct, first, "?".into()).await;
    assert_eq!(why(edit), Reason::DirectRefused);
    assert_eq!(
        why(domain.start_typing(&ben, direct).await),
        Reason::DirectRefused
    );
    // It binds others, not whose it is; what was said stays.
    world.send(&anna, direct, "bye").await.unwrap();
    domain.get_message(&ben, direct, first).await.unwrap();
    domain.delete_message(&ben, direct, first).await.unwrap();
    world.domain.join_by_id(&anna, server).await.unwrap();
    world.send(&ben, direct, "back").await.unwrap();
}

#[tokio::test]
async fn a_setting_is_told_when_it_changes_and_holds_from_the_commit_on() {
    let world = World::new().await;
    let (anna, ben) = (world.user("anna").await, world.user("ben").await);
    let direct = world.direct(&ben, &anna).await.unwrap();
    world.send(&ben, direct, "hi").await.unwrap();
    // Remembered, and read anew once it may have changed: by whoever hears of the change first.
    let (domain, caller) = (world.domain.clone(), ben.clone());
    let (seen, sees) = std::sync::mpsc::channel();
    *world.probe.look.lock().unwrap() = Some(Box::new(move || {
        let (domain, caller, seen) = (domain.clone(), caller.clone(), seen.clone());
        tokio::spawn(async move {
            let send = SendMessage {
                channel_id: direct,
                content: "?".into(),
                ..SendMessage::default()
            };
            let sent = domain.accept_message(&caller, send).await;
            seen.send(sent.err().map(|error| error.reason)).unwrap();
        });
    }));
    set(&world, &anna, DirectMessages::Nobody).await;
    *world.probe.look.lock().unwrap() = None;
    let first = tokio::task::spawn_blocking(move || sees.recv_timeout(PATIENCE).unwrap());
    assert_eq!(first.await.unwrap(), Some(Reason::DirectRefused));
    set(&world, &anna, DirectMessages::Nobody).await;
    let updated =
        |event: &v1::event::Event| matches!(event, v1::event::Event::UserSettingsUpdated(_));
    let told = world.told_user(&anna).await;
    assert_eq!(told.iter().filter(|event| updated(event)).count(), 1);
    assert!(
        !world.told_user(&ben).await.iter().any(updated),
        "one's own"
    );
}

#[tokio::test]
async fn blocks_are_listed_in_pages() {
    let world = World::new().await;
    let (anna, ben, eve) = (
        world.user("anna").await,
        world.user("ben").await,
        world.user("eve").await,
    );
    for other in [&ben, &eve] {
        world.domain.block_user(&anna, other.user_id).await.unwrap();
    }
    let list = |after, size| world.domain.list_blocks(&anna, after, size);
    let page = list(0, 1).await.unwrap();
    assert_eq!((page.items[0].id, page.more), (ben.user_id, true));
    let page = list(ben.user_id, 1).await.unwrap();
    assert_eq!((page.items[0].id, page.more), (eve.user_id, false));
    let others = world.domain.list_blocks(&ben, 0, 0).await.unwrap();
    assert!(others.items.is_empty());
    assert_eq!(list(0, -1).await.unwrap_err().fields[0].path, "page_size");
}

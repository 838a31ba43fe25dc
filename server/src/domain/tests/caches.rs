//! Nothing stale is read once a change is committed, and nothing stale stays.

use super::*;
use crate::model::ChannelType;
use futures::poll;
use std::collections::HashMap;
use tokio::runtime::Handle;

/// Users with a server, a private channel of `anna`'s in it, and an open server that is empty.
struct Town {
    world: World,
    owner: Caller,
    anna: Caller,
    ben: Caller,
    service: Caller,
    server: Id,
    general: Id,
    secret: Id,
    other: Id,
}

impl Town {
    async fn new() -> Self {
        let world = World::new().await;
        let (owner, anna, ben) = (
            world.user("owner").await,
            world.user("anna").await,
            world.user("ben").await,
        );
        let (server, general) = world.server(&owner, &[&anna]).await;
        let (other, _) = world.server(&owner, &[]).await;
        Self {
            service: world.service().await,
            secret: world.private(&owner, server, &[&anna]).await,
            world,
            owner,
            anna,
            ben,
            server,
            general,
            other,
        }
    }

    fn users(&self) -> [Id; 3] {
        [self.owner.user_id, self.anna.user_id, self.ben.user_id]
    }

    /// What each user may see, as the store has it.
    async fn truth(&self) -> HashMap<Id, Visible> {
        let domain = &self.world.domain;
        let fresh = Domain::new(
            domain.store.clone(),
            domain.bus.clone(),
            domain.config.clone(),
            domain.clock.clone(),
        );
        look(&fresh, &self.users()).await
    }

    /// Makes a change and, between its commit and its answer, looks as gateways do.
    async fn change<T>(&self, what: &str, change: impl Future<Output = Result<T, Error>>) -> T {
        let domain = self.world.domain.clone();
        let before = look(&domain, &self.users()).await;
        let saw = Arc::new(std::sync::Mutex::new(HashMap::new()));
        let (seen, users, runtime) = (saw.clone(), self.users(), Handle::current());
        *self.world.probe.look.lock().unwrap() = Some(Box::new(move || {
            let now = tokio::task::block_in_place(|| runtime.block_on(look(&domain, &users)));
            *seen.lock().unwrap() = now;
        }));
        let made = change
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        *self.world.probe.look.lock().unwrap() = None;
        let truth = self.truth().await;
        assert_ne!(truth, before, "{what} changes what is visible");
        assert_eq!(*saw.lock().unwrap(), truth, "{what}, before its answer");
        let after = look(&self.world.domain, &self.users()).await;
        assert_eq!(after, truth, "{what}, after its answer");
        made
    }

    /// Begins a change and gives it up at once; waits until it is made all the same, and seen.
    async fn give_up<T>(&self, what: &str, change: impl Future<Output = Result<T, Error>>) {
        let before = look(&self.world.domain, &self.users()).await;
        {
            let mut change = std::pin::pin!(change);
            assert!(poll!(&mut change).is_pending(), "{what} takes a commit");
        }
        let made = async {
            while self.truth().await == before {
                tokio::task::yield_now().await;
            }
            while look(&self.world.domain, &self.users()).await != self.truth().await {
                tokio::task::yield_now().await;
            }
        };
        let made = tokio::time::timeout(PATIENCE, made).await;
        made.unwrap_or_else(|_| panic!("{what} is not made, or not seen"));
    }
}

async fn look(domain: &Domain, users: &[Id]) -> HashMap<Id, Visible> {
    let mut seen = HashMap::new();
    for user in users {
        seen.insert(*user, domain.visible(*user).await.unwrap());
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_for_members_is_seen_from_the_commit_on() {
    let town = Town::new().await;
    let domain = &town.world.domain;
    let (owner, anna, ben, server) = (&town.owner, &town.anna, &town.ben, town.server);
    town.change("join", domain.join_by_id(ben, server)).await;
    town.change("leave", domain.leave_server(ben, server)).await;
    let invite = domain
        .create_invite(owner, new_invite(server, 0, 0))
        .await
        .unwrap();
    let join = domain.join_by_invite(ben, invite.code);
    town.change("join by an invitation", join).await;
    let kick = domain.kick_member(owner, server, ben.user_id, String::new());
    town.change("kick", kick).await;
    let add = domain.add_member(&town.service, server, ben.user_id);
    town.change("add", add).await;
    for role in [Role::Admin, Role::Member, Role::Owner] {
        let update = domain.update_member(owner, server, ben.user_id, role);
        town.change("a role", update).await;
    }
    let ban = domain.ban_user(ben, server, anna.user_id, String::new(), 0);
    town.change("ban", ban).await;
    town.change("delete a server", domain.delete_server(ben, server))
        .await;
    let new = NewServer {
        name: "new".into(),
        ..NewServer::default()
    };
    town.change("create a server", domain.create_server(anna, new))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_about_channels_is_seen_from_the_commit_on() {
    let town = Town::new().await;
    let domain = &town.world.domain;
    let (owner, anna, ben, server) = (&town.owner, &town.anna, &town.ben, town.server);
    domain.join_by_id(ben, server).await.unwrap();
    for kind in [ChannelType::Text, ChannelType::Private] {
        let new = new_channel(server, kind, "new");
        let channel = town
            .change("create a channel", domain.create_channel(owner, new))
            .await;
        let changes = ChannelChanges {
            name: Some("other".into()),
            ..ChannelChanges::default()
        };
        let update = domain.update_channel(owner, channel.id, changes);
        if kind == ChannelType::Text {
            town.change("update a channel", update).await;
        } else {
            update.await.unwrap();
        }
        let delete = domain.delete_channel(owner, channel.id);
        town.change("delete a channel", delete).await;
    }
    let add = domain.add_channel_member(owner, town.secret, ben.user_id);
    town.change("add a channel's member", add).await;
    let remove = domain.remove_channel_member(owner, town.secret, ben.user_id);
    town.change("remove a channel's member", remove).await;
    let direct = town.world.direct(anna, ben);
    town.change("a direct channel", direct).await;
    let delete = domain.delete_account(anna, String::new());
    town.change("delete an account", delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_nobody_waits_for_is_made_and_seen() {
    let town = Town::new().await;
    let domain = &town.world.domain;
    let (owner, anna, ben, server) = (&town.owner, &town.anna, &town.ben, town.server);
    town.give_up("join", domain.join_by_id(ben, server)).await;
    let update = domain.update_member(owner, server, ben.user_id, Role::Admin);
    town.give_up("a role", update).await;
    let kick = domain.kick_member(owner, server, ben.user_id, String::new());
    town.give_up("kick", kick).await;
    let new = new_channel(server, ChannelType::Text, "new");
    town.give_up("create a channel", domain.create_channel(owner, new))
        .await;
    let remove = domain.remove_channel_member(owner, town.secret, anna.user_id);
    town.give_up("remove a channel's member", remove).await;
    town.give_up(
        "delete a channel",
        domain.delete_channel(owner, town.general),
    )
    .await;
    town.give_up("a direct channel", town.world.direct(anna, ben))
        .await;
    let delete = domain.delete_account(anna, String::new());
    town.give_up("delete an account", delete).await;
    town.give_up("delete a server", domain.delete_server(owner, town.other))
        .await;
}

#[tokio::test]
async fn a_block_that_nobody_waits_for_is_made_and_seen() {
    let town = Town::new().await;
    let domain = &town.world.domain;
    let (anna, ben) = (&town.anna, &town.ben);
    let direct = town.world.direct(anna, ben).await.unwrap();
    town.world.send(anna, direct, "hello").await.unwrap();
    {
        let mut block = std::pin::pin!(domain.block_user(ben, anna.user_id));
        while !domain
            .store
            .blocked(anna.user_id, ben.user_id)
            .await
            .unwrap()
        {
            let _ = poll!(&mut block);
        }
    }
    let refused = async {
        while town.world.send(anna, direct, "still?").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused)
        .await
        .expect("the block is seen");
}

#[tokio::test]
async fn an_ending_that_nobody_waits_for_ends_the_session() {
    let town = Town::new().await;
    let domain = &town.world.domain;
    let (caller, tokens) = town.world.sign_in(town.anna.user_id).await;
    domain.authenticate(&tokens.access).await.unwrap();
    {
        let mut logout = std::pin::pin!(domain.logout(&caller));
        assert!(poll!(&mut logout).is_pending());
    }
    let refused = async {
        while domain.authenticate(&tokens.access).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused)
        .await
        .expect("the session ends");
}

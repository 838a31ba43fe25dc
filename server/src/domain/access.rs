//! What callers may see and do, from the caches.

use super::cache::Changing;
use super::permissions::{Action, Place, allows};
use super::{Caller, Channels, Domain, Error, Roles};
use crate::model::{Channel, ChannelType, Id, Role};
use crate::mutation;
use crate::store::{ServerSnapshot, UserSnapshot};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A channel, and the lists that have it, while they change.
pub(super) type ChannelChanging<'a> = (Changing<'a, Id, Arc<Channel>>, Changing<'a, Id, Channels>);

/// Everything that a user may see now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    /// Its servers and its role in each.
    pub servers: BTreeMap<Id, Role>,
    /// The channels of those servers that it may see, and its direct channels.
    pub channels: BTreeMap<Id, Arc<Channel>>,
}

impl Domain {
    /// Everything that a user may see now.
    pub async fn visible(&self, user: Id) -> Result<Visible, Error> {
        let servers = self.roles_of(user).await?;
        let mut channels = BTreeMap::new();
        for (server, role) in servers.iter() {
            for channel in self.channels_of(*server).await?.iter() {
                let leaks = mutation::on("private_leaks");
                if leaks || may(user, Some(*role), channel, Action::See) {
                    channels.insert(channel.id, channel.clone());
                }
            }
        }
        for channel in self.directs_of(user).await?.iter() {
            channels.insert(channel.id, channel.clone());
        }
        Ok(Visible {
            servers: (*servers).clone(),
            channels,
        })
    }

    /// Whether a user may see a channel.
    pub async fn can_see_channel(&self, user: Id, channel: Id) -> Result<bool, Error> {
        Ok(self.visible_channel(user, channel).await?.is_some())
    }

    /// A channel, if the user may see it.
    pub async fn visible_channel(
        &self,
        user: Id,
        channel: Id,
    ) -> Result<Option<Arc<Channel>>, Error> {
        let Some(channel) = self.channel_of(channel).await? else {
            return Ok(None);
        };
        let role = self.role_of(user, channel.server_id).await?;
        Ok(may(user, role, &channel, Action::See).then_some(channel))
    }

    /// The channel, if the caller may do that there. What it may not see is absent.
    pub async fn authorise(
        &self,
        caller: &Caller,
        channel: Id,
        action: Action,
    ) -> Result<Arc<Channel>, Error> {
        let channel = self.channel_of(channel).await?.ok_or_else(no_channel)?;
        let role = self.caller_role(caller, channel.server_id).await?;
        let hidden = !may(caller.user_id, role, &channel, Action::See);
        if hidden && !(channel.kind == ChannelType::Private && mutation::on("hidden_told")) {
            return Err(no_channel());
        }
        if !may(caller.user_id, role, &channel, action) {
            return Err(Error::denied(
                "The caller's role may not do that in this channel.",
            ));
        }
        self.refuse_timed_out(caller, role, channel.server_id, action)
            .await?;
        Ok(channel)
    }

    /// The caller's role in a server, if it may do that there. What it may not see is absent.
    pub(super) async fn authorise_server(
        &self,
        caller: &Caller,
        server: Id,
        action: Action,
    ) -> Result<Role, Error> {
        let role = self.caller_role(caller, server).await?;
        if caller.is_service() {
            // It counts as an owner of all that there are.
            self.server_of(server).await?;
        }
        let Some(role) = role.filter(|role| allows(Some(*role), Place::Server, Action::See)) else {
            return Err(Error::not_found("server"));
        };
        if !allows(Some(role), Place::Server, action) {
            return Err(Error::denied(
                "The caller's role may not do that in this server.",
            ));
        }
        self.refuse_timed_out(caller, Some(role), server, action)
            .await?;
        Ok(role)
    }

    /// What the caller counts as: a service key as an owner, everywhere.
    pub(super) async fn caller_role(
        &self,
        caller: &Caller,
        server: Id,
    ) -> Result<Option<Role>, Error> {
        if caller.is_service() && server != 0 {
            return Ok(Some(Role::Owner));
        }
        self.role_of(caller.user_id, server).await
    }

    /// A user's topic's snapshot, with the private channels that its roles show it.
    pub async fn user_snapshot(&self, user: Id) -> Result<UserSnapshot, Error> {
        let snapshot = self.store.user_snapshot(user).await?;
        let mut snapshot = snapshot.ok_or_else(|| Error::not_found("user"))?;
        for (server, role) in &snapshot.servers {
            if *role < Role::Admin {
                continue;
            }
            for channel in self.channels_of(*server).await?.iter() {
                let named = snapshot.channels.iter().any(|other| other.id == channel.id);
                if channel.kind == ChannelType::Private && !named {
                    snapshot.channels.push((**channel).clone());
                }
            }
        }
        Ok(snapshot)
    }

    /// A server's topic's snapshot, with the channels that the user may see.
    pub async fn server_snapshot(&self, user: Id, server: Id) -> Result<ServerSnapshot, Error> {
        let absent = || Error::not_found("server");
        let role = self.role_of(user, server).await?.ok_or_else(absent)?;
        let mut snapshot = self
            .store
            .server_snapshot(server)
            .await?
            .ok_or_else(absent)?;
        snapshot
            .channels
            .retain(|channel| may(user, Some(role), channel, Action::See));
        Ok(snapshot)
    }

    pub(super) async fn roles_of(&self, user: Id) -> Result<Roles, Error> {
        let read = || {
            let store = self.store.clone();
            async move {
                let roles = store.roles_of(user).await?;
                Ok(Arc::new(roles.into_iter().collect()))
            }
        };
        self.roles.get(&user, read).await
    }

    pub(super) async fn role_of(&self, user: Id, server: Id) -> Result<Option<Role>, Error> {
        if server == 0 {
            return Ok(None);
        }
        Ok(self.roles_of(user).await?.get(&server).copied())
    }

    pub(super) async fn channel_of(&self, id: Id) -> Result<Option<Arc<Channel>>, Error> {
        let read = || {
            let store = self.store.clone();
            async move {
                let channel = store.channel(id).await;
                let channel = channel.map_err(|error| Some(Error::from(error)))?;
                channel.map(Arc::new).ok_or(None)
            }
        };
        // What is absent isn't kept: it may be made the next moment.
        match self.channels.get(&id, read).await {
            Ok(channel) => Ok(Some(channel)),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    pub(super) async fn channels_of(&self, server: Id) -> Result<Channels, Error> {
        let read = || {
            let store = self.store.clone();
            async move {
                let channels = store.channels_of_server(server).await?;
                Ok(Arc::new(channels.into_iter().map(Arc::new).collect()))
            }
        };
        self.server_channels.get(&server, read).await
    }

    pub(super) async fn directs_of(&self, user: Id) -> Result<Channels, Error> {
        let read = || {
            let store = self.store.clone();
            async move {
                let channels = store.direct_channels_of(user).await?;
                Ok(Arc::new(channels.into_iter().map(Arc::new).collect()))
            }
        };
        self.direct_channels.get(&user, read).await
    }

    /// A channel, and the lists that have it, change from now on until the guards are dropped.
    pub(super) fn changing_channel(&self, channel: &Channel) -> ChannelChanging<'_> {
        let lists = if channel.server_id == 0 {
            let members = channel.member_ids.iter().copied();
            self.direct_channels.changing(members)
        } else {
            self.server_channels.changing([channel.server_id])
        };
        (self.channels.changing([channel.id]), lists)
    }

    /// Whether either of two users blocks the other.
    pub(super) async fn blocked(&self, a: Id, b: Id) -> Result<bool, Error> {
        let pair = (a.min(b), a.max(b));
        let read = || {
            let store = self.store.clone();
            async move { Ok(store.blocked(pair.0, pair.1).await?) }
        };
        self.blocks.get(&pair, read).await
    }

    /// Whether two users block each other changes from now on until the guard is dropped.
    pub(super) fn changing_block(&self, a: Id, b: Id) -> Changing<'_, (Id, Id), bool> {
        self.blocks.changing([(a.min(b), a.max(b))])
    }
}

/// Whether a user of a role may do that in a channel.
pub(super) fn may(user: Id, role: Option<Role>, channel: &Channel, action: Action) -> bool {
    let member = channel.member_ids.binary_search(&user).is_ok();
    allows(
        role,
        Place::Channel {
            kind: channel.kind,
            member,
        },
        action,
    )
}

fn no_channel() -> Error {
    Error::not_found("channel")
}

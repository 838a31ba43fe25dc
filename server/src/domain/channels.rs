//! Channels.

use super::access::may;
use super::accounts::on_user;
use super::audit::{change, channel_changes, check_slow_mode};
use super::permissions::Action;
use super::servers::{check_description, check_request, on_server, request_reused};
use super::{Caller, Domain, Error, Listed, Reason, pages};
use crate::model::{
    AuditAction, AuditEntry, Channel, ChannelType, EventBody, Id, Metadata, Role, TopicKey,
};
use crate::store::NewEvent;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::RwLockWriteGuard;

/// Members that are named in a private channel.
const NAMED_MAX: u32 = 1_000;
/// Others in a direct channel.
const OTHERS_MAX: usize = 9;
/// Who is in a direct channel of fewer doesn't leave it.
const LEFT_MIN: usize = 3;

/// A channel to make.
#[derive(Clone, Debug)]
pub struct NewChannel {
    /// The server; 0 for a direct channel.
    pub server_id: Id,
    /// Who sees it and who writes to it.
    pub kind: ChannelType,
    /// 1 to 100 characters; empty for a direct channel.
    pub name: String,
    /// At most 1,024 characters.
    pub description: String,
    /// Place in the server's list.
    pub rank: i32,
    /// Members besides the caller.
    pub member_ids: Vec<Id>,
    /// What the integrator attaches.
    pub metadata: Metadata,
    /// A UUID that makes a repeat safe, or empty.
    pub request_id: String,
    /// Seconds that a user waits between two messages: 0 to 21,600; 0 for a direct channel.
    pub slow_mode_s: i32,
}

/// Changes of a channel: what is given.
#[derive(Clone, Debug, Default)]
pub struct ChannelChanges {
    /// Its name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Its place.
    pub rank: Option<i32>,
    /// What the integrator attaches.
    pub metadata: Option<Metadata>,
    /// Seconds that a user waits between two messages.
    pub slow_mode_s: Option<i32>,
}

/// A channel that doesn't change while this is held.
struct Held<'a> {
    channel: Channel,
    _lock: RwLockWriteGuard<'a, ()>,
}

impl Domain {
    /// Makes a channel: in a server, or a direct one. A direct one of two that is there is given
    /// back.
    pub async fn create_channel(
        self: &Arc<Self>,
        caller: &Caller,
        new: NewChannel,
    ) -> Result<Channel, Error> {
        check_description(&new.description)?;
        check_slow_mode("slow_mode_seconds", new.slow_mode_s)?;
        self.check_metadata(&new.metadata)?;
        let request = check_request(caller, &new.request_id)?;
        self.throttle.create(caller)?;
        let caller = caller.clone();
        self.complete(|domain| async move {
            if new.kind == ChannelType::Direct {
                let channel = domain.new_direct(&caller, new).await?;
                return domain.write_channel(&caller, channel, request).await;
            }
            let _held = domain.hold(new.server_id).await;
            let channel = domain.new_in_server(&caller, new).await?;
            domain.write_channel(&caller, channel, request).await
        })
        .await
    }

    async fn new_direct(&self, caller: &Caller, new: NewChannel) -> Result<Channel, Error> {
        if new.server_id != 0 {
            return Err(Error::field(
                "server_id",
                "given; a DIRECT channel has no server",
            ));
        }
        if !new.name.is_empty() {
            return Err(Error::field("name", "given; a DIRECT channel has none"));
        }
        if new.slow_mode_s != 0 {
            let problem = "given; a DIRECT channel has none";
            return Err(Error::field("slow_mode_seconds", problem));
        }
        let mut members: BTreeSet<Id> = new.member_ids.iter().copied().collect();
        members.remove(&caller.user_id);
        if members.is_empty() || members.len() > OTHERS_MAX {
            let problem = format!("{} other users; 1 to {OTHERS_MAX} are", members.len());
            return Err(Error::field("member_ids", problem));
        }
        for user in &members {
            self.profile(*user).await?;
            if self.blocked(caller.user_id, *user).await? {
                let message = "One of the two users blocks the other.";
                return Err(Error::new(Reason::Blocked, message));
            }
            self.refuse_unwanted(caller, *user).await?;
        }
        members.insert(caller.user_id);
        self.channel_from(new, String::new(), members)
    }

    async fn new_in_server(&self, caller: &Caller, new: NewChannel) -> Result<Channel, Error> {
        if new.server_id <= 0 {
            return Err(Error::field(
                "server_id",
                "missing; only a DIRECT channel has none",
            ));
        }
        let name = self.check_name("name", &new.name)?;
        self.authorise_server(caller, new.server_id, Action::CreateChannel)
            .await?;
        let mut members: BTreeSet<Id> = new.member_ids.iter().copied().collect();
        if new.kind != ChannelType::Private && !members.is_empty() {
            return Err(Error::field(
                "member_ids",
                "given; every member sees this channel",
            ));
        }
        // A service key that isn't a member itself makes channels for those who are.
        let role = self.role_of(caller.user_id, new.server_id).await?;
        if new.kind == ChannelType::Private && role.is_some() {
            members.insert(caller.user_id);
        }
        if members.len() > NAMED_MAX as usize {
            let problem = format!(
                "{} users, yours included; at most {NAMED_MAX} are",
                members.len()
            );
            return Err(Error::field("member_ids", problem));
        }
        self.channel_from(new, name, members)
    }

    fn channel_from(
        &self,
        new: NewChannel,
        name: String,
        members: BTreeSet<Id>,
    ) -> Result<Channel, Error> {
        Ok(Channel {
            id: self.mint()?,
            server_id: new.server_id,
            kind: new.kind,
            name,
            description: new.description,
            rank: new.rank,
            member_ids: members.into_iter().collect(),
            metadata: new.metadata,
            slow_mode_s: new.slow_mode_s,
        })
    }

    /// Stores a channel; its server's lock is held.
    async fn write_channel(
        &self,
        caller: &Caller,
        channel: Channel,
        request: Option<(Id, String)>,
    ) -> Result<Channel, Error> {
        let events = if is_open(channel.kind) {
            vec![on_server(
                channel.server_id,
                EventBody::ChannelCreated(channel.clone()),
            )]
        } else {
            let added = EventBody::TopicAdded(TopicKey::channel(channel.id));
            self.to_watchers(&channel, &added).await?
        };
        let most = match channel.kind {
            ChannelType::Direct => self.favoured(caller, self.limits().direct_channels_per_user),
            _ => self.bound(self.limits().channels_per_server),
        };
        let audit = match channel.kind {
            ChannelType::Direct => None,
            _ => Some(self.channel_audit(caller, &channel, AuditAction::ChannelCreated)?),
        };
        let wanted = (channel.id, channel.kind, channel.name.clone());
        let _changing = self.changing_channel(&channel);
        let made = self
            .store
            .create_channel(channel, caller.user_id, request, most, events, audit)
            .await;
        let (made, new) = made?;
        let (id, kind, name) = wanted;
        if !new && made.id != id && (made.kind != kind || made.name != name) {
            return Err(request_reused());
        }
        Ok(made)
    }

    /// A channel that the caller may see.
    pub async fn get_channel(&self, caller: &Caller, id: Id) -> Result<Arc<Channel>, Error> {
        self.authorise(caller, id, Action::See).await
    }

    /// A page of the channels of a server that the caller may see, by rank and id, after one.
    pub async fn list_channels(
        &self,
        caller: &Caller,
        server: Id,
        after: Option<(i32, Id)>,
        size: i32,
    ) -> Result<Listed<Arc<Channel>>, Error> {
        let size = pages::whole(size)?;
        let role = self.authorise_server(caller, server, Action::See).await?;
        let channels = self.channels_of(server).await?;
        let seen = channels.iter().filter(|channel| {
            Some((channel.rank, channel.id)) > after
                && may(caller.user_id, Some(role), channel, Action::See)
        });
        Ok(pages::cut(seen.cloned(), size))
    }

    /// A page of the caller's direct channels, newest first, of ids below one.
    pub async fn list_direct_channels(
        &self,
        caller: &Caller,
        before: Id,
        size: i32,
    ) -> Result<Listed<Arc<Channel>>, Error> {
        let size = pages::whole(size)?;
        let channels = self.directs_of(caller.user_id).await?;
        let older = channels.iter().filter(|channel| channel.id < before);
        Ok(pages::cut(older.cloned(), size))
    }

    /// Changes what is given of a server's channel.
    pub async fn update_channel(
        self: &Arc<Self>,
        caller: &Caller,
        id: Id,
        changes: ChannelChanges,
    ) -> Result<Channel, Error> {
        let caller = caller.clone();
        self.complete(|domain| async move {
            let before = domain.held(&caller, id, Action::ManageChannel).await?;
            let channel = domain.changed_channel(&before.channel, changes)?;
            let body = EventBody::ChannelUpdated(channel.clone());
            let open = is_open(channel.kind);
            let events = if open {
                vec![on_server(channel.server_id, body.clone())]
            } else {
                Vec::new()
            };
            let _changing = domain.changing_channel(&channel);
            let audit = AuditEntry {
                changes: channel_changes(&before.channel, &channel),
                ..domain.channel_audit(&caller, &channel, AuditAction::ChannelUpdated)?
            };
            let updated = domain
                .store
                .update_channel(channel.clone(), events, Some(audit));
            updated.await?;
            if before.channel.slow_mode_s != channel.slow_mode_s {
                domain.slow_mode.forget_channel(id);
            }
            if !open {
                domain.publish_to(id, &body, 0).await?;
            }
            Ok(channel)
        })
        .await
    }

    fn changed_channel(&self, before: &Channel, changes: ChannelChanges) -> Result<Channel, Error> {
        let mut channel = before.clone();
        if let Some(name) = changes.name {
            channel.name = self.check_name("channel.name", &name)?;
        }
        if let Some(description) = changes.description {
            check_description(&description)?;
            channel.description = description;
        }
        if let Some(metadata) = changes.metadata {
            self.check_metadata(&metadata)?;
            channel.metadata = metadata;
        }
        if let Some(slow_mode_s) = changes.slow_mode_s {
            check_slow_mode("channel.slow_mode_seconds", slow_mode_s)?;
            channel.slow_mode_s = slow_mode_s;
        }
        channel.rank = changes.rank.unwrap_or(channel.rank);
        Ok(channel)
    }

    /// Deletes a server's channel with all its messages.
    pub async fn delete_channel(self: &Arc<Self>, caller: &Caller, id: Id) -> Result<(), Error> {
        let caller = caller.clone();
        self.complete(|domain| async move {
            let before = domain.held(&caller, id, Action::ManageChannel).await?;
            let channel = &before.channel;
            let deleted = EventBody::ChannelDeleted(id);
            let open = is_open(channel.kind);
            let events = if open {
                vec![on_server(channel.server_id, deleted.clone())]
            } else {
                let removed = EventBody::TopicRemoved(TopicKey::channel(id));
                domain.to_watchers(channel, &removed).await?
            };
            let _changing = domain.changing_channel(channel);
            let audit = AuditEntry {
                changes: vec![change("name", &channel.name, "")],
                ..domain.channel_audit(&caller, channel, AuditAction::ChannelDeleted)?
            };
            let done = domain.store.delete_channel(id, events, Some(audit));
            done.await?;
            if !open {
                domain.publish_to(id, &deleted, 0).await?;
            }
            Ok(())
        })
        .await
    }

    /// Lets a member of the server into a private channel. One that is in stays.
    pub async fn add_channel_member(
        self: &Arc<Self>,
        caller: &Caller,
        id: Id,
        user: Id,
    ) -> Result<Channel, Error> {
        let caller = caller.clone();
        self.complete(|domain| async move {
            let action = Action::ManageChannelMembers;
            let before = domain.held(&caller, id, action).await?;
            let channel = &before.channel;
            let member = domain.store.member(channel.server_id, user).await?;
            member.ok_or_else(|| Error::not_found("member"))?;
            let events = vec![on_user(user, EventBody::TopicAdded(TopicKey::channel(id)))];
            let audit = AuditAction::ChannelMemberAdded;
            let audit = domain.channel_member_audit(&caller, channel, user, audit)?;
            let _changing = domain.changing_channel(channel);
            let added = domain
                .store
                .add_channel_member(id, user, NAMED_MAX, events, Some(audit))
                .await;
            if added? {
                domain.tell_channel(id).await?;
            }
            domain.stored_channel(id).await
        })
        .await
    }

    /// Takes a user out of a private channel; anyone may take out itself, also of a direct channel
    /// of three or more.
    pub async fn remove_channel_member(
        self: &Arc<Self>,
        caller: &Caller,
        id: Id,
        user: Id,
    ) -> Result<(), Error> {
        let caller = caller.clone();
        self.complete(|domain| async move {
            let action = if user == caller.user_id {
                Action::See
            } else {
                Action::ManageChannelMembers
            };
            let before = domain.held(&caller, id, action).await?;
            let channel = &before.channel;
            // Admins go on seeing it; to them it is no removal.
            let role = domain.role_of(user, channel.server_id).await?;
            let mut events = Vec::new();
            if role.is_none_or(|role| role < Role::Admin) {
                let removed = EventBody::TopicRemoved(TopicKey::channel(id));
                events.push(on_user(user, removed));
            }
            let _changing = domain.changing_channel(channel);
            let audit = AuditAction::ChannelMemberRemoved;
            let audit = domain.channel_member_audit(&caller, channel, user, audit)?;
            // Who goes itself isn't taken out.
            let audit = Some(audit).filter(|_| user != caller.user_id);
            let removed = domain.store.remove_channel_member(id, user, events, audit);
            if !removed.await? {
                return Err(Error::not_found("member"));
            }
            domain.tell_channel(id).await
        })
        .await
    }

    /// A channel that the caller may do that to, as it is while the lock is held.
    async fn held(&self, caller: &Caller, id: Id, action: Action) -> Result<Held<'_>, Error> {
        let server = self.manageable(caller, id, action).await?.server_id;
        let lock = self.hold(if server == 0 { id } else { server }).await;
        // Who asks may have lost the right while it waited for the lock.
        self.manageable(caller, id, action).await?;
        Ok(Held {
            channel: self.stored_channel(id).await?,
            _lock: lock,
        })
    }

    /// A channel that the caller may do that to; See stands for taking out itself. Of direct ones,
    /// and of members where all are members, the type is wrong rather than the role.
    async fn manageable(
        &self,
        caller: &Caller,
        id: Id,
        action: Action,
    ) -> Result<Arc<Channel>, Error> {
        let channel = self.authorise(caller, id, Action::See).await?;
        let named = action != Action::ManageChannel;
        let wrong = match channel.kind {
            ChannelType::Direct => action != Action::See || channel.member_ids.len() < LEFT_MIN,
            ChannelType::Private => false,
            ChannelType::Text | ChannelType::Announcement => named,
        };
        if wrong {
            let message = "That can't be done with a channel of this type.";
            return Err(Error::new(Reason::WrongChannelType, message));
        }
        self.authorise(caller, id, action).await
    }

    /// Tells those who see a private or direct channel how it now is.
    pub(super) async fn tell_channel(&self, id: Id) -> Result<(), Error> {
        match self.store.channel(id).await? {
            Some(channel) => {
                self.publish_to(id, &EventBody::ChannelUpdated(channel), 0)
                    .await
            }
            // Deleted meanwhile, which tells its watchers more.
            None => Ok(()),
        }
    }

    /// As [`Domain::tell_channel`], for each.
    pub(super) async fn tell_channels(&self, channels: &[Arc<Channel>]) -> Result<(), Error> {
        for channel in channels {
            self.tell_channel(channel.id).await?;
        }
        Ok(())
    }

    /// An event for each user who sees a private or direct channel, on its own topic.
    async fn to_watchers(
        &self,
        channel: &Channel,
        body: &EventBody,
    ) -> Result<Vec<NewEvent>, Error> {
        let mut users: BTreeSet<Id> = channel.member_ids.iter().copied().collect();
        if channel.server_id != 0 {
            users.extend(self.store.admins(channel.server_id).await?);
        }
        Ok(users
            .into_iter()
            .map(|user| on_user(user, body.clone()))
            .collect())
    }

    async fn stored_channel(&self, id: Id) -> Result<Channel, Error> {
        self.store
            .channel(id)
            .await?
            .ok_or_else(|| Error::not_found("channel"))
    }
}

/// Whether every member of the server sees it.
fn is_open(kind: ChannelType) -> bool {
    matches!(kind, ChannelType::Text | ChannelType::Announcement)
}

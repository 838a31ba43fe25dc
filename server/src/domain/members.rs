//! Members of servers: joining, leaving, roles, kicks, bans.

use super::access::ChannelChanging;
use super::accounts::on_user;
use super::audit::{check_reason, role_change};
use super::bulk::check_ban_deletes;
use super::permissions::{Action, outranks};
use super::servers::on_server;
use super::{Caller, Domain, Error, Listed, Reason, pages};
use crate::model::{
    AuditAction, AuditEntry, Ban, Channel, ChannelType, EventBody, Id, Member, Role, Server,
    TopicKey, Touched, User,
};
use crate::store::{self, NewEvent};
use std::sync::Arc;

/// Servers of at most so many members tell all of them of each.
pub(super) const SMALL: i32 = 250;
/// Members or bans of a page, where the caller doesn't say.
const PAGE: u32 = 100;

/// A member on its way out.
#[derive(Default)]
struct Leaving {
    events: Vec<NewEvent>,
    private: Vec<Arc<Channel>>,
}

impl Domain {
    /// Joins a server by an invitation. Who is in already gets its membership, also when that use
    /// was the invitation's last.
    pub async fn join_by_invite(
        self: &Arc<Self>,
        caller: &Caller,
        code: String,
    ) -> Result<(Server, Member), Error> {
        self.throttle.create(caller)?;
        let caller = caller.clone();
        self.complete(|domain| async move {
            let (invite, open) = domain.invite_of(&code).await?;
            let role = domain.role_of(caller.user_id, invite.server_id).await?;
            if !open && role.is_none() {
                return Err(Error::not_found("invite"));
            }
            let bound = domain.servers_max(&caller);
            domain
                .add(invite.server_id, caller.user_id, Some(code), bound)
                .await
        })
        .await
    }

    /// Joins an open server by its id; a member of any server gets its membership.
    pub async fn join_by_id(
        self: &Arc<Self>,
        caller: &Caller,
        id: Id,
    ) -> Result<(Server, Member), Error> {
        self.throttle.create(caller)?;
        let caller = caller.clone();
        self.complete(|domain| async move {
            let server = domain.server_of(id).await?;
            if !server.open && domain.role_of(caller.user_id, id).await?.is_none() {
                return Err(Error::not_found("server"));
            }
            domain
                .add(id, caller.user_id, None, domain.servers_max(&caller))
                .await
        })
        .await
    }

    /// Makes a user a member without its doing.
    pub async fn add_member(
        self: &Arc<Self>,
        caller: &Caller,
        server: Id,
        user: Id,
    ) -> Result<Member, Error> {
        caller.require_service()?;
        self.complete(|domain| async move {
            let (_, member) = domain.add(server, user, None, u32::MAX).await?;
            Ok(member)
        })
        .await
    }

    pub(super) async fn add(
        &self,
        id: Id,
        user: Id,
        invite: Option<String>,
        servers_max: u32,
    ) -> Result<(Server, Member), Error> {
        let _held = self.hold_member(id, user).await;
        let server = self.server_of(id).await?;
        let profile = self.profile(user).await?;
        let member = Member {
            // Who left while it was timed out still is.
            timed_out_until: self.timed_out_until(user, id).await?,
            ..self.new_member(id, user)
        };
        let events = joined_events(&server, &member, profile);
        let members_max = self.bound(self.limits().members_per_server);
        let _changing = self.roles.changing([user]);
        let added = self
            .store
            .add_member(member, invite, members_max, servers_max, events)
            .await;
        self.touch(Touched::Member(id, user));
        let (member, _) = added.map_err(|error| match error {
            store::Error::Conflict("banned") => {
                Error::new(Reason::Banned, "The user is banned from this server.")
            }
            other => other.into(),
        })?;
        Ok((self.server_of(id).await?, member))
    }

    /// A membership that begins now.
    pub(super) fn new_member(&self, server_id: Id, user_id: Id) -> Member {
        Member {
            server_id,
            user_id,
            role: Role::Member,
            joined_at: self.now(),
            timed_out_until: 0,
        }
    }

    /// Leaves a server. Leaving one that one isn't in is NOT_FOUND.
    pub async fn leave_server(self: &Arc<Self>, caller: &Caller, server: Id) -> Result<(), Error> {
        let user = caller.user_id;
        self.complete(|domain| async move {
            let _held = domain.hold_member(server, user).await;
            match domain.role_of(user, server).await? {
                None => Err(Error::not_found("server")),
                Some(Role::Owner) => Err(Error::new(
                    Reason::OwnerLeaves,
                    "An owner hands the server on, or deletes it.",
                )),
                Some(_) => domain.take_out(server, user, None).await,
            }
        })
        .await
    }

    /// Takes a member out; it may join again.
    pub async fn kick_member(
        self: &Arc<Self>,
        caller: &Caller,
        server: Id,
        user: Id,
        reason: String,
    ) -> Result<(), Error> {
        check_reason(&reason)?;
        let caller = caller.clone();
        self.complete(|domain| async move {
            let _held = domain.hold_member(server, user).await;
            let role = domain
                .authorise_server(&caller, server, Action::Moderate)
                .await?;
            let other = domain.member_of(server, user).await?;
            refuse_unless_outranked(&caller, role, Some(other.role))?;
            let action = AuditAction::MemberKicked;
            let audit = domain.user_audit(&caller, server, user, action, reason)?;
            domain.take_out(server, user, Some(audit)).await
        })
        .await
    }

    /// Takes a member out. Its lock is held.
    async fn take_out(&self, server: Id, user: Id, audit: Option<AuditEntry>) -> Result<(), Error> {
        let leaving = self.leaving(server, user).await?;
        let _changing = (self.roles.changing([user]), self.changing_of(&leaving));
        let events = leaving.events;
        let removed = self.store.remove_member(server, user, events, audit).await;
        self.touch(Touched::Member(server, user));
        if !removed.map_err(owner_stays)? {
            return Err(Error::not_found("member"));
        }
        self.tell_channels(&leaving.private).await
    }

    /// Takes a user out, member or not, and keeps it out. What it wrote in the last seconds (7 days
    /// at most) is deleted in the background.
    pub async fn ban_user(
        self: &Arc<Self>,
        caller: &Caller,
        server: Id,
        user: Id,
        reason: String,
        delete_s: i32,
    ) -> Result<(), Error> {
        check_reason(&reason)?;
        check_ban_deletes(delete_s)?;
        let caller = caller.clone();
        self.complete(|domain| async move {
            let _held = domain.hold(server).await;
            let role = domain
                .authorise_server(&caller, server, Action::Moderate)
                .await?;
            let other = domain.store.member(server, user).await?;
            refuse_unless_outranked(&caller, role, other.as_ref().map(|member| member.role))?;
            let leaving = match other {
                Some(_) => domain.leaving(server, user).await?,
                None => domain.profile(user).await.map(|_| Leaving::default())?,
            };
            let action = AuditAction::UserBanned;
            let audit = domain.user_audit(&caller, server, user, action, reason.clone())?;
            let ban = Ban {
                server_id: server,
                user_id: user,
                banned_by: caller.user_id,
                reason,
                created_at: domain.now(),
            };
            let _changing = (domain.roles.changing([user]), domain.changing_of(&leaving));
            let banned = domain
                .store
                .ban(ban, leaving.events, Some(audit.clone()))
                .await;
            domain.touch(Touched::Member(server, user));
            banned.map_err(owner_stays)?;
            domain.tell_channels(&leaving.private).await?;
            domain.delete_banned(&audit, delete_s).await
        })
        .await
    }

    /// Lifts a ban.
    pub async fn unban_user(
        self: &Arc<Self>,
        caller: &Caller,
        server: Id,
        user: Id,
    ) -> Result<(), Error> {
        let caller = caller.clone();
        self.complete(|domain| async move {
            let _held = domain.hold(server).await;
            domain
                .authorise_server(&caller, server, Action::Moderate)
                .await?;
            let action = AuditAction::UserUnbanned;
            let audit = domain.user_audit(&caller, server, user, action, String::new())?;
            if !domain.store.unban(server, user, Some(audit)).await? {
                return Err(Error::not_found("ban"));
            }
            Ok(())
        })
        .await
    }

    /// A page of a server's bans by user id, after one.
    pub async fn list_bans(
        &self,
        caller: &Caller,
        server: Id,
        after: Id,
        size: i32,
    ) -> Result<Listed<Ban>, Error> {
        self.authorise_server(caller, server, Action::Moderate)
            .await?;
        let size = pages::size(size, PAGE)?;
        let bans = self.store.bans(server, after, size + 1).await?;
        Ok(pages::cut(bans, size))
    }

    /// A page of a server's members by user id, after one.
    pub async fn list_members(
        &self,
        caller: &Caller,
        server: Id,
        after: Id,
        size: i32,
    ) -> Result<Listed<(Member, User)>, Error> {
        self.authorise_server(caller, server, Action::ListMembers)
            .await?;
        let size = pages::size(size, PAGE)?;
        let members = self.store.members(server, after, size + 1).await?;
        Ok(pages::cut(members, size))
    }

    /// Changes a member's role. OWNER hands the server on.
    pub async fn update_member(
        self: &Arc<Self>,
        caller: &Caller,
        server: Id,
        user: Id,
        role: Role,
    ) -> Result<Member, Error> {
        let caller = caller.clone();
        self.complete(|domain| async move {
            let _held = domain.hold(server).await;
            let action = match role {
                Role::Owner => Action::OwnServer,
                _ => Action::ManageRoles,
            };
            let own = domain.authorise_server(&caller, server, action).await?;
            let before = domain.member_of(server, user).await?;
            if before.role == role {
                return Ok(before);
            }
            refuse_role(own, before.role, role)?;
            let events = domain.role_events(&before, role).await?;
            let owner = domain.server_of(server).await?.owner_id;
            let _changing = domain.roles.changing([user, owner]);
            let audit = AuditEntry {
                target_id: user,
                changes: vec![role_change(before.role, role)],
                ..domain.audit(&caller, server, AuditAction::MemberRoleChanged)?
            };
            let set = domain
                .store
                .set_role(server, user, role, events, Some(audit));
            let changed = set.await;
            for user in [user, owner] {
                domain.touch(Touched::Member(server, user));
            }
            Ok(changed?)
        })
        .await
    }

    /// What a changed role tells: the server or the member; the private channels that come or go.
    async fn role_events(&self, before: &Member, role: Role) -> Result<Vec<NewEvent>, Error> {
        let (id, user) = (before.server_id, before.user_id);
        let mut server = self.server_of(id).await?;
        let profile = self.profile(user).await?;
        let mut events = Vec::new();
        let small = server.member_count <= SMALL;
        let mut tell = |member: Member, profile: User| {
            let user = member.user_id;
            let body = EventBody::MemberUpdated(member, profile);
            if small {
                events.push(on_server(id, body.clone()));
            }
            events.push(on_user(user, body));
        };
        tell(
            Member {
                role,
                ..before.clone()
            },
            profile,
        );
        if role == Role::Owner {
            let old = self.member_of(id, server.owner_id).await?;
            let profile = self.profile(old.user_id).await?;
            tell(
                Member {
                    role: Role::Admin,
                    ..old
                },
                profile,
            );
            server.owner_id = user;
            events.push(on_server(id, EventBody::ServerUpdated(server)));
        }
        let (sees, saw) = (role >= Role::Admin, before.role >= Role::Admin);
        if sees != saw {
            for channel in self.private_channels(id, user, false).await? {
                let topic = TopicKey::channel(channel.id);
                let body = EventBody::TopicRemoved(topic);
                events.push(on_user(
                    user,
                    if sees {
                        EventBody::TopicAdded(topic)
                    } else {
                        body
                    },
                ));
            }
        }
        Ok(events)
    }

    /// What a member that goes tells, and the private channels that named it.
    async fn leaving(&self, server: Id, user: Id) -> Result<Leaving, Error> {
        let there = self.server_of(server).await?;
        Ok(Leaving {
            events: self.member_left_events(&there, user),
            private: self.private_channels(server, user, true).await?,
        })
    }

    fn changing_of(&self, leaving: &Leaving) -> Vec<ChannelChanging<'_>> {
        let private = leaving.private.iter();
        private
            .map(|channel| self.changing_channel(channel))
            .collect()
    }

    /// A server's private channels that name the user, or that don't.
    pub(super) async fn private_channels(
        &self,
        server: Id,
        user: Id,
        named: bool,
    ) -> Result<Vec<Arc<Channel>>, Error> {
        let channels = self.channels_of(server).await?;
        let wanted = channels.iter().filter(|channel| {
            channel.kind == ChannelType::Private
                && channel.member_ids.binary_search(&user).is_ok() == named
        });
        Ok(wanted.cloned().collect())
    }

    /// What a member's going tells.
    pub(super) fn member_left_events(&self, server: &Server, user: Id) -> Vec<NewEvent> {
        let left = EventBody::MemberLeft(server.id, user);
        let mut events = vec![
            on_user(user, left.clone()),
            on_user(user, EventBody::TopicRemoved(TopicKey::server(server.id))),
        ];
        if server.member_count <= SMALL {
            events.push(on_server(server.id, left));
        }
        events
    }

    pub(super) async fn member_of(&self, server: Id, user: Id) -> Result<Member, Error> {
        let member = self.store.member(server, user).await?;
        member.ok_or_else(|| Error::not_found("member"))
    }

    /// A user that isn't deleted.
    pub(super) async fn profile(&self, user: Id) -> Result<User, Error> {
        let found = self.store.users(&[user]).await?.pop();
        found
            .filter(|user| !user.deleted)
            .ok_or_else(|| Error::not_found("user"))
    }
}

/// What a new membership tells.
pub(super) fn joined_events(server: &Server, member: &Member, profile: User) -> Vec<NewEvent> {
    let (id, user) = (server.id, member.user_id);
    let joined = EventBody::MemberJoined(member.clone(), profile);
    let mut events = vec![
        on_user(user, EventBody::TopicAdded(TopicKey::server(id))),
        on_user(user, joined.clone()),
    ];
    if server.member_count < SMALL {
        events.push(on_server(id, joined));
    }
    events
}

/// A service key is above all; others take out only whom they outrank.
pub(super) fn refuse_unless_outranked(
    caller: &Caller,
    own: Role,
    other: Option<Role>,
) -> Result<(), Error> {
    if other == Some(Role::Owner) {
        let message = "The owner stays: the server is handed on, or deleted, first.";
        return Err(Error::new(Reason::OwnerLeaves, message));
    }
    if caller.is_service() || outranks(Some(own), other) {
        return Ok(());
    }
    Err(Error::denied(
        "Only members of lower roles are taken out or timed out.",
    ))
}

/// Roles are changed from above, and only lower ones are given; but for the owner's, which is
/// handed on.
fn refuse_role(own: Role, before: Role, role: Role) -> Result<(), Error> {
    if before == Role::Owner {
        let message = "Its owner hands the server on by making another the owner.";
        return Err(Error::new(Reason::OwnerLeaves, message));
    }
    let above = outranks(Some(own), Some(before));
    if role != Role::Owner && !(above && outranks(Some(own), Some(role))) {
        return Err(Error::denied(
            "Only roles below one's own are changed and given.",
        ));
    }
    Ok(())
}

pub(super) fn owner_stays(error: store::Error) -> Error {
    match error {
        store::Error::Conflict("owner") => {
            let message = "The owner stays: the server is handed on, or deleted, first.";
            Error::new(Reason::OwnerLeaves, message)
        }
        other => other.into(),
    }
}

//! The audit log, time-outs.

use super::*;
use crate::model::{AuditAction, AuditChange, AuditEntry, Member, Message};
use crate::store::{Anchor, AuditFilter};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A server with an owner, a moderator and a member.
pub(super) struct Home {
    pub(super) world: World,
    pub(super) owner: Caller,
    pub(super) moderator: Caller,
    pub(super) member: Caller,
    pub(super) server: Id,
    pub(super) general: Id,
}

impl Home {
    pub(super) async fn new() -> Self {
        let world = World::new().await;
        let owner = world.user("owner").await;
        let moderator = world.user("moderator").await;
        let member = world.user("member").await;
        let (server, general) = world.server(&owner, &[&moderator, &member]).await;
        world
            .role(&owner, server, &moderator, Role::Moderator)
            .await;
        Self {
            world,
            owner,
            moderator,
            member,
            server,
            general,
        }
    }

    pub(super) fn domain(&self) -> &Arc<Domain> {
        &self.world.domain
    }

    pub(super) async fn log(&self) -> Vec<AuditEntry> {
        let filter = AuditFilter::default();
        let log = self.domain();
        let log = log.list_audit_log(&self.owner, self.server, filter, Id::MAX, 0);
        log.await.unwrap().items
    }

    pub(super) async fn time_out(
        &self,
        by: &Caller,
        of: &Caller,
        time: Duration,
    ) -> Result<Member, Error> {
        let until = match time {
            Duration::ZERO => 0,
            time => self.domain().now() + time.as_millis() as i64,
        };
        let (server, user) = (self.server, of.user_id);
        self.domain()
            .time_out_member(by, server, user, until, "Spam".into())
            .await
    }

    pub(super) async fn slow(&self, seconds: i32) {
        let changes = ChannelChanges {
            slow_mode_s: Some(seconds),
            ..ChannelChanges::default()
        };
        let slow = self
            .domain()
            .update_channel(&self.owner, self.general, changes);
        assert_eq!(slow.await.unwrap().slow_mode_s, seconds);
    }

    pub(super) async fn send_with(&self, by: &Caller, nonce: &str) -> Result<Message, Error> {
        let send = SendMessage {
            channel_id: self.general,
            content: "hello".into(),
            nonce: nonce.into(),
            ..SendMessage::default()
        };
        self.domain().send_message(by, send).await
    }

    pub(super) async fn deleted(&self) -> usize {
        let told = self.world.told(TopicKey::channel(self.general)).await;
        let deleted =
            |event: &&v1::event::Event| matches!(event, v1::event::Event::MessageDeleted(_));
        told.iter().filter(deleted).count()
    }

    pub(super) fn report(&self, channel_id: Id, message_id: Id) -> NewReport {
        NewReport {
            server_id: self.server,
            channel_id,
            message_id,
            reason: "Rude".into(),
        }
    }
}

fn actions(log: &[AuditEntry]) -> Vec<(AuditAction, Id, Id)> {
    let of = |entry: &AuditEntry| (entry.action, entry.actor_id, entry.target_id);
    log.iter().map(of).collect()
}

fn change(field: &str, before: &str, after: &str) -> AuditChange {
    AuditChange {
        field: field.into(),
        before: before.into(),
        after: after.into(),
    }
}

#[tokio::test]
async fn what_is_done_to_a_server_is_logged_with_who_did_it() {
    let home = Home::new().await;
    let (domain, server) = (home.domain(), home.server);
    let (owner, moderator, member) = (&home.owner, &home.moderator, &home.member);
    let changes = ServerChanges {
        name: Some("new".into()),
        description: Some("About".into()),
        ..ServerChanges::default()
    };
    domain.update_server(owner, server, changes).await.unwrap();
    let private = home.world.private(owner, server, &[]).await;
    let user = member.user_id;
    let added = domain.add_channel_member(owner, private, user).await;
    added.unwrap();
    domain
        .remove_channel_member(owner, private, user)
        .await
        .unwrap();
    domain.delete_channel(owner, private).await.unwrap();
    home.slow(5).await;
    let invite = domain.create_invite(moderator, new_invite(server, 0, 0));
    let code = invite.await.unwrap().code;
    domain
        .revoke_invite(owner, server, code.clone())
        .await
        .unwrap();
    let message = home.world.send(member, home.general, "rude").await.unwrap();
    domain
        .delete_message(moderator, home.general, message)
        .await
        .unwrap();
    let kick = domain.kick_member(moderator, server, user, "Rude".into());
    kick.await.unwrap();
    domain
        .ban_user(moderator, server, user, "Very".into(), 0)
        .await
        .unwrap();
    domain.unban_user(owner, server, user).await.unwrap();
    let log = home.log().await;
    let (own, mods) = (owner.user_id, moderator.user_id);
    use AuditAction as A;
    assert_eq!(
        actions(&log),
        [
            (A::UserUnbanned, own, user),
            (A::UserBanned, mods, user),
            (A::MemberKicked, mods, user),
            (A::MessageDeleted, mods, message),
            (A::InviteRevoked, own, 0),
            (A::InviteCreated, mods, 0),
            (A::ChannelUpdated, own, home.general),
            (A::ChannelDeleted, own, private),
            (A::ChannelMemberRemoved, own, user),
            (A::ChannelMemberAdded, own, user),
            (A::ChannelCreated, own, private),
            (A::ServerUpdated, own, 0),
            (A::MemberRoleChanged, own, mods),
        ]
    );
    assert_eq!(
        (log[1].reason.as_str(), log[2].reason.as_str()),
        ("Very", "Rude")
    );
    assert_eq!((log[3].user_id, log[3].channel_id), (user, home.general));
    assert_eq!(log[5].changes, [change("code", "", &code)]);
    assert_eq!(log[6].changes, [change("slow_mode_seconds", "0", "5")]);
    let changes = [change("name", "home", "new"), change("description", "", "")];
    assert_eq!(log[11].changes, changes);
    assert_eq!(log[12].changes, [change("role", "MEMBER", "MODERATOR")]);
}

#[tokio::test]
async fn ones_own_going_and_deleting_is_nobodys_business() {
    let home = Home::new().await;
    let domain = home.domain();
    let before = home.log().await;
    let private = home
        .world
        .private(&home.owner, home.server, &[&home.member])
        .await;
    let message = home.send_with(&home.member, "").await.unwrap();
    let delete = domain.delete_message(&home.member, home.general, message.id);
    delete.await.unwrap();
    let user = home.member.user_id;
    domain
        .remove_channel_member(&home.member, private, user)
        .await
        .unwrap();
    domain
        .leave_server(&home.member, home.server)
        .await
        .unwrap();
    home.world.direct(&home.owner, &home.member).await.unwrap();
    let log = home.log().await;
    assert_eq!(log.len(), before.len() + 1, "the channel alone: {log:?}");
}

#[tokio::test]
async fn admins_read_the_log_and_a_service_that_of_a_deleted_server() {
    let home = Home::new().await;
    let domain = home.domain();
    let list = async |caller: &Caller, server| {
        let filter = AuditFilter::default();
        let log = domain
            .list_audit_log(caller, server, filter, Id::MAX, 0)
            .await;
        log.map(|log| log.items.len())
    };
    assert_eq!(list(&home.owner, home.server).await, Ok(1));
    let refused = list(&home.moderator, home.server).await;
    assert_eq!(why(refused), Reason::PermissionDenied);
    let stranger = home.world.user("stranger").await;
    assert_eq!(why(list(&stranger, home.server).await), Reason::NotFound);
    domain
        .delete_server(&home.owner, home.server)
        .await
        .unwrap();
    assert_eq!(why(list(&home.owner, home.server).await), Reason::NotFound);
    let service = home.world.service().await;
    assert_eq!(list(&service, home.server).await, Ok(2));
    assert_eq!(why(list(&service, 1).await), Reason::NotFound);
}

#[tokio::test]
async fn entries_are_kept_for_so_many_days() {
    let home = Home::new().await;
    home.world.clock.advance(DAY * 89);
    home.domain().upkeep().await;
    assert_eq!(home.log().await.len(), 1);
    home.world.clock.advance(DAY * 2);
    home.domain().upkeep().await;
    assert_eq!(home.log().await.len(), 0);
}

#[tokio::test]
async fn who_is_timed_out_reads_and_does_not_write() {
    let home = Home::new().await;
    let (domain, member) = (home.domain(), &home.member);
    let message = home.send_with(member, "").await.unwrap().id;
    home.time_out(&home.moderator, member, DAY).await.unwrap();
    let refused = home.send_with(member, "").await.unwrap_err();
    assert_eq!(refused.reason, Reason::TimedOut);
    assert_eq!(refused.retry_after, Some(DAY));
    let edit = domain.edit_message(member, home.general, message, "x".into());
    assert_eq!(why(edit.await), Reason::TimedOut);
    let typing = domain.start_typing(member, home.general).await;
    assert_eq!(why(typing), Reason::TimedOut);
    let event = CustomEvent {
        channel_id: home.general,
        name: "wave".into(),
        ..CustomEvent::default()
    };
    assert_eq!(
        why(domain.send_custom_event(member, event).await),
        Reason::TimedOut
    );
    let page = domain.list_messages(member, home.general, Anchor::Newest, 0);
    assert_eq!(page.await.unwrap().0.messages.len(), 1);
    domain
        .delete_message(member, home.general, message)
        .await
        .unwrap();
    // Elsewhere it writes as before.
    home.world.direct(member, &home.owner).await.unwrap();
    let (_, other) = home.world.server(member, &[]).await;
    home.world.send(member, other, "mine").await.unwrap();
    // It ends by itself.
    home.world.clock.advance(DAY - Duration::from_millis(1));
    assert_eq!(why(home.send_with(member, "").await), Reason::TimedOut);
    home.world.clock.advance(Duration::from_millis(1));
    home.send_with(member, "").await.unwrap();
}

#[tokio::test]
async fn a_time_out_is_lifted_and_outlives_leaving() {
    let home = Home::new().await;
    let (domain, member, server) = (home.domain(), &home.member, home.server);
    let set = home.time_out(&home.moderator, member, DAY).await.unwrap();
    assert_eq!(set.timed_out_until, domain.now() + DAY.as_millis() as i64);
    domain.leave_server(member, server).await.unwrap();
    let (_, joined) = domain.join_by_id(member, server).await.unwrap();
    assert_eq!(
        joined,
        Member {
            joined_at: domain.now(),
            ..set
        }
    );
    assert_eq!(why(home.send_with(member, "").await), Reason::TimedOut);
    let lifted = home.time_out(&home.owner, member, Duration::ZERO).await;
    assert_eq!(lifted.unwrap().timed_out_until, 0);
    home.send_with(member, "").await.unwrap();
    let told = home.world.told_user(member).await;
    let updates = told.iter().filter_map(|event| match event {
        v1::event::Event::MemberUpdated(updated) => updated.member.as_ref(),
        _ => None,
    });
    let ends: Vec<_> = updates
        .map(|member| member.timed_out_until.is_some())
        .collect();
    assert_eq!(ends, [true, false]);
    let log = actions(&home.log().await);
    let timed_out = AuditAction::MemberTimedOut;
    assert_eq!(
        log[..2],
        [
            (timed_out, home.owner.user_id, member.user_id),
            (timed_out, home.moderator.user_id, member.user_id)
        ]
    );
}

#[tokio::test]
async fn only_from_above_is_one_timed_out_and_not_for_ever() {
    let home = Home::new().await;
    let (owner, moderator, member) = (&home.owner, &home.moderator, &home.member);
    let refused = home.time_out(member, moderator, DAY).await;
    assert_eq!(why(refused), Reason::PermissionDenied);
    let refused = home.time_out(moderator, moderator, DAY).await;
    assert_eq!(why(refused), Reason::PermissionDenied);
    let refused = home.time_out(moderator, owner, DAY).await;
    assert_eq!(why(refused), Reason::OwnerLeaves);
    let stranger = home.world.user("stranger").await;
    let refused = home.time_out(moderator, &stranger, DAY).await;
    assert_eq!(why(refused), Reason::NotFound);
    home.time_out(moderator, member, DAY * 28).await.unwrap();
    let long = home.time_out(moderator, member, DAY * 28 + Duration::from_secs(1));
    let long = long.await.unwrap_err();
    assert_eq!(long.fields[0].path, "until");
    assert!(long.fields[0].problem.contains("2419201"), "{long}");
    let domain = home.domain();
    let past = domain.time_out_member(moderator, home.server, member.user_id, 5, String::new());
    assert_eq!(past.await.unwrap_err().fields[0].path, "until");
    // A moderator that is timed out moderates nobody; an owner never is.
    home.time_out(owner, moderator, DAY).await.unwrap();
    let refused = home.time_out(moderator, member, DAY).await;
    assert_eq!(why(refused), Reason::TimedOut);
    home.world
        .role(owner, home.server, moderator, Role::Owner)
        .await;
    home.send_with(moderator, "").await.unwrap();
}

//! Time-outs: members that may read and not write.

use super::accounts::on_user;
use super::audit::{change, check_reason};
use super::members::{SMALL, owner_stays, refuse_unless_outranked};
use super::permissions::Action;
use super::servers::on_server;
use super::{Caller, Domain, Error, Reason};
use crate::model::{AuditAction, AuditEntry, EventBody, Id, Member, Role, Touched, UnixMs};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A time-out lasts so long at most.
const TIME_OUT_MS_MAX: i64 = 28 * 24 * 60 * 60 * 1_000;

/// The servers that a user is timed out in, and until when.
pub(super) type TimeOuts = Arc<BTreeMap<Id, UnixMs>>;

impl Domain {
    /// Lets a member read but not write until then; 0 lifts that.
    pub async fn time_out_member(
        self: &Arc<Self>,
        caller: &Caller,
        server: Id,
        user: Id,
        until: UnixMs,
        reason: String,
    ) -> Result<Member, Error> {
        check_reason(&reason)?;
        self.check_until(until)?;
        let caller = caller.clone();
        self.complete(|domain| async move {
            let _held = domain.hold(server).await;
            let role = domain
                .authorise_server(&caller, server, Action::TimeOut)
                .await?;
            let before = domain.member_of(server, user).await?;
            refuse_unless_outranked(&caller, role, Some(before.role))?;
            let old = before.timed_out_until;
            let member = Member {
                timed_out_until: until,
                ..before
            };
            let audit = AuditEntry {
                target_id: user,
                reason,
                changes: vec![change("timed_out_until", at(old), at(until))],
                ..domain.audit(&caller, server, AuditAction::MemberTimedOut)?
            };
            let events = domain.time_out_events(&member).await?;
            let _changing = domain.time_outs.changing([user]);
            let set = domain
                .store
                .time_out(server, user, until, events, Some(audit));
            let set = set.await;
            domain.touch(Touched::Member(server, user));
            set.map_err(owner_stays)
        })
        .await
    }

    fn check_until(&self, until: UnixMs) -> Result<(), Error> {
        let left = until.saturating_sub(self.now());
        if until == 0 || (1..=TIME_OUT_MS_MAX).contains(&left) {
            return Ok(());
        }
        let problem = format!(
            "{} s from now; 0 to {} are allowed",
            left.div_euclid(1_000),
            TIME_OUT_MS_MAX / 1_000
        );
        Err(Error::field("until", problem))
    }

    async fn time_out_events(&self, member: &Member) -> Result<Vec<super::NewEvent>, Error> {
        let (server, user) = (member.server_id, member.user_id);
        let profile = self.profile(user).await?;
        let body = EventBody::MemberUpdated(member.clone(), profile);
        let mut events = vec![on_user(user, body.clone())];
        if self.server_of(server).await?.member_count <= SMALL {
            events.push(on_server(server, body));
        }
        Ok(events)
    }

    /// Until when a user is timed out in a server, member or not; 0 for not.
    pub(super) async fn timed_out_until(&self, user: Id, server: Id) -> Result<UnixMs, Error> {
        let read = || {
            let store = self.store.clone();
            async move {
                let time_outs = store.time_outs_of(user).await?;
                Ok(Arc::new(time_outs.into_iter().collect()))
            }
        };
        let time_outs: TimeOuts = self.time_outs.get(&user, read).await?;
        let until = time_outs.get(&server).copied().unwrap_or(0);
        Ok(if until > self.now() { until } else { 0 })
    }

    /// Refuses what a member may not do while it is timed out. `role` is what the caller counts as.
    pub(super) async fn refuse_timed_out(
        &self,
        caller: &Caller,
        role: Option<Role>,
        server: Id,
        action: Action,
    ) -> Result<(), Error> {
        let above = caller.is_service() || role == Some(Role::Owner);
        if server == 0 || above || action.is_left_in_time_out() {
            return Ok(());
        }
        let until = self.timed_out_until(caller.user_id, server).await?;
        if until == 0 {
            return Ok(());
        }
        let message = "The caller is timed out in this server: it may read, and not write.";
        let left = until.saturating_sub(self.now()).unsigned_abs();
        let mut error =
            Error::new(Reason::TimedOut, message).retry_after(Duration::from_millis(left));
        error.metadata = Some(("until_unix_ms", until.to_string().into()));
        Err(error)
    }
}

/// A time as the audit log has it: seconds since the Unix epoch; empty for none.
fn at(ms: UnixMs) -> String {
    if ms == 0 {
        String::new()
    } else {
        ms.div_euclid(1_000).to_string()
    }
}

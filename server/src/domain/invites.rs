//! Invitations.

use super::audit::change;
use super::permissions::Action;
use super::servers::{check_request, request_reused};
use super::{Caller, Domain, Error, Listed, pages};
use crate::model::{AuditAction, AuditEntry, Id, Invite};
use std::sync::Arc;

/// What codes are made of: nothing that is taken for something else.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const CODE_CHARS: usize = 10;
/// Life of an invitation, in seconds: at most, and where the caller doesn't say.
const TTL_S_MAX: i32 = 2_592_000;
const TTL_S: i32 = 604_800;

/// An invitation to make.
#[derive(Clone, Debug, Default)]
pub struct NewInvite {
    /// The server that it opens.
    pub server_id: Id,
    /// How often it can be used; 0 for no limit.
    pub max_uses: i32,
    /// Seconds until it ends; 0 means 7 days.
    pub ttl_s: i32,
    /// A UUID that makes a repeat safe, or empty.
    pub request_id: String,
}

impl Domain {
    /// Makes an invitation.
    pub async fn create_invite(
        self: &Arc<Self>,
        caller: &Caller,
        new: NewInvite,
    ) -> Result<Invite, Error> {
        let request = check_request(caller, &new.request_id)?;
        let (max_uses, ttl_s) = (new.max_uses, new.ttl_s);
        if max_uses < 0 {
            return Err(Error::field(
                "max_uses",
                format!("{max_uses}; 0 or more is allowed"),
            ));
        }
        if !(0..=TTL_S_MAX).contains(&ttl_s) {
            let problem = format!("{ttl_s}; 0 to {TTL_S_MAX} is allowed");
            return Err(Error::field("ttl_seconds", problem));
        }
        self.authorise_server(caller, new.server_id, Action::Invite)
            .await?;
        self.throttle.create(caller)?;
        let ttl_s = if ttl_s == 0 { TTL_S } else { ttl_s };
        let invite = Invite {
            code: code(),
            server_id: new.server_id,
            creator_id: caller.user_id,
            max_uses,
            uses: 0,
            expires_at: self.now() + i64::from(ttl_s) * 1_000,
        };
        let audit = AuditEntry {
            changes: vec![change("code", "", &invite.code)],
            ..self.audit(caller, new.server_id, AuditAction::InviteCreated)?
        };
        self.complete(move |domain| async move {
            let wanted = (invite.server_id, invite.max_uses);
            let made = domain.store.create_invite(invite, request, Some(audit));
            let made = made.await?;
            if (made.server_id, made.max_uses) != wanted {
                return Err(request_reused());
            }
            Ok(made)
        })
        .await
    }

    /// A page of a server's invitations that are still open, by code, after one.
    pub async fn list_invites(
        &self,
        caller: &Caller,
        server: Id,
        after: String,
        size: i32,
    ) -> Result<Listed<Invite>, Error> {
        self.authorise_server(caller, server, Action::Invite)
            .await?;
        let size = pages::whole(size)?;
        let invites = self.store.invites(server, self.now(), after, size + 1);
        Ok(pages::cut(invites.await?, size))
    }

    /// Ends an invitation.
    pub async fn revoke_invite(
        self: &Arc<Self>,
        caller: &Caller,
        server: Id,
        code: String,
    ) -> Result<(), Error> {
        self.authorise_server(caller, server, Action::Invite)
            .await?;
        let audit = AuditEntry {
            changes: vec![change("code", &code, "")],
            ..self.audit(caller, server, AuditAction::InviteRevoked)?
        };
        self.complete(move |domain| async move {
            let revoked = domain.store.revoke_invite(server, &code, Some(audit));
            if !revoked.await? {
                return Err(Error::not_found("invite"));
            }
            Ok(())
        })
        .await
    }

    /// An invitation that can be used now. Unknown, spent and over are the same answer.
    pub(super) async fn open_invite(&self, code: &str) -> Result<Invite, Error> {
        match self.invite_of(code).await? {
            (invite, true) => Ok(invite),
            (_, false) => Err(Error::not_found("invite")),
        }
    }

    /// An invitation that is known, and whether it can be used now.
    pub(super) async fn invite_of(&self, code: &str) -> Result<(Invite, bool), Error> {
        let invite = self.store.invite(code).await?;
        let invite = invite.ok_or_else(|| Error::not_found("invite"))?;
        let unspent = invite.max_uses == 0 || invite.uses < invite.max_uses;
        let open = unspent && (invite.expires_at == 0 || invite.expires_at > self.now());
        Ok((invite, open))
    }
}

/// 50 random bits.
fn code() -> String {
    let letters = rand::random::<[u8; CODE_CHARS]>();
    letters
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect()
}

//! Invitations.

use super::permissions::Action;
use super::{Caller, Domain, Error};
use crate::model::{Id, Invite};

/// What codes are made of: nothing that is taken for something else.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const CODE_CHARS: usize = 10;
/// Life of an invitation, in seconds: at most, and where the caller doesn't say.
const TTL_S_MAX: i32 = 2_592_000;
const TTL_S: i32 = 604_800;

impl Domain {
    /// Makes an invitation. `ttl_s` 0 means 7 days, `max_uses` 0 no limit.
    pub async fn create_invite(
        &self,
        caller: &Caller,
        server_id: Id,
        max_uses: i32,
        ttl_s: i32,
    ) -> Result<Invite, Error> {
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
        self.authorise_server(caller, server_id, Action::Invite)
            .await?;
        let ttl_s = if ttl_s == 0 { TTL_S } else { ttl_s };
        let invite = Invite {
            code: code(),
            server_id,
            creator_id: caller.user_id,
            max_uses,
            uses: 0,
            expires_at: self.now() + i64::from(ttl_s) * 1_000,
        };
        self.store.create_invite(invite.clone()).await?;
        Ok(invite)
    }

    /// A server's invitations that are still open.
    pub async fn list_invites(&self, caller: &Caller, server: Id) -> Result<Vec<Invite>, Error> {
        self.authorise_server(caller, server, Action::Invite)
            .await?;
        Ok(self.store.invites(server, self.now()).await?)
    }

    /// Ends an invitation.
    pub async fn revoke_invite(
        &self,
        caller: &Caller,
        server: Id,
        code: &str,
    ) -> Result<(), Error> {
        self.authorise_server(caller, server, Action::Invite)
            .await?;
        if !self.store.revoke_invite(server, code).await? {
            return Err(Error::not_found("invite"));
        }
        Ok(())
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

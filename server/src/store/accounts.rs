//! The seam to users, credentials and sessions.

use super::{Error, NewEvent};
use crate::model::{Id, Member, Session, UnixMs, User};
use async_trait::async_trait;

/// A user with what signs it in.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The user.
    pub user: User,
    /// `username` without case and confusables: unique.
    pub name_key: String,
    /// argon2id PHC string; empty where no password is set. Secret.
    pub password_hash: String,
    /// The integrator's own id, empty for none: unique.
    pub external_id: String,
    /// The bot's owner, 0 for none.
    pub owner_id: Id,
}

/// A new account with what it begins with.
#[derive(Clone, Debug, Default)]
pub struct NewAccount {
    /// The account.
    pub account: Account,
    /// Its first session.
    pub session: Option<Session>,
    /// Its first server.
    pub join: Option<Join>,
    /// Makes a repeat within 24 hours, with a session of the same kind, answer with the first
    /// call's account: caller and id.
    pub request: Option<(Id, String)>,
    /// How many accounts that aren't deleted the account's owner may have, where it has one.
    pub max_owned: u32,
}

impl From<Account> for NewAccount {
    fn from(account: Account) -> Self {
        Self {
            account,
            max_owned: u32::MAX,
            ..Self::default()
        }
    }
}

/// A membership by an invitation.
#[derive(Clone, Debug)]
pub struct Join {
    /// The membership.
    pub member: Member,
    /// The invitation's code.
    pub code: String,
    /// Members of the server at most.
    pub max_members: u32,
}

/// How an account came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its user.
    pub user: User,
    /// False: by an earlier call of the same request.
    pub new: bool,
    /// Sessions that ended for it.
    pub ended: Vec<Id>,
}

/// What went with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Its sessions.
    pub sessions: Vec<Id>,
    /// The channels that had it as a member.
    pub channels: Vec<Id>,
}

/// Users and credentials.
#[async_trait]
pub trait Users: Send + Sync {
    /// Makes an account and all that it begins with, or nothing of it. `Conflict("username")` or
    /// `Conflict("external_id")` if taken; `NotFound("user")` if its owner isn't there (any more);
    /// for the rest as `Servers::add_member`. `events` are those of the membership.
    ///
    /// A repeat of a request makes nothing: it ends the earlier account's sessions, since nobody
    /// may have got their tokens, and stores the new one for it. It is `Conflict("request")` if
    /// that account has neither the name nor the display name.
    async fn create_account(&self, new: NewAccount, events: Vec<NewEvent>) -> Result<Made, Error>;
    /// By name key.
    async fn account_by_name(&self, name_key: &str) -> Result<Option<Account>, Error>;
    /// By the integrator's own id.
    async fn account_by_external(&self, external_id: &str) -> Result<Option<Account>, Error>;
    /// By id.
    async fn account(&self, id: Id) -> Result<Option<Account>, Error>;
    /// Profiles of those that exist, in the order asked; at most 1,000.
    async fn users(&self, ids: &[Id]) -> Result<Vec<User>, Error>;
    /// Writes display name and metadata.
    async fn update_profile(&self, user: User, events: Vec<NewEvent>) -> Result<(), Error>;
    /// Replaces the password's hash, if it is still `expected`; else `Conflict("password")`. With
    /// `keep`, the user's other sessions of kind user end; answers their ids.
    async fn set_password(
        &self,
        user: Id,
        expected: String,
        hash: String,
        keep: Option<Id>,
    ) -> Result<Vec<Id>, Error>;
    /// Marks deleted, frees the name, removes credentials, sessions, memberships, blocks. Who owns
    /// a server is refused: `Conflict("owns a server")`.
    async fn delete_account(&self, user: Id, events: Vec<NewEvent>) -> Result<Departed, Error>;
    /// The users that a user owns and that aren't deleted, of ids below `before`, newest first, at
    /// most `limit`.
    async fn owned_by(&self, owner: Id, before: Id, limit: u32) -> Result<Vec<User>, Error>;
    /// Blocks; idempotent; at most 1,000.
    async fn block(&self, user: Id, other: Id) -> Result<(), Error>;
    /// Unblocks; idempotent.
    async fn unblock(&self, user: Id, other: Id) -> Result<(), Error>;
    /// Whether either of the two has blocked the other.
    async fn blocked(&self, a: Id, b: Id) -> Result<bool, Error>;
}

/// Sessions: devices, bots' tokens, service keys. Whichever change ends some, here or of accounts,
/// it tells of each on its user's topic, as `SessionRevoked`; but not of those that `trim` removes,
/// whose time is over.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Stores one. Beyond `max` of the user's (kind user), the longest unseen ones are ended; their
    /// ids are answered. A user that isn't there (any more) is `NotFound("user")`; one whose
    /// password's hash isn't the one that was `proved` (any more) is `Conflict("password")`.
    async fn create_session(
        &self,
        session: Session,
        max: u32,
        proved: Option<String>,
    ) -> Result<Vec<Id>, Error>;
    /// Ends all of the session's user and stores it in their place; answers their ids. Else as
    /// `create_session`.
    async fn replace_sessions(&self, session: Session) -> Result<Vec<Id>, Error>;
    /// One, if not ended.
    async fn session(&self, id: Id) -> Result<Option<Session>, Error>;
    /// Replaces the hashes and times of a refresh, if `refresh_hash` is still `expected`; else
    /// Conflict.
    async fn refresh_session(&self, session: Session, expected: [u8; 32]) -> Result<(), Error>;
    /// Ends one; false if it wasn't there.
    async fn end_session(&self, id: Id) -> Result<bool, Error>;
    /// A user's sessions of ids below `before`, newest first, at most `limit`.
    async fn sessions_of(&self, user: Id, before: Id, limit: u32) -> Result<Vec<Session>, Error>;
    /// Service keys of ids below `before`, newest first, at most `limit`.
    async fn keys(&self, before: Id, limit: u32) -> Result<Vec<Session>, Error>;
    /// Notes when sessions were last seen.
    async fn touch_sessions(&self, seen: Vec<(Id, UnixMs)>) -> Result<(), Error>;
}

//! The seam to what users have read and to what they set for themselves.

use super::{Error, NewEvent};
use crate::model::{Id, ReadState, Role, UnixMs, User, UserSettings};
use async_trait::async_trait;

/// A channel whose read state is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOf {
    /// The channel.
    pub channel: Id,
    /// As what the user is mentioned there: its role in the server; MEMBER where there is none.
    pub role: Role,
    /// Read up to here at least, whatever is stored.
    pub at_least: Id,
}

/// How far users have read channels, and whom messages mention.
///
/// Without a row a user has read a channel up to when it joined the channel's server, or (DIRECT
/// channels) not at all, and in any case what was there before read states were kept. A message
/// counts as a mention of a user if it isn't deleted, names the user (by then a member of the
/// server, or in the channel), its role or a lower one, or everyone, and is by another; of mentions
/// of roles and everyone the channel's newest 1,000 are looked at, and no more than 1,000 are
/// counted in all. Who may see what isn't asked here.
#[async_trait]
pub trait ReadStates: Send + Sync {
    /// The user's states of these channels, in the order asked, of one moment; those of channels
    /// that aren't there are left out.
    async fn read_states(&self, user: Id, channels: &[ReadOf]) -> Result<Vec<ReadState>, Error>;
    /// Marks a channel as read up to a message, and tells of it on the user's topic
    /// (`ReadStateChanged`), unless it was read so far: then nothing is written. Answers the state
    /// as it then is. A channel that isn't there is `NotFound("channel")`.
    async fn acknowledge(&self, user: Id, of: ReadOf, message: Id) -> Result<ReadState, Error>;
    /// Marks channels as read up to messages: (user, channel, message). It tells nobody, goes
    /// backwards nowhere, and passes over channels that aren't there.
    async fn acknowledge_all(&self, reads: Vec<(Id, Id, Id)>) -> Result<(), Error>;
    /// Sets until when a channel is muted, 0 for not, and tells of it as `acknowledge` does.
    async fn mute(&self, user: Id, of: ReadOf, until: UnixMs) -> Result<ReadState, Error>;
}

/// What users set for themselves, and whom they block.
#[async_trait]
pub trait Settings: Send + Sync {
    /// The user's, or the defaults.
    async fn settings(&self, user: Id) -> Result<UserSettings, Error>;
    /// Writes them. A user that isn't there (any more) is `NotFound("user")`.
    async fn update_settings(
        &self,
        user: Id,
        settings: UserSettings,
        events: Vec<NewEvent>,
    ) -> Result<(), Error>;
    /// Whom a user blocks, of ids above `after`, ascending, at most `limit`.
    async fn blocks_of(&self, user: Id, after: Id, limit: u32) -> Result<Vec<User>, Error>;
}

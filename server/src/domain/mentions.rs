//! Whom a message mentions: what its content says, as far as its author may.

use super::access::may;
use super::permissions::Action;
use super::{Caller, Domain, Error};
use crate::model::{Channel, ChannelType, Mentions};

impl Domain {
    /// Whom a content of the caller's mentions in a channel. `<@everyone>` by one who may not is
    /// plain text, and so are roles where there are none.
    pub(super) async fn mentions_in(
        &self,
        caller: &Caller,
        channel: &Channel,
        content: &str,
    ) -> Result<Mentions, Error> {
        let mut mentions = Mentions::of(content);
        if channel.kind == ChannelType::Direct {
            mentions.groups = mentions.groups.without_roles();
        }
        if mentions.groups.everyone() {
            let role = self.caller_role(caller, channel.server_id).await?;
            if !may(caller.user_id, role, channel, Action::MentionEveryone) {
                mentions.groups = mentions.groups.without_everyone();
            }
        }
        Ok(mentions)
    }
}

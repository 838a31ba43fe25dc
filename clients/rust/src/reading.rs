//! Calls for what a user has read, mutes, and sets for itself.

use crate::{api::Api, error::Error, event::Event};
use chirm_proto::v1;
use std::time::SystemTime;

impl Api {
    /// Marks a channel as read up to a message; never backwards. Answers the state as it then is.
    ///
    /// # Errors
    /// The server's refusal: `NOT_FOUND` of a channel that isn't seen, `FIELD_INVALID` of an id
    /// above the channel's last message, `RATE_LIMITED`.
    pub async fn ack(&self, channel_id: i64, message_id: i64) -> Result<v1::ReadState, Error> {
        let request = v1::AckMessageRequest {
            channel_id,
            message_id,
        };
        let acked = self.read_states().ack_message(request).await?;
        acked.into_inner().read_state.ok_or_else(incomplete)
    }

    /// All channels with something unread, by id; with `muted` also those that are muted.
    ///
    /// # Errors
    /// The server's refusal of one of the pages.
    pub async fn unread(&self, muted: bool) -> Result<Vec<v1::ReadState>, Error> {
        let mut states = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListUnreadRequest {
                page_size: 1_000,
                page_token,
                include_muted: muted,
            };
            let page = self.read_states().list_unread(request).await?.into_inner();
            states.extend(page.read_states);
            if page.next_page_token.is_empty() {
                return Ok(states);
            }
            page_token = page.next_page_token;
        }
    }

    /// Mutes a channel until a time, or for ever.
    ///
    /// # Errors
    /// The server's refusal: `NOT_FOUND`, or `FIELD_INVALID` of a time that is past.
    pub async fn mute(
        &self,
        channel_id: i64,
        until: Option<SystemTime>,
    ) -> Result<v1::ReadState, Error> {
        let request = v1::MuteChannelRequest {
            channel_id,
            until: until.map(prost_types::Timestamp::from),
        };
        let muted = self.read_states().mute_channel(request).await?;
        muted.into_inner().read_state.ok_or_else(incomplete)
    }

    /// Lifts a mute.
    ///
    /// # Errors
    /// The server's refusal: `NOT_FOUND`.
    pub async fn unmute(&self, channel_id: i64) -> Result<v1::ReadState, Error> {
        let request = v1::UnmuteChannelRequest { channel_id };
        let unmuted = self.read_states().unmute_channel(request).await?;
        unmuted.into_inner().read_state.ok_or_else(incomplete)
    }

    /// The caller's settings.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn settings(&self) -> Result<v1::UserSettings, Error> {
        let request = v1::GetSettingsRequest {};
        let answer = self.users().get_settings(request).await?;
        answer.into_inner().settings.ok_or_else(incomplete)
    }

    /// Sets who may write to the caller directly.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn allow_direct(&self, from: v1::DirectMessages) -> Result<v1::UserSettings, Error> {
        let request = v1::UpdateSettingsRequest {
            settings: Some(v1::UserSettings {
                direct_messages: from.into(),
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["direct_messages".to_owned()],
            }),
        };
        let answer = self.users().update_settings(request).await?;
        answer.into_inner().settings.ok_or_else(incomplete)
    }
}

impl Event {
    /// The read state that the event brings: of a channel's snapshot, or one that moved on another
    /// of the user's sessions. The user's own messages bring none: they are read.
    #[must_use]
    pub fn read_state(&self) -> Option<&v1::ReadState> {
        match self {
            Event::Snapshot(snapshot) => match &snapshot.state {
                Some(v1::snapshot::State::Channel(state)) => state.read_state.as_ref(),
                _ => None,
            },
            Event::Topic(event) => match &event.event {
                Some(v1::event::Event::ReadStateChanged(changed)) => changed.read_state.as_ref(),
                _ => None,
            },
            _ => None,
        }
    }

    /// The user's settings that the event brings: of its topic's snapshot, or changed ones.
    #[must_use]
    pub fn settings(&self) -> Option<&v1::UserSettings> {
        match self {
            Event::Snapshot(snapshot) => match &snapshot.state {
                Some(v1::snapshot::State::User(state)) => state.settings.as_ref(),
                _ => None,
            },
            Event::Topic(event) => match &event.event {
                Some(v1::event::Event::UserSettingsUpdated(updated)) => updated.settings.as_ref(),
                _ => None,
            },
            _ => None,
        }
    }
}

fn incomplete() -> Error {
    tonic::Status::internal("the server's answer is incomplete").into()
}

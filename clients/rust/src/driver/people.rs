//! What the user looks at besides channels, and how it appears: kept over connections.

use super::Driver;
use crate::stream::Connection;
use chirm_proto::v1::{self, client_frame::Frame as Sent};
use std::time::Duration;
use tokio::time::timeout;

/// How long a unary call that sets a status may take.
const CALL: Duration = Duration::from_secs(10);

impl Driver {
    /// All that the user looks at.
    pub(super) fn view(&self, channels: Vec<v1::ViewedChannel>) -> v1::View {
        v1::View {
            channels,
            member_lists: self.config.looking.lists.clone(),
            users: self.config.looking.users.clone(),
        }
    }

    /// Appears otherwise from now on.
    pub(super) fn set_presence(&mut self, status: v1::PresenceStatus, text: Option<String>) {
        if status != v1::PresenceStatus::Unspecified {
            self.config.presence = status;
        }
        if let Some(text) = &text {
            self.words = Some(text.clone());
        }
        self.appear(status, text);
    }

    /// Says the user's own words again on a new connection.
    pub(super) fn greet(&mut self) {
        if let Some(words) = self.words.clone() {
            self.appear(v1::PresenceStatus::Unspecified, Some(words));
        }
    }

    fn appear(&mut self, status: v1::PresenceStatus, text: Option<String>) {
        let request = v1::SetPresenceRequest {
            status: status as i32,
            text,
        };
        if !self.config.listen_only {
            self.send_frame(0, Sent::SetPresence(request));
        } else if let Connection::Open(opened) = &self.connection {
            let api = opened.api.clone();
            // The next connection says it again.
            tokio::spawn(async move {
                let set = timeout(CALL, api.presence().set_presence(request)).await;
                if let Ok(Err(status)) = set {
                    tracing::debug!(%status, "the status was not set");
                }
            });
        }
    }
}

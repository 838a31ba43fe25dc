//! What creating calls with a request id made, in either database.

use crate::model::Id;

/// What a request made.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(super) enum Kind {
    Server = 1,
    Channel = 2,
    Bot = 3,
    Key = 4,
    Invite = 5,
    Webhook = 6,
}

/// What a request made; of most kinds an id alone.
#[derive(Default, sqlx::FromRow)]
pub(super) struct Made {
    #[sqlx(rename = "made_id")]
    pub(super) id: Id,
    #[sqlx(rename = "first_channel_id")]
    pub(super) first_channel: Id,
    pub(super) code: Option<String>,
}

impl Made {
    pub(super) fn id(id: Id) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }
}

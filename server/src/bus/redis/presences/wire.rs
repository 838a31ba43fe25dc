//! What a node and the script of presence say to each other, and what is told on its channels.
//! Ids and epochs are strings: Lua's numbers lose digits above 2^53.

use crate::bus::local::here::Session;
use crate::model::{Id, Presence, Status, Touched};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// What a node says, and asks.
#[derive(Debug, Serialize)]
pub(super) struct Said {
    pub(super) node: String,
    /// The epoch in which the node has said all of its users; none at first.
    pub(super) known: String,
    /// All users of this call, each once: their keys come in the same order.
    pub(super) users: Vec<String>,
    pub(super) say: Vec<Entry>,
    /// User and node of which nothing was said for too long.
    pub(super) reap: Vec<(String, String)>,
    pub(super) set: Vec<Set>,
    pub(super) touched: Vec<String>,
    /// More was touched than could be kept.
    pub(super) lost: bool,
    pub(super) read: Vec<String>,
}

impl Said {
    /// Makes the list of users.
    pub(super) fn named(mut self) -> Self {
        let say = self.say.iter().map(|entry| &entry.u);
        let reap = self.reap.iter().map(|(user, _)| user);
        let set = self.set.iter().map(|set| &set.u);
        let all = say.chain(reap).chain(set).chain(&self.read);
        let mut users: Vec<String> = all.cloned().collect();
        users.sort_unstable();
        users.dedup();
        self.users = users;
        self
    }
}

/// A user with sessions here.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) u: String,
    /// Another for other sessions; empty: it has none any more.
    pub(super) v: String,
    /// The sessions; None: only that they are here still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) s: Option<String>,
    /// When it was active, in Unix milliseconds, if that is later than what was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) a: Option<String>,
    /// Its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) t: Option<String>,
    /// When they were set; 0: now, or never.
    pub(super) ta: i64,
    /// After so many milliseconds without a word from here it is gone.
    pub(super) left: i64,
}

/// What is set of the sessions of a credential that other nodes have.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Set {
    pub(super) u: String,
    pub(super) c: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) s: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) t: Option<String>,
}

/// A user: id, rank, words, when it was last active.
pub(super) type User = (String, u8, String, String);
/// A user, and by credential what is to be set of its sessions: a rank, or 0.
pub(super) type Wish = (String, std::collections::HashMap<String, u8>);

/// What the script answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub(super) e: String,
    /// The number of the last message of the part.
    pub(super) s: i64,
    /// The message that this call told.
    pub(super) m: Option<String>,
    /// Users that were said to be here still, and of whom Redis has something else.
    pub(super) want: Vec<String>,
    pub(super) wishes: Vec<Wish>,
    /// Words that others set: user, when, what.
    pub(super) texts: Vec<(String, i64, String)>,
    /// Of how many nodes something was set, by call.
    pub(super) found: Vec<u32>,
    /// `NODE USER` of which nothing was said for too long.
    pub(super) due: Vec<String>,
    pub(super) reaped: u64,
    pub(super) read: Vec<User>,
}

/// What is told on a part's channel.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub(super) e: String,
    pub(super) s: i64,
    pub(super) c: Vec<User>,
    /// Node and user: something is to be set of its sessions there.
    pub(super) p: Vec<(String, String)>,
    pub(super) t: Vec<String>,
}

const STATUSES: [Status; 5] = [
    Status::Offline,
    Status::Invisible,
    Status::Idle,
    Status::Online,
    Status::DoNotDisturb,
];

/// A status as a number: the higher the more present.
pub(super) fn rank(status: Status) -> u8 {
    status as u8
}

pub(super) fn status(rank: u8) -> Option<Status> {
    STATUSES.get(usize::from(rank)).copied()
}

/// A user as it is shown.
pub(super) fn presence(user: &User) -> Option<Presence> {
    let (id, rank, text, active) = user;
    Some(Presence {
        user_id: id.parse().ok()?,
        status: status(*rank)?.shown(),
        text: text.clone(),
        last_active_at: crate::bus::local::here::minute(active.parse().ok()?),
    })
}

/// Sessions: status, credential, device, when each began and ended.
pub(super) fn sessions(sessions: &[Session], now: Duration) -> String {
    let each = sessions.iter().map(|session| {
        let device = &session.device;
        (
            rank(session.status(now)),
            device.credential.to_string(),
            device_of(&device.name),
            session.opened_at,
            session.ended_at,
        )
    });
    let each: Vec<_> = each.collect();
    serde_json::to_string(&each).unwrap_or_default()
}

/// A device's name, short; empty if it has none.
fn device_of(name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    let hash = Sha256::digest(name.as_bytes());
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Another for other sessions.
pub(super) fn version(sessions: &str) -> String {
    let hash = Sha256::digest(sessions.as_bytes());
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn touched(touched: Touched) -> String {
    match touched {
        Touched::Member(server, user) => format!("m {server} {user}"),
        Touched::User(user) => format!("u {user}"),
        Touched::Server(server) => format!("s {server}"),
    }
}

pub(super) fn parse_touched(text: &str) -> Option<Touched> {
    let mut parts = text.split(' ');
    let kind = parts.next()?;
    let mut id = || parts.next()?.parse::<Id>().ok();
    match kind {
        "m" => Some(Touched::Member(id()?, id()?)),
        "u" => Some(Touched::User(id()?)),
        "s" => Some(Touched::Server(id()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for one in [
            Touched::Member(i64::MAX, 2),
            Touched::User(3),
            Touched::Server(4),
        ] {
            assert_eq!(parse_touched(&touched(one)), Some(one));
        }
        for text in ["", "m", "m 1", "x 1", "u one"] {
            assert_eq!(parse_touched(text), None, "{text}");
        }
    }

    #[test]
    fn ranks_rise_as_statuses_do() {
        for pair in STATUSES.windows(2) {
            assert!(pair[0] < pair[1] && rank(pair[0]) < rank(pair[1]));
        }
        for one in STATUSES {
            assert_eq!(status(rank(one)), Some(one));
        }
        assert_eq!(status(5), None);
    }

    #[test]
    fn a_device_without_a_name_has_none() {
        assert_eq!(device_of(""), "");
        assert_ne!(device_of("a"), device_of("b"));
    }
}

//! Real logs as a plan of what synthetic users do: a log becomes a channel, a nick a user.

use crate::checker::Planned;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;

/// One line of a log's file.
#[derive(Debug, Deserialize)]
struct LogEvent {
    log: String,
    line: u64,
    kind: String,
    user: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    text: String,
    reply_to_line: Option<u64>,
}

/// What happens in one channel.
#[derive(Debug, Default)]
pub(super) struct LogPlan {
    /// The log's name, and the channel's.
    pub(super) log: String,
    /// The users by number, each with the nick that it had first.
    pub(super) users: Vec<String>,
    /// What they do, in the log's order.
    pub(super) steps: Vec<Step>,
}

/// One thing that a user does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The user's number.
    pub(super) user: usize,
    /// What it does.
    pub(super) act: Act,
    /// The step of the same user that must be done before, if there is one.
    pub(super) after: Option<usize>,
}

/// What a user can do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Sends a message.
    Send {
        /// The text.
        text: String,
        /// The step whose message it answers.
        reply_to: Option<usize>,
    },
    /// Joins the server.
    Join,
    /// Leaves the server.
    Leave,
    /// Takes another display name.
    Rename(String),
}

/// All logs.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// By log, in the file's order.
    pub(super) logs: Vec<LogPlan>,
    /// Events read.
    pub(super) events: u64,
    /// Messages without text, which no server takes.
    pub(super) skipped_empty: u64,
    /// Messages that answer another.
    pub(super) replies: u64,
    /// Messages that answer what is no message of the file: sent as answers to nothing.
    pub(super) unanswerable: u64,
}

/// What is known of a log while it is read.
#[derive(Default)]
struct Reading {
    plan: LogPlan,
    by_nick: HashMap<String, usize>,
    last_step: HashMap<usize, usize>,
    step_of_line: HashMap<u64, usize>,
}

impl Plan {
    /// Reads a file of logs, at most `limit` events of it.
    pub(super) fn read(path: &Path, limit: Option<u64>) -> Result<Self> {
        let file =
            std::fs::File::open(path).with_context(|| format!("can't read {}", path.display()))?;
        Self::of(std::io::BufReader::new(file), limit)
    }

    /// The same of any source.
    pub(super) fn of(source: impl BufRead, limit: Option<u64>) -> Result<Self> {
        let mut plan = Self::default();
        let mut logs: Vec<Reading> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for line in source.lines() {
            if limit.is_some_and(|limit| plan.events >= limit) {
                break;
            }
            plan.events += 1;
            let event: LogEvent = serde_json::from_str(&line?)
                .with_context(|| format!("line {} is no event of a log", plan.events))?;
            let place = *places.entry(event.log.clone()).or_insert_with(|| {
                logs.push(Reading::new(&event.log));
                logs.len() - 1
            });
            let taken = logs[place].take(event).with_context(|| {
                format!("line {} has a kind of event that is not known", plan.events)
            })?;
            plan.skipped_empty += u64::from(taken == Taken::Empty);
            plan.replies += u64::from(taken == Taken::Reply);
            plan.unanswerable += u64::from(taken == Taken::Unanswerable);
        }
        plan.logs = logs.into_iter().map(|reading| reading.plan).collect();
        Ok(plan)
    }

    /// What is to be acknowledged.
    pub(super) fn planned(&self) -> Planned {
        let steps = self.logs.iter().flat_map(|log| &log.steps);
        let sends = steps.filter(|step| matches!(step.act, Act::Send { .. }));
        Planned {
            messages: sends.count() as u64,
            replies: self.replies,
        }
    }

    /// How many steps all logs have.
    #[must_use]
    pub(super) fn steps(&self) -> u64 {
        self.logs.iter().map(|log| log.steps.len() as u64).sum()
    }
}

#[derive(PartialEq, Eq)]
enum Taken {
    Empty,
    Reply,
    Unanswerable,
    Other,
}

impl Reading {
    fn new(log: &str) -> Self {
        let plan = LogPlan {
            log: log.to_owned(),
            ..LogPlan::default()
        };
        Self {
            plan,
            ..Self::default()
        }
    }

    fn take(&mut self, event: LogEvent) -> Option<Taken> {
        let reply_to = event
            .reply_to_line
            .and_then(|line| self.step_of_line.get(&line).copied());
        let act = match event.kind.as_str() {
            "message" | "action" if event.text.is_empty() => return Some(Taken::Empty),
            "message" => Act::Send {
                text: event.text,
                reply_to,
            },
            "action" => Act::Send {
                text: format!("/me {}", event.text),
                reply_to,
            },
            "join" => Act::Join,
            "leave" => Act::Leave,
            "nick" => Act::Rename(event.to.clone()),
            _ => return None,
        };
        let step = self.plan.steps.len();
        let user = self.user(&event.user);
        if let Act::Rename(to) = &act {
            self.by_nick.remove(&event.user);
            self.by_nick.insert(to.clone(), user);
        }
        let taken = match &act {
            Act::Send {
                reply_to: Some(_), ..
            } => Taken::Reply,
            Act::Send { .. } if event.reply_to_line.is_some() => Taken::Unanswerable,
            _ => Taken::Other,
        };
        if matches!(act, Act::Send { .. }) {
            self.step_of_line.insert(event.line, step);
        }
        let after = self.last_step.insert(user, step);
        self.plan.steps.push(Step { user, act, after });
        Some(taken)
    }

    fn user(&mut self, nick: &str) -> usize {
        if let Some(user) = self.by_nick.get(nick) {
            return *user;
        }
        self.plan.users.push(nick.to_owned());
        let user = self.plan.users.len() - 1;
        self.by_nick.insert(nick.to_owned(), user);
        user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nicks_become_users_that_keep_their_order() {
        let lines = [
            r#"{"log":"a","line":0,"minute":"m","kind":"join","user":"x"}"#,
            r#"{"log":"a","line":1,"minute":"m","kind":"message","user":"x","text":"hi"}"#,
            r#"{"log":"b","line":0,"minute":"m","kind":"message","user":"x","text":"other log"}"#,
            r#"{"log":"a","line":2,"minute":"m","kind":"nick","user":"x","to":"y"}"#,
            r#"{"log":"a","line":3,"minute":"m","kind":"message","user":"z","text":""}"#,
            concat!(
                r#"{"log":"a","line":4,"minute":"m","kind":"action","user":"y","#,
                r#""text":"waves","reply_to_line":1}"#
            ),
            r#"{"log":"a","line":5,"minute":"m","kind":"leave","user":"y","reply_to_line":1}"#,
            concat!(
                r#"{"log":"a","line":6,"minute":"m","kind":"message","user":"y","#,
                r#""text":"?","reply_to_line":5}"#
            ),
        ]
        .join("\n");
        let plan = Plan::of(lines.as_bytes(), None).unwrap();
        assert_eq!((plan.events, plan.skipped_empty), (8, 1));
        assert_eq!((plan.replies, plan.unanswerable), (1, 1));
        assert_eq!(plan.steps(), 7);
        let planned = plan.planned();
        assert_eq!((planned.messages, planned.replies), (4, 1));
        let log = &plan.logs[0];
        assert_eq!(log.users, ["x"]);
        let after: Vec<_> = log.steps.iter().map(|step| step.after).collect();
        assert_eq!(after, [None, Some(0), Some(1), Some(2), Some(3), Some(4)]);
        let text = "/me waves".to_owned();
        assert_eq!(
            log.steps[3].act,
            Act::Send {
                text,
                reply_to: Some(1)
            }
        );
        assert_eq!(Plan::of(lines.as_bytes(), Some(2)).unwrap().logs.len(), 1);
    }

    #[test]
    fn what_is_no_log_is_an_error() {
        assert!(Plan::of(&b"nonsense"[..], None).is_err());
        let odd = br#"{"log":"a","line":0,"minute":"m","kind":"topic","user":"x"}"#;
        assert!(Plan::of(&odd[..], None).is_err());
    }
}

//! The hook before a send: an integrator's own service says whether a message, or an edit, is
//! accepted, and as what.
//!
//! It is asked where sends of a stream wait for one another, so their order stays. What a nonce
//! stands for is what the client sent, whatever the service made of it.

use super::{Caller, Domain, Error, Reason};
use crate::config::{HookFailure, PreSend};
use crate::model::{Channel, Id, Metadata, UnixMs};
use crate::outgoing::{Client, Post, Rules, SigningKey, SystemResolver, Target, Trust};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// When who was refused because the service is away may try again.
const RETRY: Duration = Duration::from_secs(1);

/// What the service is asked about. Ids are strings: many languages' numbers are too small.
#[derive(Debug, Serialize)]
pub(super) struct Draft<'a> {
    event: &'static str,
    server_id: String,
    channel_id: String,
    author_id: String,
    /// Of an edit: the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: &'a Metadata,
}

/// What the service answers.
#[derive(Debug, Deserialize)]
struct Answer {
    action: Action,
    #[serde(default)]
    content: String,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Allow,
    Reject,
    Rewrite,
}

/// What the service says of a message.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    Reject(String),
    Rewrite(String),
}

/// The service.
pub(super) struct Hook {
    client: Client,
    target: Target,
    key: SigningKey,
    within: Duration,
    fail: HookFailure,
    slots: Semaphore,
}

impl<'a> Draft<'a> {
    /// A new message.
    pub(super) fn new(
        caller: &Caller,
        channel: &Channel,
        content: &'a str,
        reply_to: Id,
        metadata: &'a Metadata,
    ) -> Self {
        Self {
            event: "message.create",
            server_id: channel.server_id.to_string(),
            channel_id: channel.id.to_string(),
            author_id: caller.user_id.to_string(),
            message_id: None,
            content,
            reply_to: (reply_to != 0).then(|| reply_to.to_string()),
            metadata,
        }
    }

    /// A message's new content.
    pub(super) fn edit(
        caller: &Caller,
        channel: &Channel,
        message: Id,
        content: &'a str,
        metadata: &'a Metadata,
    ) -> Self {
        Self {
            event: "message.update",
            message_id: Some(message.to_string()),
            ..Self::new(caller, channel, content, 0, metadata)
        }
    }
}

impl Hook {
    fn open(config: &PreSend) -> Result<Self, String> {
        // Operators name the service, which mostly runs beside the server.
        let rules = Rules {
            private: true,
            ..Rules::default()
        };
        let target = Target::parse(&config.url, &rules).map_err(|error| format!("url {error}"))?;
        let trust = Trust::load(config.ca_file.as_deref());
        let trust = trust.map_err(|error| format!("ca_file {error}"))?;
        let secret = match (&config.secret, &config.secret_file) {
            (Some(secret), _) => secret.expose().to_owned(),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map_err(|error| format!("secret_file {}: {error}", path.display()))?,
            (None, None) => String::new(),
        };
        let key = SigningKey::parse(secret.trim()).ok_or_else(|| {
            "secret must be whsec_ and the base64 of 24 to 64 random bytes".to_owned()
        })?;
        Ok(Self {
            client: Client::new(rules, Arc::new(SystemResolver), trust),
            target,
            key,
            within: config.timeout,
            fail: config.fail,
            slots: Semaphore::new(config.concurrency),
        })
    }

    /// Asks within the time-out, the wait for others included. Err: no answer, or none that says
    /// something.
    async fn ask(&self, draft: &Draft<'_>, now: UnixMs) -> Result<Verdict, String> {
        let id = format!("hook_{}", uuid::Uuid::new_v4().simple());
        let body = serde_json::to_vec(draft).map_err(|error| error.to_string())?;
        let post = Post {
            target: &self.target,
            id: &id,
            timestamp: now.div_euclid(1_000),
            keys: &[&self.key],
            body: Bytes::from(body),
            within: self.within,
        };
        let asked = tokio::time::timeout(self.within, async {
            let _slot = self.slots.acquire().await.map_err(|e| e.to_string())?;
            self.client.post(post).await.map_err(|e| e.to_string())
        });
        let Ok(answer) = asked.await else {
            return Err(format!("no answer within {} ms", self.within.as_millis()));
        };
        let answer = answer?;
        if !answer.status.is_success() {
            return Err(format!("it answered {}", answer.status));
        }
        verdict(&answer.body)
    }
}

fn verdict(body: &[u8]) -> Result<Verdict, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    Ok(match answer.action {
        Action::Allow => Verdict::Allow,
        Action::Reject => Verdict::Reject(answer.reason),
        Action::Rewrite => Verdict::Rewrite(answer.content),
    })
}

impl Domain {
    /// Makes the hooks of the settings ready. Until then messages are accepted unasked.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn open_hooks(&self) -> Result<(), String> {
        if let Some(config) = &self.config.hooks.pre_send {
            let hook = Hook::open(config)?;
            self.pre_send.get_or_init(|| hook);
        }
        Ok(())
    }

    /// Whether messages are shown to a service before they are accepted.
    pub(super) fn has_hook(&self) -> bool {
        self.pre_send.get().is_some()
    }

    /// What a message's content becomes; None: it stays.
    pub(super) async fn review(&self, draft: Draft<'_>) -> Result<Option<String>, Error> {
        let Some(hook) = self.pre_send.get() else {
            return Ok(None);
        };
        let verdict = hook.ask(&draft, self.now()).await;
        let (outcome, reviewed) = match verdict {
            Ok(Verdict::Allow) => ("allow", Ok(None)),
            Ok(Verdict::Reject(reason)) => ("reject", Err(rejected(reason))),
            Ok(Verdict::Rewrite(content)) => match self.check_content(&content) {
                Ok(()) => ("rewrite", Ok(Some(content))),
                Err(error) => ("failed", hook.failed(&error.to_string())),
            },
            Err(problem) => ("failed", hook.failed(&problem)),
        };
        metrics::counter!("chirm_pre_send_hook_total", "outcome" => outcome).increment(1);
        reviewed
    }
}

impl Hook {
    /// What becomes of a message of which the service says nothing.
    fn failed(&self, problem: &str) -> Result<Option<String>, Error> {
        tracing::warn!(problem, "the hook before sends failed");
        match self.fail {
            HookFailure::Open => Ok(None),
            HookFailure::Closed => {
                let message = "Messages are reviewed, and that can't be done now.";
                Err(Error::new(Reason::HookUnavailable, message).retry_after(RETRY))
            }
        }
    }
}

fn rejected(reason: String) -> Error {
    if reason.is_empty() {
        let message = "The message is refused by the rules of this place.";
        return Error::new(Reason::RejectedByHook, message);
    }
    Error::new(Reason::RejectedByHook, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_becomes_of_a_message() {
        let says = |text: &str| verdict(text.as_bytes());
        assert_eq!(says(r#"{"action":"allow"}"#), Ok(Verdict::Allow));
        let more = r#"{"action":"reject","reason":"Rude","score":3}"#;
        assert_eq!(says(more), Ok(Verdict::Reject("Rude".into())));
        let rewrite = r#"{"action":"rewrite","content":"***"}"#;
        assert_eq!(says(rewrite), Ok(Verdict::Rewrite("***".into())));
        for wrong in ["", "{}", r#"{"action":"dance"}"#, r#"{"action":"reject""#] {
            assert!(says(wrong).is_err(), "{wrong}");
        }
    }
}

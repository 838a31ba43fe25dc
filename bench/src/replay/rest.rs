//! Reads history by plain HTTP and JSON, as a script would.

use crate::history::{Seen, hash};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use std::collections::HashSet;
use std::time::Duration;

/// A hundred of the longest messages fit well.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Users whose presence one request may ask for.
const PRESENCES_AT_ONCE: usize = 100;
const OFFLINE: &str = "PRESENCE_STATUS_OFFLINE";
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A reader with a token.
#[derive(Clone)]
pub(super) struct Rest {
    client: Client<HttpConnector, Empty<Bytes>>,
    url: String,
    token: String,
}

/// A page of a channel, ascending.
pub(super) struct Page {
    pub(super) messages: Vec<Seen>,
    /// The highest id of its range, of a deleted message too; 0 of an empty page.
    pub(super) last: i64,
    pub(super) has_newer: bool,
    /// Up to which id history is final.
    pub(super) settled: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct JsonPage {
    messages: Vec<JsonMessage>,
    deleted_ids: Vec<String>,
    has_newer: bool,
    settled_id: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct JsonMembers {
    members: Vec<JsonUser>,
    next_page_token: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonPresences {
    presences: Vec<JsonUser>,
}

/// A member or a presence.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct JsonUser {
    user_id: String,
    status: String,
}

/// Ids are strings in JSON; what is empty or 0 may be left out.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct JsonMessage {
    id: String,
    channel_id: String,
    author_id: String,
    content: String,
    nonce: String,
    reply_to: String,
}

impl Rest {
    pub(super) fn new(url: &str, token: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self {
            client,
            url: url.to_owned(),
            token: token.to_owned(),
        }
    }

    /// The oldest messages above `after`.
    pub(super) async fn page(&self, channel_id: i64, after: i64) -> Result<Page> {
        let path = format!("/v1/channels/{channel_id}/messages?after={after}&limit=100");
        page_of(&self.get(&path).await?)
    }

    /// All members of a server.
    pub(super) async fn members(&self, server_id: i64) -> Result<Vec<i64>> {
        let mut members = Vec::new();
        let mut token = String::new();
        loop {
            let path = format!("/v1/servers/{server_id}/members?pageSize=1000&pageToken={token}");
            let page: JsonMembers = serde_json::from_slice(&self.get(&path).await?)
                .context("a page of members is not as promised")?;
            for member in page.members {
                members.push(id(&member.user_id)?);
            }
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(members);
            }
        }
    }

    /// Of some users those that aren't OFFLINE.
    pub(super) async fn present(&self, users: &[i64]) -> Result<HashSet<i64>> {
        let mut present = HashSet::new();
        for users in users.chunks(PRESENCES_AT_ONCE) {
            let asked: Vec<String> = users.iter().map(|id| format!("userIds={id}")).collect();
            let path = format!("/v1/presence:batchGet?{}", asked.join("&"));
            let answer: JsonPresences = serde_json::from_slice(&self.get(&path).await?)
                .context("presences are not as promised")?;
            let told = answer.presences.len();
            ensure!(
                told == users.len(),
                "of {} members {told} have a presence",
                users.len()
            );
            for presence in answer.presences {
                if presence.status != OFFLINE {
                    present.insert(id(&presence.user_id)?);
                }
            }
        }
        Ok(present)
    }

    async fn get(&self, path: &str) -> Result<Bytes> {
        let request = http::Request::get(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {}", self.token))
            .body(Empty::new())?;
        let answer = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), PAGE_BYTES_MAX);
            let bytes = body
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!(error))?
                .to_bytes();
            ensure!(
                status.is_success(),
                "{status}: {}",
                String::from_utf8_lossy(&bytes)
            );
            Ok(bytes)
        };
        tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .context("no answer in time")?
    }
}

fn page_of(bytes: &[u8]) -> Result<Page> {
    let page: JsonPage = serde_json::from_slice(bytes).context("a page is not as promised")?;
    let messages: Vec<Seen> = page
        .messages
        .into_iter()
        .map(JsonMessage::seen)
        .collect::<Result<_>>()?;
    let mut last = messages.last().map_or(0, |message| message.id);
    for deleted in &page.deleted_ids {
        last = last.max(id(deleted)?);
    }
    Ok(Page {
        messages,
        last,
        has_newer: page.has_newer,
        settled: id(&page.settled_id)?,
    })
}

impl JsonMessage {
    fn seen(self) -> Result<Seen> {
        Ok(Seen {
            id: id(&self.id)?,
            channel: id(&self.channel_id)?,
            author: id(&self.author_id)?,
            nonce: self.nonce,
            hash: hash(&self.content),
            reply_to: id(&self.reply_to)?,
        })
    }
}

fn id(text: &str) -> Result<i64> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().with_context(|| format!("{text:?} is no id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_and_without_what_may_be_left_out() {
        let page = page_of(
            br#"{"messages":[{"id":"5","channelId":"2","authorId":"3","content":"x",
                "nonce":"n","replyTo":"4","mentions":[]},{"id":"6"}],"deletedIds":["7"],
                "hasNewer":true,"settledId":"6"}"#,
        )
        .unwrap();
        assert!(page.has_newer);
        assert_eq!((page.last, page.settled), (7, 6));
        assert_eq!((page.messages[0].id, page.messages[0].reply_to), (5, 4));
        assert_eq!(page.messages[0].hash, hash("x"));
        assert_eq!((page.messages[1].id, page.messages[1].reply_to), (6, 0));
        assert!(page_of(b"{}").unwrap().messages.is_empty());
        assert!(page_of(br#"{"messages":[{"id":"x"}]}"#).is_err());
    }
}

//! What must hold in every case, whatever it is about.

use super::{Run, lock};
use crate::vars::plain;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Pages of a channel that are read in the end.
const PAGES_MAX: usize = 20;

impl Run<'_> {
    pub(super) async fn invariants(&self) -> Result<()> {
        for (name, stream) in lock(&self.all).iter() {
            let log = stream.shared.log();
            ensure!(
                log.faults.is_empty(),
                "on the stream {name}: {}",
                log.faults.join("; ")
            );
        }
        let stopped = match &*self.server.lock().await {
            Some(server) => !server.is_up(),
            None => false,
        };
        if stopped {
            return Ok(());
        }
        let mut channels: BTreeMap<String, Vec<super::Sent>> = BTreeMap::new();
        for sent in lock(&self.sent).iter() {
            channels
                .entry(sent.channel.clone())
                .or_default()
                .push(sent.clone());
        }
        for (channel, sent) in channels {
            self.history(&channel, &sent).await?;
        }
        Ok(())
    }

    /// Each acknowledged message is in history exactly once, as it was sent.
    async fn history(&self, channel: &str, sent: &[super::Sent]) -> Result<()> {
        let Some(messages) = self.pages(channel, &sent[0].by).await? else {
            return Ok(());
        };
        let touched = lock(&self.touched).clone();
        for sent in sent {
            if touched.contains(&sent.id) {
                continue;
            }
            let found = messages
                .iter()
                .filter(|message| plain(&message["id"]) == sent.id);
            let found: Vec<_> = found.collect();
            ensure!(
                found.len() == 1,
                "the acknowledged message {} is in history {} times",
                sent.id,
                found.len()
            );
            let content = plain(&found[0]["content"]);
            ensure!(
                content == sent.content,
                "the message {} changed: {content}",
                sent.id
            );
        }
        Ok(())
    }

    /// A channel's history, if one may see it still.
    async fn pages(&self, channel: &str, by: &str) -> Result<Option<Vec<Value>>> {
        let token = self.token(by)?;
        let mut messages: Vec<Value> = Vec::new();
        let mut after = "0".to_owned();
        for _ in 0..PAGES_MAX {
            let request = json!({"channel_id": channel, "limit": 100, "after": after});
            let answer = self
                .patient_call("ListMessages", token.as_deref(), &request)
                .await?;
            let Ok(page) = answer else { return Ok(None) };
            let listed = page["messages"].as_array().cloned().unwrap_or_default();
            let deleted = page["deleted_ids"].as_array().cloned().unwrap_or_default();
            let ids = listed.iter().map(|message| &message["id"]).chain(&deleted);
            let highest = ids.filter_map(crate::vars::number).max();
            messages.extend(listed);
            match highest {
                Some(highest) if page["has_newer"] == true => after = highest.to_string(),
                _ => break,
            }
        }
        Ok(Some(messages))
    }
}

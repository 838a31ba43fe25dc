//! `chirm server add-members`: many members at once.

use super::output;
use super::progress;
use anyhow::{Context as _, ensure};
use chirm_client::Api;
use chirm_proto::v1::{self, new_member::Subject};
use std::path::Path;

/// Users of one call, as many as the server takes.
const BATCH: usize = 500;
/// Bytes of one call's users: a request has 64 KiB at most, with some room for the rest.
const BATCH_BYTES: usize = 48 << 10;

/// Adds the users of a file.
pub(super) async fn add(api: &Api, server_id: i64, file: &Path) -> anyhow::Result<()> {
    let text = read(file)?;
    let members: Vec<v1::NewMember> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| member(index + 1, line))
        .collect::<anyhow::Result<_>>()?;
    let bar = progress::count("adding members", members.len() as u64);
    let mut added = 0;
    for batch in batches(members) {
        let count = batch.len() as u64;
        let first = added + 1;
        let request = v1::BatchAddMembersRequest {
            server_id,
            members: batch,
        };
        let answer = api.servers().batch_add_members(request).await;
        answer.with_context(|| format!("users {first} to {} were not added", added + count))?;
        added += count;
        bar.inc(count);
    }
    bar.finish_and_clear();
    output::line(&format!("added {added}"))
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).context("standard input can't be read");
    }
    std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))
}

fn member(line: usize, text: &str) -> anyhow::Result<v1::NewMember> {
    let (id, name) = text.split_once('\t').unwrap_or((text, ""));
    let (id, name) = (id.trim(), name.trim());
    ensure!(!id.is_empty(), "line {line} has no id before its tab");
    Ok(v1::NewMember {
        subject: Some(Subject::ExternalId(id.to_owned())),
        display_name: name.to_owned(),
    })
}

fn batches(members: Vec<v1::NewMember>) -> Vec<Vec<v1::NewMember>> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for member in members {
        let size = prost::Message::encoded_len(&member) + 4;
        let full = batches
            .last()
            .is_none_or(|last: &Vec<_>| last.len() >= BATCH);
        if full || bytes + size > BATCH_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(last) = batches.last_mut() {
            last.push(member);
        }
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

//! Compares, every few seconds, what this node heard with what Redis has: a message that Pub/Sub
//! lost is found even if it was the last.

use super::connection::Call;
use super::keys::{GROUPS, topic_of};
use super::topics::Shared;
use crate::bus::Error;
use crate::model::{Position, TopicKey};
use futures::StreamExt as _;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often.
const EVERY: Duration = Duration::from_secs(5);
/// What is under way is waited for so long.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// What was published so long ago is looked at: three checks, should one fail.
const BACK_MS: u64 = 20_000;
/// Topics of a group that are looked at in a check.
const TOPICS_MAX: usize = 4_096;
/// Groups that are checked at once, and topics of one.
const AT_ONCE: (usize, usize) = (64, 16);
/// When a new epoch's topics have their second gap.
const SETTLED_MS: i64 = 10_000;

/// What is known of a group.
#[derive(Clone, Copy, Default)]
struct Group {
    epoch: i64,
    /// Its second gap was, or needn't be, looked for.
    settled: bool,
}

/// Checks for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut groups = [Group::default(); GROUPS];
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let each = futures::stream::iter(groups.iter_mut().zip(0..=u8::MAX));
        each.for_each_concurrent(AT_ONCE.0, |(known, group)| {
            let shared = &shared;
            async move {
                let_go(shared, group).await;
                let used = shared.hub.used(group);
                if !used.is_empty()
                    && let Err(error) = check(shared, group, known, used).await
                {
                    tracing::debug!(group, %error, "a group can't be checked");
                }
            }
        })
        .await;
    }
}

/// Ends subscriptions that nobody needs any more.
async fn let_go(shared: &Shared, group: u8) {
    let _changing = shared.events.changing[usize::from(group)].lock().await;
    let gone = shared.hub.let_go(group);
    if gone.is_empty() {
        return;
    }
    shared.stop_listening(group, gone).await;
}

async fn check(
    shared: &Shared,
    group: u8,
    known: &mut Group,
    used: Vec<TopicKey>,
) -> Result<(), Error> {
    let mut args = shared.servers.head();
    args.push(BACK_MS.to_string().into_bytes());
    args.push(TOPICS_MAX.to_string().into_bytes());
    let call = Call {
        script: &shared.scripts.check,
        keys: vec![shared.keys.epoch(group), shared.keys.active(group)],
        args,
    };
    let answer: (i64, i64, Vec<String>) = shared.servers.call_group(group, call).await?;
    let (epoch, age, lately) = answer;
    let first = known.epoch == 0;
    if known.epoch != epoch {
        *known = Group {
            epoch,
            settled: first && age >= SETTLED_MS,
        };
        if !first {
            tracing::warn!(group, "Redis lost what it knew of these topics");
            used.iter().for_each(|topic| shared.hub.lose(*topic));
        }
    }
    let gap_is_due = !known.settled && age >= SETTLED_MS;
    // What was forgotten before the first check shows in no list.
    let all = first || gap_is_due;
    let looked_at: Vec<TopicKey> = if all {
        used
    } else {
        let used: HashSet<TopicKey> = used.into_iter().collect();
        let lately = lately.iter().filter_map(|name| topic_of(name));
        lately.filter(|topic| used.contains(topic)).collect()
    };
    compare(shared, looked_at).await?;
    known.settled |= gap_is_due;
    Ok(())
}

async fn compare(shared: &Shared, topics: Vec<TopicKey>) -> Result<(), Error> {
    if topics.is_empty() {
        return Ok(());
    }
    let asked = futures::stream::iter(topics)
        .map(|topic| async move { (topic, shared.position(topic).await) })
        .buffer_unordered(AT_ONCE.1);
    let positions: Vec<_> = asked.collect().await;
    let mut behind = Vec::new();
    for (topic, position) in positions {
        let position: Position = position?;
        // Epoch 0: what the store numbers, of which nothing was carried yet.
        if position.epoch != 0 && shared.hub.is_behind(topic, position) {
            behind.push((topic, position));
        }
    }
    if behind.is_empty() {
        return Ok(());
    }
    sleep(UNDER_WAY).await;
    for (topic, position) in behind {
        if shared.hub.is_behind(topic, position) {
            metrics::counter!("chirm_topics_behind_total").increment(1);
            shared.hub.lose(topic);
        }
    }
    Ok(())
}

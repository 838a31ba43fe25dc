//! `chirm bench members`: a large server, its member list and what a change of it costs.

use super::report::{Figure, MembersReport};
use super::swarm::Swarm;
use crate::latency::Histogram;
use crate::launch::Target;
use crate::procfs;
use crate::report::LatencyMs;
use crate::setup::Backend;
use anyhow::{Context, Result, ensure};
use chirm_proto::v1::{self, client_frame::Frame as Sent};
use indicatif::ProgressBar;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// How many of a kind are measured.
const SAMPLES: usize = 100;
/// Seconds over which the cost of changes is taken.
const BUSY_S: u64 = 10;
/// A list that isn't known yet is read within so long.
const COLD_WITHIN: Duration = Duration::from_secs(60);
/// What was told has arrived after so long: two ticks and some more.
const SETTLE: Duration = Duration::from_millis(2_500);

/// What to measure.
#[derive(Clone)]
pub struct MembersOptions {
    /// The server.
    pub target: Target,
    /// Members of the server, its owner among them; at least 1,000.
    pub members: u32,
    /// How many of them are connected; at least 300.
    pub connected: u32,
    /// Status changes a second.
    pub changes: u32,
}

/// Measures a large server.
pub async fn members(options: MembersOptions) -> Result<MembersReport> {
    ensure!(
        options.connected >= 300 && options.members > options.connected + SAMPLES as u32,
        "--connected is 300 at least, and --members more than that and {SAMPLES}"
    );
    let server = options.target.open().await?;
    let result = measure(&options, &server.url, &server.key, server.pid()).await;
    server.stop().await?;
    result
}

async fn measure(
    options: &MembersOptions,
    url: &str,
    key: &str,
    pid: Option<u32>,
) -> Result<MembersReport> {
    let backend = Backend::new(url, key)?;
    let server_id = backend.create_server("bench").await?;
    let prefix = format!("m-{:08x}", rand::random::<u32>());
    // The owner is a member, too, and some more join later.
    let made = u64::from(options.members) - 1 - SAMPLES as u64;
    let bar = ProgressBar::new(made).with_message("making members");
    let start = Instant::now();
    backend.add_members(server_id, &prefix, made, &bar).await?;
    let made_per_s = made as f64 / start.elapsed().as_secs_f64();
    bar.finish_and_clear();

    let bar = ProgressBar::new_spinner().with_message("signing users in");
    bar.enable_steady_tick(Duration::from_millis(200));
    let users = backend
        .sign_in(&prefix, u64::from(options.connected))
        .await?;
    // So that what the store keeps of rows that were read isn't taken for the list's.
    backend.read_members(server_id).await?;
    let rss_before = pid.map(procfs::rss_bytes).transpose()?;
    let first = Swarm::open(url, &users[..1], &[]).await?;
    let cold_ms = first_range(&first, 0, server_id).await?;
    let rss_listed = pid.map(procfs::rss_bytes).transpose()?;
    first.close().await?;

    bar.set_message("connecting");
    let swarm = Swarm::open(url, &users, &[v1::Intent::Presence]).await?;
    tokio::time::sleep(SETTLE).await;
    bar.set_message("joining");
    let join = joins(&backend, server_id, &prefix).await?;
    bar.set_message("looking at first ranges");
    let mut warm = Histogram::default();
    for session in 0..SAMPLES {
        let ms = first_range(&swarm, session, server_id).await?;
        warm.record(Duration::from_secs_f64(ms / 1e3));
    }
    bar.set_message("changing one status");
    let one = one_change(&swarm, server_id).await?;
    bar.set_message("changing many");
    let cpu = many_changes(&swarm, options.changes, pid).await?;
    swarm.close().await?;
    bar.finish_and_clear();
    let list_bytes = rss_before
        .zip(rss_listed)
        .map(|(before, after)| after.saturating_sub(before) as f64 / f64::from(options.members));
    Ok(MembersReport {
        bench: "members",
        members: options.members,
        connected: options.connected,
        made_per_s,
        join_ms: LatencyMs::from(&join),
        first_range_cold_ms: cold_ms,
        first_range_ms: LatencyMs::from(&warm),
        one_change: one,
        changes_per_s: options.changes,
        cpus: cpu,
        list_bytes_per_member: list_bytes,
    })
}

fn view(server_id: i64, start: i32) -> Sent {
    let range = v1::MemberRange { start, count: 100 };
    Sent::View(v1::View {
        member_lists: vec![v1::MemberListView {
            server_id,
            ranges: vec![range],
        }],
        ..Default::default()
    })
}

/// How long a session waits for its first range, in milliseconds.
async fn first_range(swarm: &Swarm, session: usize, server_id: i64) -> Result<f64> {
    let told = swarm.told(session);
    ensure!(
        told.list_frames.load(Relaxed) == 0,
        "the session looked at a list before"
    );
    let asked = swarm.now_us();
    swarm.send(session, view(server_id, 0))?;
    let end = Instant::now() + COLD_WITHIN;
    while told.list_frames.load(Relaxed) == 0 {
        ensure!(Instant::now() < end, "the first range never came");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok((told.listed_us.load(Relaxed) - asked) as f64 / 1e3)
}

async fn joins(backend: &Backend, server_id: i64, prefix: &str) -> Result<Histogram> {
    let mut latency = Histogram::default();
    for index in 0..SAMPLES {
        let name = format!("{prefix}-late-{index}");
        let user = backend.mint(&name, &name).await?;
        let start = Instant::now();
        backend.join(&user, server_id).await?;
        latency.record(start.elapsed());
    }
    Ok(latency)
}

/// What one change of status is worth to those who look at it, and to all others.
async fn one_change(swarm: &Swarm, server_id: i64) -> Result<Figure> {
    // A hundred look at the first places already; as many at some where nobody is here.
    for session in SAMPLES..2 * SAMPLES {
        swarm.send(session, view(server_id, 50_000))?;
    }
    tokio::time::sleep(SETTLE).await;
    let before: Vec<_> = (0..SAMPLES)
        .map(|session| swarm.told(session).list_ops.load(Relaxed))
        .collect();
    let all = (
        swarm.sum(|t| &t.list_frames),
        swarm.sum(|t| &t.presence_frames),
    );
    let of_viewers = |swarm: &Swarm| -> u64 {
        (0..SAMPLES)
            .map(|session| swarm.told(session).list_frames.load(Relaxed))
            .sum()
    };
    let viewers_before = of_viewers(swarm);
    // Of a user in the first places: the session is one of those who look at them.
    swarm.send(0, set(v1::PresenceStatus::DoNotDisturb))?;
    tokio::time::sleep(SETTLE).await;
    let ops =
        (0..SAMPLES).map(|session| swarm.told(session).list_ops.load(Relaxed) - before[session]);
    let most = ops.max().context("there are viewers")?;
    let viewers = of_viewers(swarm) - viewers_before;
    let lists = swarm.sum(|t| &t.list_frames) - all.0;
    let presences = swarm.sum(|t| &t.presence_frames) - all.1;
    Ok(Figure {
        viewers: SAMPLES as u64,
        frames_to_viewers: viewers,
        ops_to_a_viewer: most,
        // Its own session is told of its user.
        frames_to_others: lists - viewers + presences.saturating_sub(1),
    })
}

fn set(status: v1::PresenceStatus) -> Sent {
    Sent::SetPresence(v1::SetPresenceRequest {
        status: status as i32,
        text: None,
    })
}

/// How many processors so many changes a second keep busy.
async fn many_changes(swarm: &Swarm, per_s: u32, pid: Option<u32>) -> Result<Option<f64>> {
    let Some(pid) = pid else { return Ok(None) };
    let idle = busy(swarm, 0, pid).await?;
    Ok(Some(busy(swarm, per_s, pid).await? - idle))
}

/// The processors that the server uses while statuses change.
async fn busy(swarm: &Swarm, per_s: u32, pid: u32) -> Result<f64> {
    let before = procfs::cpu_seconds(pid)?;
    let start = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut changed = 0_usize;
    for n in 0..BUSY_S * 10 {
        tick.tick().await;
        let until = (n + 1) * u64::from(per_s) / 10;
        while (changed as u64) < until {
            let statuses = [v1::PresenceStatus::Idle, v1::PresenceStatus::Online];
            // Of those who look at the first places, too.
            let session = changed % 300;
            let round = changed / 300;
            swarm.send(session, set(statuses[round % 2]))?;
            changed += 1;
        }
    }
    tokio::time::sleep(SETTLE).await;
    Ok((procfs::cpu_seconds(pid)? - before) / start.elapsed().as_secs_f64())
}

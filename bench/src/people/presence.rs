//! `chirm bench presence`: all come online at once, and one of whom many are told changes.

use super::report::PresenceReport;
use super::swarm::Swarm;
use crate::launch::Target;
use crate::procfs;
use crate::setup::{Backend, Session};
use anyhow::{Result, ensure};
use chirm_proto::v1::{self, client_frame::Frame as Sent};
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// Members of a server: with its owner, who isn't here, as many as tell all of each other.
const MEMBERS: usize = 249;
/// Memberships that are made at once.
const AT_ONCE: usize = 8;
/// What was told has arrived after so long: two ticks and some more.
const SETTLE: Duration = Duration::from_millis(2_500);
/// All is said when nothing more came for so long.
const QUIET: Duration = Duration::from_secs(4);

/// What to measure.
#[derive(Clone)]
pub struct PresenceOptions {
    /// The server.
    pub target: Target,
    /// Users; at least 249.
    pub users: u32,
    /// Servers, of 249 users and their owner each; the first user is in all of them.
    pub servers: u32,
}

/// Measures a herd.
pub async fn presence(options: PresenceOptions) -> Result<PresenceReport> {
    ensure!(
        options.users as usize >= MEMBERS && (1..=200).contains(&options.servers),
        "--users is {MEMBERS} at least, --servers 1 to 200"
    );
    let server = options.target.open().await?;
    let result = measure(&options, &server.url, &server.key, server.pid()).await;
    server.stop().await?;
    result
}

/// The users of each server: the first one, and 248 others in turn.
fn members(users: usize, servers: usize) -> Vec<Vec<usize>> {
    let mut next = 0;
    let mut other = || {
        next = next % (users - 1) + 1;
        next
    };
    let mut of_one = || {
        [0].into_iter()
            .chain((1..MEMBERS).map(|_| other()))
            .collect()
    };
    (0..servers).map(|_| of_one()).collect()
}

/// Makes servers with these members.
async fn make_servers(backend: &Backend, servers: &[Vec<usize>], users: &[Session]) -> Result<()> {
    stream::iter(servers)
        .map(async |members| {
            let server = backend.create_server("bench").await?;
            let ids: Vec<i64> = members.iter().map(|n| users[*n].user_id).collect();
            backend.add_known(server, &ids).await
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn measure(
    options: &PresenceOptions,
    url: &str,
    key: &str,
    pid: Option<u32>,
) -> Result<PresenceReport> {
    let bar = ProgressBar::new_spinner().with_message("making users and servers");
    bar.enable_steady_tick(Duration::from_millis(200));
    let backend = Backend::new(url, key)?;
    let prefix = format!("p-{:08x}", rand::random::<u32>());
    let users = backend.sign_in(&prefix, u64::from(options.users)).await?;
    let servers = members(users.len(), options.servers as usize);
    make_servers(&backend, &servers, &users).await?;
    // Whom each user is told of: itself, and all with whom it shares a server.
    let mut interested: Vec<HashSet<usize>> =
        (0..users.len()).map(|user| HashSet::from([user])).collect();
    for server in &servers {
        for member in server {
            interested[*member].extend(server);
        }
    }
    let bound: u64 = interested.iter().map(|told| told.len() as u64).sum();

    bar.set_message("coming online");
    let cpu_before = pid.map(procfs::cpu_seconds).transpose()?;
    let start = Instant::now();
    let swarm = Swarm::open(url, &users, &[v1::Intent::Presence]).await?;
    let online_s = start.elapsed().as_secs_f64();
    let mut last = (0, Instant::now());
    while last.1.elapsed() < QUIET {
        let presences = swarm.sum(|told| &told.presences);
        if presences != last.0 {
            last = (presences, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let cpu_after = pid.map(procfs::cpu_seconds).transpose()?;
    let herd = (swarm.sum(|told| &told.presence_frames), last.0);
    let told_s = last.1.duration_since(start).as_secs_f64();

    bar.set_message("one changes");
    let busy = v1::SetPresenceRequest {
        status: v1::PresenceStatus::DoNotDisturb as i32,
        text: None,
    };
    swarm.send(0, Sent::SetPresence(busy))?;
    tokio::time::sleep(SETTLE).await;
    let one = swarm.sum(|told| &told.presence_frames) - herd.0;
    let presences = swarm.sum(|told| &told.presences) - herd.1;
    swarm.close().await?;
    bar.finish_and_clear();
    Ok(PresenceReport {
        bench: "presence",
        users: options.users,
        servers: options.servers,
        online_s,
        told_s,
        herd_frames: herd.0,
        herd_presences: herd.1,
        herd_presences_bound: 2 * bound,
        herd_cpu_s: cpu_before
            .zip(cpu_after)
            .map(|(before, after)| after - before),
        one_change_frames: one,
        one_change_presences: presences,
        one_change_bound: interested[0].len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_user_is_in_each_server_and_no_server_has_a_user_twice() {
        for (users, servers) in [(5_000, 100), (250, 7), (300, 3)] {
            for server in members(users, servers) {
                let distinct: HashSet<_> = server.iter().collect();
                assert_eq!((server[0], distinct.len()), (0, MEMBERS));
            }
        }
    }
}

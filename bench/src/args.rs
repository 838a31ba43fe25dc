//! The flags of `chirm bench` and `chirm replay`, for the binary to flatten.

use crate::carrier::Transport;
use crate::fanout::{FanoutOptions, Front};
use crate::floor::{ChildOptions, FloorOptions};
use crate::launch::Target;
use crate::replay::{ReplayOptions, ViaBridge};
use crate::send::SendOptions;
use crate::tracker::Pace;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use comfy_table::Table;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Which server to use. Without `Debug`, for it holds a key.
#[derive(Clone, Args)]
pub struct TargetArgs {
    /// A running server, as http://HOST:PORT; without it one is started for the time
    #[arg(long)]
    pub server: Option<String>,
    /// The running server's process on this machine, for its figures
    #[arg(long, requires = "server")]
    pub pid: Option<u32>,
    /// A service key of the running server, for the set-up; CHIRM_KEY keeps it out of the list of
    /// processes
    #[arg(long, requires = "server", env = "CHIRM_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// The program to start, such as another version of chirm; this one without it
    #[arg(long, value_name = "PATH", conflicts_with = "server")]
    pub program: Option<PathBuf>,
}

impl From<TargetArgs> for Target {
    fn from(args: TargetArgs) -> Self {
        Self {
            server: args.server,
            pid: args.pid,
            key: args.key,
            binary: args.program,
        }
    }
}

/// `chirm bench`: figures of a server.
#[derive(Clone, Subcommand)]
pub enum BenchCommand {
    /// One channel, many subscribers: deliveries a second, their latency and cost
    Fanout(FanoutArgs),
    /// Durable sends: how many a second, how long one takes
    Send(SendArgs),
    /// A large server: joining, the member list, what a change of status costs
    Members(MembersArgs),
    /// Everyone comes online at once, then one of whom many are told changes
    Presence(PresenceArgs),
    /// What the same deliveries cost a process that does nothing but write them
    Floor(FloorArgs),
}

/// What fan-out and floor have in common.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// How many subscribers receive each message
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: u32,
    /// TCP connections that they share; as many as subscribers by default, and always so by ws,
    /// ws-json and grpc-web
    #[arg(long)]
    pub connections: Option<u32>,
    /// How many messages; 0 measures idle memory alone
    #[arg(long, default_value_t = 200)]
    pub messages: u32,
    /// How many messages may be unreceived at once; 1 by default
    #[arg(long, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: Option<u32>,
    /// Messages a second, whatever is received
    #[arg(long)]
    pub rate: Option<f64>,
    /// Bytes of a message's content
    #[arg(long, default_value_t = 200)]
    pub bytes: usize,
    /// Print only the JSON object
    #[arg(long)]
    pub json: bool,
}

impl LoadArgs {
    fn pace(&self) -> Result<Pace> {
        anyhow::ensure!(self.rate.is_none_or(|r| r > 0.0), "--rate must be above 0");
        Ok(Pace::of(self.in_flight, self.rate))
    }

    fn connections(&self) -> u32 {
        self.connections.unwrap_or(self.subscribers)
    }
}

/// `chirm bench fanout`.
#[derive(Clone, Args)]
pub struct FanoutArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// How subscribers listen
    #[arg(long, value_enum, default_value_t = Transport::Grpc)]
    transport: Transport,
    /// Put a chirm-bridge-ws between the server and its subscribers (ws, ws-json, grpc-web): the
    /// one of this path, or the one beside this program. Costs are of both
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    via_bridge: Option<Option<PathBuf>>,
}

/// `chirm bench send`.
#[derive(Clone, Args)]
pub struct SendArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Senders, each with a connection and a channel of its own
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// How many sends of each may be unacknowledged at once
    #[arg(long, default_value_t = 8)]
    in_flight: u32,
    /// How many messages, all senders together
    #[arg(long, default_value_t = 100_000)]
    messages: u32,
    /// Bytes of a message's content
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// Print only the JSON object
    #[arg(long)]
    json: bool,
}

/// `chirm bench members`.
#[derive(Clone, Args)]
pub struct MembersArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Members of the server
    #[arg(long, default_value_t = 100_000)]
    members: u32,
    /// How many of them are connected; 300 at least
    #[arg(long, default_value_t = 5_000)]
    connected: u32,
    /// Status changes a second
    #[arg(long, default_value_t = 1_000)]
    changes: u32,
    /// Print only the JSON object
    #[arg(long)]
    json: bool,
}

/// `chirm bench presence`.
#[derive(Clone, Args)]
pub struct PresenceArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Users, all of whom connect at once
    #[arg(long, default_value_t = 5_000)]
    users: u32,
    /// Servers of 250 of them each; the first user is in all
    #[arg(long, default_value_t = 100)]
    servers: u32,
    /// Print only the JSON object
    #[arg(long)]
    json: bool,
}

/// `chirm bench floor`. Takes the flags of a fan-out, so that one line serves both; what is the
/// server's has no meaning here.
#[derive(Clone, Args)]
pub struct FloorArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[arg(long, hide = true)]
    transport: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    via_bridge: Option<Option<PathBuf>>,
    #[arg(long, hide = true)]
    server: Option<String>,
    #[arg(long, hide = true)]
    pid: Option<u32>,
    #[arg(long, hide = true)]
    key: Option<String>,
    /// Write all that waits for a connection at once, not each delivery by itself
    #[arg(long)]
    coalesce: bool,
    /// Be the process that writes
    #[arg(long, hide = true, requires = "frame_bytes")]
    child: bool,
    #[arg(long, hide = true)]
    frame_bytes: Option<usize>,
}

impl BenchCommand {
    /// Runs the bench and prints what it found. Anything lost or duplicated is a failure.
    pub async fn run(self) -> Result<ExitCode> {
        let (report, json) = match self {
            Self::Fanout(args) => {
                let json = args.load.json;
                (unless_stopped(crate::fanout(args.options()?)).await?, json)
            }
            Self::Send(args) => {
                let json = args.json;
                (unless_stopped(crate::send(args.options())).await?, json)
            }
            Self::Members(args) => {
                let report = unless_stopped(crate::members(crate::MembersOptions {
                    target: args.target.into(),
                    members: args.members,
                    connected: args.connected,
                    changes: args.changes,
                }));
                let report = report.await?;
                let clean = report.is_clean();
                return say(report.table(), &report, args.json, clean);
            }
            Self::Presence(args) => {
                let report = unless_stopped(crate::presence(crate::PresenceOptions {
                    target: args.target.into(),
                    users: args.users,
                    servers: args.servers,
                }));
                let report = report.await?;
                let clean = report.is_clean();
                return say(report.table(), &report, args.json, clean);
            }
            Self::Floor(args) => {
                if let Some(child) = args.child()? {
                    tokio::task::spawn_blocking(move || crate::floor::child(child)).await??;
                    return Ok(ExitCode::SUCCESS);
                }
                let json = args.load.json;
                (unless_stopped(crate::floor(args.options()?)).await?, json)
            }
        };
        say(report.table(), &report, json, report.is_clean())
    }
}

/// Runs to the end, or until this process is asked to stop: then what it started (a server without
/// limits on a temporary folder) ends, too.
async fn unless_stopped<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("asked to stop"),
    }
}

/// Prints what was found: a table unless only `json` is wanted, and the JSON object last.
fn say(table: Table, report: &impl Serialize, json: bool, clean: bool) -> Result<ExitCode> {
    if !json {
        println!("{table}");
    }
    println!("{}", serde_json::to_string(report)?);
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl FanoutArgs {
    fn options(self) -> Result<FanoutOptions> {
        Ok(FanoutOptions {
            subscribers: self.load.subscribers,
            connections: self.load.connections(),
            messages: self.load.messages,
            pace: self.load.pace()?,
            content_bytes: self.load.bytes,
            transport: self.transport,
            front: self.via_bridge.map_or(Front::Server, Front::Bridge),
            target: self.target.into(),
        })
    }
}

impl SendArgs {
    fn options(self) -> SendOptions {
        SendOptions {
            target: self.target.into(),
            connections: self.connections,
            in_flight: self.in_flight,
            messages: self.messages,
            content_bytes: self.bytes,
        }
    }
}

impl FloorArgs {
    fn options(self) -> Result<FloorOptions> {
        Ok(FloorOptions {
            target: Target::default(),
            subscribers: self.load.subscribers,
            connections: self.load.connections(),
            messages: self.load.messages,
            pace: self.load.pace()?,
            coalesce: self.coalesce,
            content_bytes: self.load.bytes,
        })
    }

    fn child(&self) -> Result<Option<ChildOptions>> {
        if !self.child {
            return Ok(None);
        }
        Ok(Some(ChildOptions {
            connections: self.load.connections(),
            subscribers: self.load.subscribers,
            frame_bytes: self.frame_bytes.context("--child needs --frame-bytes")?,
            coalesce: self.coalesce,
        }))
    }
}

/// `chirm replay`.
#[derive(Clone, Args)]
pub struct ReplayArgs {
    /// The logs to replay: a JSON object a line
    file: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    /// Check that nothing was lost, doubled or changed; any difference is a failure
    #[arg(long)]
    verify: bool,
    /// Replay so many events at most
    #[arg(long)]
    limit: Option<u64>,
    /// Events a second; as fast as can be without it
    #[arg(long)]
    rate: Option<f64>,
    /// How often to kill the server on the way; 3 by default, 0 with --server
    #[arg(long, conflicts_with = "server")]
    kills: Option<u32>,
    /// Let the watchers by WebSocket and gRPC-Web connect through a standalone bridge, which is
    /// killed, too: chirm-bridge-ws beside this program, or the one named
    #[arg(long, value_name = "PATH", require_equals = true)]
    via_bridge: Option<Option<PathBuf>>,
    /// How often to kill the bridge on the way
    #[arg(long, default_value_t = 3, requires = "via_bridge")]
    bridge_kills: u32,
    /// Add a watcher by the TypeScript client in Node: the repository's clients/ts, once built
    #[arg(long, value_name = "DIR")]
    ts_client: Option<PathBuf>,
    /// Keep the history of the run in this file
    #[arg(long)]
    history: Option<PathBuf>,
    /// Print only the JSON object
    #[arg(long)]
    json: bool,
}

impl ReplayArgs {
    /// Runs the replay and prints what happened.
    pub async fn run(self) -> Result<ExitCode> {
        anyhow::ensure!(self.rate.is_none_or(|r| r > 0.0), "--rate must be above 0");
        let kills = if self.target.server.is_some() {
            0
        } else {
            self.kills.unwrap_or(3)
        };
        let replay = crate::replay(ReplayOptions {
            target: self.target.into(),
            file: self.file,
            limit: self.limit,
            rate: self.rate,
            kills,
            via_bridge: self.via_bridge.map(|binary| ViaBridge {
                binary,
                kills: self.bridge_kills,
            }),
            ts_client: self.ts_client,
            verify: self.verify,
            history: self.history,
            json: self.json,
        });
        let verdict = unless_stopped(replay).await?;
        Ok(if verdict.is_clean() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

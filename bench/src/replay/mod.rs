//! Replays real conversations through the public API, with watchers, cuts and kills, and checks
//! that nothing was lost.
//!
//! - `plan`: logs as what users do; `stage`: where; `actors`: who does it; `crowd`: their streams;
//!   `roll`: who is where.
//! - `watch`, `rest`, `driver`: who looks on; `tap`, `picture`, `notes`: what it is told and shown.
//! - `faults`: when what is broken; `checkpoint`: when all look who is here.
//! - `summary`: the table at the end.

mod actors;
mod checkpoint;
mod crowd;
mod driver;
mod faults;
mod notes;
mod picture;
mod plan;
mod rest;
mod roll;
mod stage;
mod summary;
mod tap;
mod watch;

use crate::checker::{self, Verdict};
use crate::history::{self, Record, Recorder};
use crate::launch::{Bridge, Running, Target};
use crate::setup::{Backend, connect_lazy};
use actors::{Actor, Progress, Show};
use anyhow::{Context, Result, bail, ensure};
use checkpoint::{Checkpoints, Looking};
use crowd::Crowd;
use driver::Package;
use faults::Faults;
use futures::{StreamExt, stream::FuturesUnordered};
use indicatif::{ProgressBar, ProgressStyle};
use plan::Plan;
use rest::Rest;
use roll::Rolls;
use stage::{Signer, Stage};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use summary::Summary;
use tokio::sync::Mutex;
use tokio::time::Instant;
use watch::{REST, RestWatcher, Watcher, Way};

/// Connections that the users' calls are spread over.
const CHANNELS: usize = 4;
/// Watchers that have everything are waited for as long as each of them moves within this.
const HEAL_WITHIN: Duration = Duration::from_secs(30);
/// A kill comes so much later than its place in the run, at most: a few commits. In a short run
/// more would move it out of the traveller's absence.
const KILL_JITTER: Duration = Duration::from_millis(20);

/// The watcher (by VIEWED) that isn't cut but ends, with its positions, well before a kill, and
/// comes back when the topics have gone on as far as they were: only then does it show whether a
/// new epoch is told from the old one.
const TRAVELLER: usize = 1;
const POLL_EVERY: Duration = Duration::from_millis(20);
/// How long watchers may take to be shown who is here. Who vanishes with its connection is here
/// for up to 62 s, by the usual times; on a server of one's own who leaves is gone within three,
/// but on Redis who left with a node that was killed, within 45. A run in which they were shown
/// something else has failed, and needn't wait again.
const PATIENCE: Duration = Duration::from_secs(90);
const PATIENCE_OWN: Duration = Duration::from_secs(20);
const PATIENCE_OWN_ON_REDIS: Duration = Duration::from_secs(60);
const PATIENCE_LOST: Duration = Duration::from_secs(2);
/// Of a server of one's own: who leaves is shown as gone soon, so that checkpoints needn't wait.
const GATEWAY: &str = "[gateway]\ngrace_ms = 1000\n\n";

/// What to replay, and how.
#[derive(Clone)]
pub struct ReplayOptions {
    /// The server; kills need one of one's own.
    pub target: Target,
    /// The logs: a JSON object a line.
    pub file: PathBuf,
    /// At most so many events of it.
    pub limit: Option<u64>,
    /// Events a second; `None`: as fast as can be.
    pub rate: Option<f64>,
    /// How often the server is killed on the way; 0 for a server that runs already.
    pub kills: u32,
    /// A standalone bridge for the watchers that are browsers' carriers.
    pub via_bridge: Option<ViaBridge>,
    /// The folder of a built `@chirm/client`, for a watcher by it in Node.
    pub ts_client: Option<PathBuf>,
    /// Whether the checker gives its verdict. Without it only the figures count.
    pub verify: bool,
    /// Where the history is kept; `None`: it is deleted after the verdict.
    pub history: Option<PathBuf>,
    /// Whether the JSON object alone is printed.
    pub json: bool,
}

/// A standalone bridge that is killed, too.
#[derive(Clone)]
pub struct ViaBridge {
    /// Its program; `None`: the one beside this one.
    pub binary: Option<PathBuf>,
    /// How often it is killed on the way, beside the server.
    pub kills: u32,
}

impl ReplayOptions {
    fn bridge_kills(&self) -> u32 {
        self.via_bridge.as_ref().map_or(0, |via| via.kills)
    }

    async fn open_bridge(&self, upstream: &str) -> Result<Option<Bridge>> {
        match &self.via_bridge {
            Some(via) => Ok(Some(Bridge::start(via.binary.as_deref(), upstream).await?)),
            None => Ok(None),
        }
    }
}

/// Replays, and gives the verdict with a table of what happened.
pub async fn replay(options: ReplayOptions) -> Result<Verdict> {
    let plan = Plan::read(&options.file, options.limit)?;
    if plan.steps() == 0 {
        bail!("{} has no events", options.file.display());
    }
    let package = options.ts_client.as_deref().map(Package::open);
    let ways = watch::ways(package.transpose()?);
    let names = watch::names(&ways);
    let (signer, config) = Signer::jwt();
    let config = format!("{GATEWAY}{config}");
    let server = options.target.open_with(&config).await?;
    let signer = if server.is_own() {
        signer
    } else {
        Signer::Key(Backend::new(&server.url, &server.key)?)
    };
    let scratch = tempfile::tempdir()?;
    let path = options
        .history
        .clone()
        .unwrap_or_else(|| scratch.path().join("history.jsonl"));
    let recorder = Arc::new(Recorder::create(&path)?);
    let mut run = Run {
        options: &options,
        plan: &plan,
        recorder,
        patience: if !server.is_own() {
            PATIENCE
        } else if std::env::var_os("CHIRM__REDIS__URLS").is_some() {
            PATIENCE_OWN_ON_REDIS
        } else {
            PATIENCE_OWN
        },
        bridge: options.open_bridge(&server.url).await?,
        server,
        ways,
    };
    let result = Box::pin(run.all(signer)).await;
    if let Some(bridge) = run.bridge {
        bridge.stop().await?;
    }
    run.server.stop().await?;
    let mut summary = result?;
    let mut verdict = Verdict::default();
    if options.verify {
        let read = path.clone();
        let planned = Some(plan.planned());
        let check = move || checker::check(history::read(&read)?, &names, planned);
        verdict = tokio::task::spawn_blocking(check).await??;
    }
    summary.add_plan(&plan);
    if !options.json {
        println!("{}", summary.table(&verdict, options.verify));
    }
    println!("{}", summary.json(&verdict, options.verify));
    if let Some(kept) = &options.history {
        eprintln!("the history is in {}", kept.display());
    }
    for (who, killed, kills) in [
        ("server", summary.kills, options.kills),
        ("bridge", summary.bridge_kills, options.bridge_kills()),
    ] {
        ensure!(
            killed == u64::from(kills),
            "the {who} was killed {killed} times, not {kills}: the replay was too short"
        );
    }
    Ok(verdict)
}

/// All watchers.
struct Audience {
    watchers: Vec<Watcher>,
    rest: RestWatcher,
    /// What that one reads by.
    reads: Rest,
    rest_token: String,
}

struct Run<'a> {
    options: &'a ReplayOptions,
    plan: &'a Plan,
    recorder: Arc<Recorder>,
    server: Running,
    bridge: Option<Bridge>,
    patience: Duration,
    ways: Vec<Way>,
}

impl Run<'_> {
    async fn all(&mut self, signer: Signer) -> Result<Summary> {
        let bar = ProgressBar::new(self.plan.steps()).with_style(ProgressStyle::with_template(
            "{msg} {wide_bar} {pos}/{len} {per_sec} {eta}",
        )?);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar.set_message("setting the stage");
        let url = self.server.url.clone();
        let backend = Backend::new(&url, &self.server.key)?;
        let stages = stage::build(&backend, &self.plan.logs).await?;
        let connections = (0..CHANNELS)
            .map(|_| connect_lazy(&url))
            .collect::<Result<Vec<_>>>()?;
        let mut audience = self
            .audience(&backend, &signer, connections[0].clone(), &stages)
            .await?;

        bar.set_message("replaying");
        let others = audience.reads.members(stages[0].server_id).await?.len();
        let every = |rate: f64| tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        let show = Show {
            recorder: self.recorder.clone(),
            signer,
            channels: connections,
            progress: Progress::default(),
            turns: Mutex::new(self.options.rate.map(every)),
            crowd: Crowd::new(&url),
            rolls: Rolls::new(others),
        };
        let begun = Instant::now();
        let mut summary = Summary::default();
        let (users, last_checkpoint) = self
            .play(&show, &stages, &mut audience, &mut summary, &bar)
            .await?;
        let traveller = &mut audience.watchers[TRAVELLER];
        traveller.look_at(None);
        traveller
            .come()
            .await
            .context("a watcher can't come back")?;
        summary.took = begun.elapsed();
        summary.acked = show.progress.acked.load(Ordering::Relaxed);
        summary.refused = show.progress.refused.load(Ordering::Relaxed);
        bar.set_message("waiting for watchers");
        self.heal(&audience, summary.acked).await;
        bar.set_message("looking who is here");
        summary.here = show.crowd.ready();
        self.look(&show, &stages, last_checkpoint, &mut audience)
            .await?;
        drop(users);
        bar.set_message("reading history");
        audience
            .rest
            .stop()
            .await
            .context("the REST watcher can't read")?;
        for watcher in audience.watchers {
            summary.stats.extend(watcher.stop().await?);
        }
        self.read_history(&show, &stages, &audience.rest_token)
            .await?;
        self.recorder.flush()?;
        bar.finish_and_clear();
        Ok(summary)
    }

    /// Writes all messages down, page by page.
    async fn read_history(&self, show: &Show, stages: &[Stage], token: &str) -> Result<()> {
        for stage in stages {
            let read = stage::history(show.channel(), token, stage.channel_id, |page, message| {
                self.recorder.record(Record::Stored {
                    message: notes::seen(&message),
                    page,
                });
            });
            read.await?;
        }
        Ok(())
    }

    /// Signs the watchers in, and waits until they look on.
    async fn audience(
        &self,
        backend: &Backend,
        signer: &Signer,
        channel: tonic::transport::Channel,
        stages: &[Stage],
    ) -> Result<Audience> {
        let mut watchers = Vec::new();
        for way in &self.ways {
            let name = way.name();
            let session = stage::watcher(backend, signer, channel.clone(), name, stages).await?;
            let recorder = self.recorder.clone();
            let bridge = self.bridge.as_ref().filter(|_| way.may_have_bridge());
            let url = bridge.map_or(&self.server.url, |bridge| &bridge.url);
            let watcher = Watcher::start(way.clone(), url, &session.token, stages, recorder);
            watchers.push(watcher.await.context("a watcher can't connect")?);
        }
        let session = stage::watcher(backend, signer, channel, REST, stages).await?;
        let reads = Rest::new(&self.server.url, &session.token);
        let channels = stages.iter().map(|stage| stage.channel_id).collect();
        let rest = RestWatcher::start(reads.clone(), channels, self.recorder.clone());
        Ok(Audience {
            watchers,
            rest,
            reads,
            rest_token: session.token,
        })
    }

    /// Plays all logs, breaks things meanwhile, and looks who is here. Gives the users,
    /// some of them still here, and the next checkpoint.
    async fn play(
        &mut self,
        show: &Show,
        stages: &[Stage],
        audience: &mut Audience,
        summary: &mut Summary,
        bar: &ProgressBar,
    ) -> Result<(Vec<Actor>, u32)> {
        let mut faults = Faults::new(
            self.options.kills,
            self.options.bridge_kills(),
            self.plan.steps(),
        );
        let mut checkpoints = Checkpoints::new(self.options.kills, self.plan.steps());
        let plan = self.plan;
        let is_over = AtomicBool::new(false);
        let played = async {
            let users = play_all(show, stages, plan).await?;
            is_over.store(true, Ordering::Relaxed);
            Ok(users)
        };
        // A kill that is under way when the last step is done still comes to its end: what follows
        // needs the server.
        let disturbed = async {
            while !is_over.load(Ordering::Relaxed) {
                tokio::time::sleep(POLL_EVERY).await;
                let done = show.progress.done.load(Ordering::Relaxed);
                bar.set_position(done);
                let watchers = &mut audience.watchers;
                self.disturb(&mut faults, done, watchers, summary).await?;
                if checkpoints.is_due(done) {
                    self.look(show, stages, checkpoints.taken, audience).await?;
                    checkpoints.taken += 1;
                }
            }
            Ok(checkpoints.taken)
        };
        tokio::try_join!(played, disturbed)
    }

    /// Writes down who is here, and as whom all watchers are shown them.
    async fn look(
        &mut self,
        show: &Show,
        stages: &[Stage],
        checkpoint: u32,
        audience: &mut Audience,
    ) -> Result<()> {
        let looking = Looking {
            show,
            stages,
            rest: &audience.reads,
            recorder: &self.recorder,
            patience: self.patience,
        };
        let traveller = &mut audience.watchers[TRAVELLER];
        traveller
            .come()
            .await
            .context("a watcher can't come back")?;
        if !looking.look(checkpoint, &mut audience.watchers).await? {
            self.patience = PATIENCE_LOST;
        }
        Ok(())
    }

    /// Cuts watchers and kills the server when it is time.
    async fn disturb(
        &mut self,
        faults: &mut Faults,
        done: u64,
        watchers: &mut [Watcher],
        summary: &mut Summary,
    ) -> Result<()> {
        if faults.cut_is_due(done) {
            let cut = watchers.iter().enumerate();
            for (_, watcher) in cut.filter(|(place, _)| *place != TRAVELLER) {
                self.fault(&format!("cut {}", watcher.name));
                watcher.cut();
                summary.cuts += 1;
            }
            watchers[TRAVELLER].look_elsewhere();
        }
        if let Some(traveller) = watchers.get_mut(TRAVELLER) {
            if faults.is_away(done) {
                traveller.leave().await?;
            } else {
                traveller
                    .come()
                    .await
                    .context("a watcher can't come back")?;
            }
        }
        if faults.kill_is_due(done) {
            // At a random moment of what the server is doing, whatever the polls hit.
            tokio::time::sleep(rand::random_range(Duration::ZERO..KILL_JITTER)).await;
            self.fault("kill");
            self.server
                .kill_and_restart()
                .await
                .context("the server didn't come back")?;
            self.fault("restarted");
            summary.kills += 1;
        }
        if faults.bridge_kill_is_due(done)
            && let Some(bridge) = &mut self.bridge
        {
            bridge
                .kill_and_restart()
                .await
                .context("the bridge didn't come back")?;
            self.fault("the bridge killed and restarted");
            summary.bridge_kills += 1;
        }
        Ok(())
    }

    fn fault(&self, fault: &str) {
        let fault = fault.to_owned();
        self.recorder.record(Record::Fault { fault });
    }

    /// Waits until every watcher has what was acknowledged, or stands still.
    async fn heal(&self, audience: &Audience, acked: u64) {
        let counts = || {
            let mut counts: Vec<u64> = audience.watchers.iter().map(Watcher::received).collect();
            counts.push(audience.rest.received());
            counts
        };
        let mut last = (counts(), Instant::now());
        while last.0.iter().any(|count| *count < acked) && last.1.elapsed() < HEAL_WITHIN {
            tokio::time::sleep(POLL_EVERY).await;
            let now = counts();
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        // What comes now, comes twice.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn play_all(show: &Show, stages: &[Stage], plan: &Plan) -> Result<Vec<Actor>> {
    let mut logs: FuturesUnordered<_> = plan
        .logs
        .iter()
        .zip(stages)
        .map(|(log, stage)| actors::play(show, stage, log))
        .collect();
    let mut users = Vec::new();
    while let Some(ended) = logs.next().await {
        users.extend(ended?);
    }
    Ok(users)
}

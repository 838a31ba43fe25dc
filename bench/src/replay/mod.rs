//! Replays real conversations through the public API, with watchers, cuts and kills, and checks
//! that nothing was lost.
//!
//! - `plan`: logs as what users do; `stage`: where; `actors`: who does it.
//! - `watch`, `rest`: who looks on. `summary`: the table at the end.

mod actors;
mod plan;
mod rest;
mod stage;
mod summary;
mod watch;

use crate::checker::{self, Verdict};
use crate::history::{self, Record, Recorder};
use crate::launch::{Running, Target};
use crate::setup::{Backend, connect_lazy};
use actors::{Progress, Show};
use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, stream::FuturesUnordered};
use indicatif::{ProgressBar, ProgressStyle};
use plan::Plan;
use stage::{Signer, Stage};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use summary::Summary;
use tokio::time::Instant;
use watch::{NAMES, RestWatcher, Watcher, Way};

/// Connections that the users' calls are spread over.
const CHANNELS: usize = 4;
/// Watchers are cut so often.
const CUT_EVERY: Duration = Duration::from_secs(3);
/// Short replays cut by progress: at each such part of all steps.
const CUT_PARTS: u64 = 8;
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
    /// Whether the checker gives its verdict. Without it only the figures count.
    pub verify: bool,
    /// Where the history is kept; `None`: it is deleted after the verdict.
    pub history: Option<PathBuf>,
    /// Whether the JSON object alone is printed.
    pub json: bool,
}

/// Replays, and gives the verdict with a table of what happened.
pub async fn replay(options: ReplayOptions) -> Result<Verdict> {
    let plan = Plan::read(&options.file, options.limit)?;
    if plan.steps() == 0 {
        bail!("{} has no events", options.file.display());
    }
    let (signer, config) = Signer::jwt();
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
        server,
    };
    let result = run.all(signer).await;
    run.server.stop().await?;
    let mut summary = result?;
    let mut verdict = Verdict::default();
    if options.verify {
        let read = path.clone();
        let planned = Some(plan.planned());
        let check = move || checker::check(history::read(&read)?, &NAMES, planned);
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
    let kills = u64::from(options.kills);
    ensure!(
        summary.kills == kills,
        "the server was killed {} times, not {kills}: the replay was too short",
        summary.kills
    );
    Ok(verdict)
}

/// All watchers.
struct Audience {
    watchers: Vec<Watcher>,
    rest: RestWatcher,
    rest_token: String,
}

struct Run<'a> {
    options: &'a ReplayOptions,
    plan: &'a Plan,
    recorder: Arc<Recorder>,
    server: Running,
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
        let show = Show {
            recorder: self.recorder.clone(),
            signer,
            channels: connections,
            progress: Progress::default(),
            pace: self.options.rate,
            start: Instant::now(),
        };
        let mut summary = Summary::default();
        self.play(&show, &stages, &mut audience.watchers, &mut summary, &bar)
            .await?;
        let traveller = &mut audience.watchers[TRAVELLER];
        traveller.look_at(None);
        traveller
            .come()
            .await
            .context("a watcher can't come back")?;
        summary.took = show.start.elapsed();
        summary.acked = show.progress.acked.load(Ordering::Relaxed);
        summary.refused = show.progress.refused.load(Ordering::Relaxed);
        bar.set_message("waiting for watchers");
        self.heal(&audience, summary.acked).await;
        bar.set_message("reading history");
        audience
            .rest
            .stop()
            .await
            .context("the REST watcher can't read")?;
        for watcher in audience.watchers {
            summary.stats.extend(watcher.stop().await?);
        }
        for stage in &stages {
            let token = &audience.rest_token;
            let read = stage::history(show.channel(), token, stage.channel_id, |page, message| {
                self.recorder.record(Record::Stored {
                    message: watch::seen(&message),
                    page,
                });
            });
            read.await?;
        }
        self.recorder.flush()?;
        bar.finish_and_clear();
        Ok(summary)
    }

    /// Signs the watchers in, and waits until they look on.
    async fn audience(
        &self,
        backend: &Backend,
        signer: &Signer,
        channel: tonic::transport::Channel,
        stages: &[Stage],
    ) -> Result<Audience> {
        let channels: Vec<i64> = stages.iter().map(|stage| stage.channel_id).collect();
        let url = &self.server.url;
        let mut watchers = Vec::new();
        for (way, name) in [Way::All, Way::Viewed, Way::Listen].into_iter().zip(NAMES) {
            let session = stage::watcher(backend, signer, channel.clone(), name, stages).await?;
            let recorder = self.recorder.clone();
            let watcher = Watcher::start(way, url, &session.token, &channels, recorder);
            watchers.push(watcher.await.context("a watcher can't connect")?);
        }
        let session = stage::watcher(backend, signer, channel, NAMES[3], stages).await?;
        let rest = rest::Rest::new(url, &session.token);
        let rest = RestWatcher::start(rest, channels, self.recorder.clone());
        Ok(Audience {
            watchers,
            rest,
            rest_token: session.token,
        })
    }

    /// Plays all logs, and breaks things meanwhile.
    async fn play(
        &mut self,
        show: &Show,
        stages: &[Stage],
        watchers: &mut [Watcher],
        summary: &mut Summary,
        bar: &ProgressBar,
    ) -> Result<()> {
        let mut faults = Faults::new(self.options.kills, self.plan.steps());
        let plan = self.plan;
        let is_over = AtomicBool::new(false);
        let played = async {
            play_all(show, stages, plan).await?;
            is_over.store(true, Ordering::Relaxed);
            Ok(())
        };
        // A kill that is under way when the last step is done still comes to its end: what follows
        // needs the server.
        let disturbed = async {
            while !is_over.load(Ordering::Relaxed) {
                tokio::time::sleep(POLL_EVERY).await;
                let done = show.progress.done.load(Ordering::Relaxed);
                bar.set_position(done);
                self.disturb(&mut faults, done, watchers, summary).await?;
            }
            Ok(())
        };
        tokio::try_join!(played, disturbed).map(|_| ())
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
            for watcher in watchers.iter().step_by(2) {
                let fault = format!("cut {}", watcher.name);
                self.recorder.record(Record::Fault { fault });
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
            self.recorder.record(Record::Fault {
                fault: "kill".to_owned(),
            });
            self.server
                .kill_and_restart()
                .await
                .context("the server didn't come back")?;
            self.recorder.record(Record::Fault {
                fault: "restarted".to_owned(),
            });
            summary.kills += 1;
        }
        Ok(())
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

async fn play_all(show: &Show, stages: &[Stage], plan: &Plan) -> Result<()> {
    let mut logs: FuturesUnordered<_> = plan
        .logs
        .iter()
        .zip(stages)
        .map(|(log, stage)| actors::play(show, stage, log))
        .collect();
    while let Some(ended) = logs.next().await {
        ended?;
    }
    Ok(())
}

/// When to break what.
struct Faults {
    steps: u64,
    kills: u64,
    killed: u64,
    cut_at: Instant,
    cut_done: u64,
}

impl Faults {
    fn new(kills: u32, steps: u64) -> Self {
        let kills = u64::from(kills);
        Self {
            steps,
            kills,
            killed: 0,
            cut_at: Instant::now(),
            cut_done: 0,
        }
    }

    fn cut_is_due(&mut self, done: u64) -> bool {
        let part = (self.steps / CUT_PARTS).max(1);
        let is_due = self.cut_at.elapsed() >= CUT_EVERY || done >= self.cut_done + part;
        if is_due {
            (self.cut_at, self.cut_done) = (Instant::now(), done);
        }
        is_due
    }

    /// Of the first part between two kills its watcher sees a fifth, then nothing until the middle
    /// of the second; so again with the third and fourth.
    fn is_away(&self, done: u64) -> bool {
        let part = (self.steps / (self.kills + 1)).max(1);
        let place = done % (2 * part);
        self.kills > 0 && (part / 5..part + part / 2).contains(&place)
    }

    /// Kills are spread evenly over all steps.
    fn kill_is_due(&mut self, done: u64) -> bool {
        let at = self.steps * (self.killed + 1) / (self.kills + 1);
        let is_due = self.killed < self.kills && done >= at;
        self.killed += u64::from(is_due);
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread_over_the_run_and_counted() {
        let mut faults = Faults::new(3, 100);
        let kills: Vec<u64> = (0..=100).filter(|done| faults.kill_is_due(*done)).collect();
        assert_eq!(kills, [25, 50, 75]);
        let mut faults = Faults::new(0, 100);
        assert!(!(0..=100).any(|done| faults.kill_is_due(done)));
    }

    #[test]
    fn the_traveller_is_away_over_every_other_kill() {
        let faults = Faults::new(3, 100);
        let away: Vec<u64> = (0..100).filter(|done| faults.is_away(*done)).collect();
        assert_eq!(away, (5..37).chain(55..87).collect::<Vec<_>>());
        assert!(!(0..100).any(|done| Faults::new(0, 100).is_away(done)));
    }

    #[test]
    fn short_runs_are_cut_by_progress() {
        let mut faults = Faults::new(0, 80);
        let cuts = (0..=80).filter(|done| faults.cut_is_due(*done)).count();
        assert!(cuts >= 8, "{cuts} cuts");
    }
}

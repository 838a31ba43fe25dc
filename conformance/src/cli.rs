//! The command line.

use crate::carrier::Targets;
use crate::case::{self, Carrier, Source};
use crate::net::Dialer;
use crate::report;
use crate::sentences;
use crate::suite::{Report, Suite, Verdict};
use crate::target::{Keys, Server, Spawning};
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, Subcommand};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Checks that a server keeps what the Chirm protocol promises, on every carrier.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Cases from this folder rather than those that are built in.
    #[arg(long, global = true, value_name = "FOLDER")]
    cases: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Check a server.
    Server(Box<ServerArgs>),
    /// List the cases.
    List {
        /// Those whose id matches: `order/*`.
        #[arg(long, value_name = "GLOB")]
        case: Option<String>,
    },
    /// Show a case whole.
    Show {
        /// Its id.
        id: String,
    },
    /// Print the JSON Schema of a case.
    Schema,
    /// Print which sentence of the protocol has which cases; fails if one has none.
    Sentences {
        /// The protocol's text rather than what is built in.
        #[arg(long, value_name = "FILE")]
        protocol: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
struct ServerArgs {
    /// Where the server is: `grpc=http://HOST:PORT,ws=ws://HOST:PORT/gateway,rest=…,web=…`, or one
    /// address for all four. Without it `--spawn` starts one.
    #[arg(long, value_name = "ADDRESSES", required_unless_present = "spawn")]
    target: Option<String>,
    /// A service key of the server. Better in the environment than here.
    #[arg(
        long,
        env = "CHIRM_KEY",
        hide_env_values = true,
        required_unless_present = "spawn"
    )]
    key: Option<String>,
    /// An operator's key, for the cases that need one.
    #[arg(long, env = "CHIRM_ADMIN_KEY", hide_env_values = true)]
    admin_key: Option<String>,
    /// A command that starts a server, for the cases that need one of their own; it is run by sh,
    /// with CONFORMANCE_LISTEN and CONFORMANCE_DIR: README.md.
    #[arg(long, value_name = "COMMAND")]
    spawn: Option<String>,
    /// What the server has: a name of profiles/.
    #[arg(long, default_value = "full")]
    profile: String,
    /// Only cases whose id matches: `order/*`. Can be said again.
    #[arg(long, value_name = "GLOB")]
    case: Vec<String>,
    /// Only on these carriers: grpc, ws, ws-json, web.
    #[arg(long, value_delimiter = ',')]
    carrier: Vec<String>,
    /// In which order; the same seed, the same order.
    #[arg(long)]
    seed: Option<u64>,
    /// So many cases at once.
    #[arg(long, default_value_t = 24)]
    at_once: usize,
    /// A file of cases that are known to fail: an `id` or `id@carrier` a line, `#` before comments.
    #[arg(long, value_name = "FILE")]
    known_failing: Option<PathBuf>,
    /// Files to write: `junit=FILE,json=FILE,html=FILE`.
    #[arg(long, value_delimiter = ',', value_name = "KIND=FILE")]
    report: Vec<String>,
    /// An authority (PEM) that is believed beside the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Say nothing of what passes.
    #[arg(long)]
    quiet: bool,
}

/// Runs the command that was given.
pub async fn main() -> ExitCode {
    let done = run(Cli::parse()).await;
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(cli: Cli) -> Result<bool> {
    let source = cli.cases.map_or(Source::Embedded, Source::Folder);
    match cli.command {
        Command::Server(args) => server(&source, *args).await,
        Command::List { case } => {
            let globs: Vec<_> = case.into_iter().collect();
            for case in chosen(&source, &globs)? {
                println!("{:<48} {}", case.id, case.reason);
            }
            Ok(true)
        }
        Command::Show { id } => {
            let cases = chosen(&source, std::slice::from_ref(&id))?;
            let case = cases
                .first()
                .with_context(|| format!("there is no case {id}"))?;
            print!(
                "{}",
                serde_yaml_ng::to_string(&serde_json::to_value(case)?)?
            );
            Ok(true)
        }
        Command::Schema => {
            println!("{}", serde_json::to_string_pretty(&report::schema())?);
            Ok(true)
        }
        Command::Sentences { protocol } => {
            let table = sentences::table(protocol.as_deref(), &case::load(&source)?)?;
            print!("{}", table.text);
            for fault in &table.faults {
                eprintln!("{fault}");
            }
            Ok(table.faults.is_empty())
        }
    }
}

fn chosen(source: &Source, globs: &[String]) -> Result<Vec<case::Case>> {
    let patterns: Result<Vec<_>> = globs.iter().map(|glob| pattern(glob)).collect();
    let patterns = patterns?;
    let mut cases = case::load(source)?;
    let fits = |id: &str| patterns.is_empty() || patterns.iter().any(|one| one.is_match(id));
    cases.retain(|case| fits(&case.id));
    ensure!(!cases.is_empty(), "no case matches {}", globs.join(" "));
    Ok(cases)
}

/// `*` stands for anything.
fn pattern(glob: &str) -> Result<regex::Regex> {
    let parts: Vec<_> = glob.split('*').map(regex::escape).collect();
    Ok(regex::Regex::new(&format!("^{}$", parts.join(".*")))?)
}

async fn server(source: &Source, args: ServerArgs) -> Result<bool> {
    let spawning = args.spawn.clone().map(|command| Spawning { command });
    let mut started: Option<Server> = None;
    let (targets, keys) = match &args.target {
        Some(target) => {
            let keys = Keys {
                service: args.key.clone().context("--key")?,
                admin: args.admin_key.clone(),
            };
            (self::targets(target)?, keys)
        }
        None => {
            let spawning = spawning.as_ref().context("--target or --spawn")?;
            let server = spawning.start(&BTreeMap::new()).await?;
            let found = (server.targets(), server.keys.clone());
            started = Some(server);
            found
        }
    };
    let seed = args.seed.unwrap_or_else(rand::random);
    let suite = Suite {
        cases: chosen(source, &args.case)?,
        carriers: carriers(&args.carrier)?,
        targets,
        dialer: Dialer::new(args.ca.as_deref())?,
        keys,
        spawning,
        without: case::profile(&args.profile)?,
        known: known(args.known_failing.as_deref())?,
        seed,
        at_once: args.at_once.max(1),
    };
    let began = std::time::Instant::now();
    // Asked to stop, it ends the servers that it started: they go with the runs.
    let reports = tokio::select! {
        reports = suite.run(|report| tell(report, args.quiet)) => reports,
        stopped = asked_to_stop() => {
            stopped?;
            bail!("asked to stop");
        }
    };
    drop(started);
    let summary = report::Summary::of(&reports, seed, began.elapsed());
    report::write(&args.report, &reports, &summary)?;
    println!("{summary}");
    Ok(!reports.iter().any(Report::is_bad))
}

async fn asked_to_stop() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn tell(report: &Report, quiet: bool) {
    let name = report.name();
    match report.verdict {
        Verdict::Passed | Verdict::Skipped if quiet => {}
        Verdict::Passed => println!("passed   {name} ({:.1} s)", report.seconds),
        Verdict::Skipped => {}
        Verdict::KnownFailure if quiet => {}
        Verdict::KnownFailure => println!("known    {name}"),
        Verdict::SurprisePass => println!("SURPRISE {name}: known to fail, and it passes"),
        Verdict::Failed => {
            println!(
                "FAILED   {name}: {}",
                report.why.as_deref().unwrap_or_default()
            );
        }
    }
}

fn carriers(names: &[String]) -> Result<Vec<Carrier>> {
    if names.is_empty() {
        return Ok(Carrier::ALL.to_vec());
    }
    let found = names.iter().map(|name| {
        let mut all = Carrier::ALL.into_iter();
        let found = all.find(|carrier| carrier.name() == name);
        found.with_context(|| format!("no carrier is called {name}: grpc, ws, ws-json, web"))
    });
    found.collect()
}

fn targets(text: &str) -> Result<Targets> {
    if !text.contains('=') {
        let base = text.trim_end_matches('/');
        let (at, ws) = (base.parse()?, format!("{base}/gateway").parse()?);
        return Ok(Targets {
            grpc: Some(at),
            ws: Some(ws),
            rest: Some(base.parse()?),
            web: Some(base.parse()?),
        });
    }
    let mut targets = Targets::default();
    for part in text.split(',') {
        let (name, address) = part.split_once('=').context("--target: NAME=ADDRESS")?;
        let address = Some(address.parse()?);
        match name.trim() {
            "grpc" => targets.grpc = address,
            "ws" => targets.ws = address,
            "rest" => targets.rest = address,
            "web" => targets.web = address,
            other => bail!("--target: {other} is none of grpc, ws, rest, web"),
        }
    }
    Ok(targets)
}

fn known(file: Option<&std::path::Path>) -> Result<BTreeSet<String>> {
    let Some(file) = file else {
        return Ok(BTreeSet::new());
    };
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

//! Servers that the runner starts itself.

use crate::carrier::Targets;
use crate::case::Ending;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// A server is ready, or gone after SIGTERM, within so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command that starts a server: a program and its arguments, by which `sh` is replaced. It has
/// - `CONFORMANCE_LISTEN`: where to listen, with all carriers;
/// - `CONFORMANCE_DIR`: the folder for whatever it keeps, the same when it is started again.
///   Before it listens it writes a service key there, to `key`, and an operator's, to `admin-key`;
/// - the case's settings, as Chirm's environment variables: `CHIRM__GATEWAY__HEARTBEAT_MS`.
#[derive(Clone, Debug)]
pub(crate) struct Spawning {
    pub(crate) command: String,
}

/// A server; it is killed when this is dropped.
pub(crate) struct Server {
    command: String,
    settings: BTreeMap<String, Value>,
    address: SocketAddr,
    folder: TempDir,
    child: Option<Child>,
    /// The command's process group.
    group: Option<u32>,
    pub(crate) keys: Keys,
}

/// The keys that stand in for a back end, and for an operator.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    pub(crate) service: String,
    /// Cases with the feature `admin` need it.
    pub(crate) admin: Option<String>,
}

impl Spawning {
    /// Starts a server with these settings (`gateway.heartbeat_ms: 500`).
    pub(crate) async fn start(&self, settings: &BTreeMap<String, Value>) -> Result<Server> {
        let mut server = Server {
            command: self.command.clone(),
            settings: settings.clone(),
            address: free_port()?,
            folder: tempfile::tempdir()?,
            child: None,
            group: None,
            keys: Keys::default(),
        };
        server.begin().await?;
        Ok(server)
    }
}

static SERVERS: AtomicU16 = AtomicU16::new(1);

/// A port that is free, on an address of loopback that no other server of this runner has: two that
/// ask for a port at the same time might get the same.
fn free_port() -> Result<SocketAddr> {
    let [a, b] = SERVERS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let [process, ..] = std::process::id().to_le_bytes();
    let address = Ipv4Addr::new(127, 128 | process, a, b.max(1));
    let listener = std::net::TcpListener::bind((address, 0))
        .or_else(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?)
}

impl Server {
    pub(crate) fn targets(&self) -> Targets {
        Targets::of_one_port(self.address)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it, on the data that it has, and waits until it is ready.
    pub(crate) async fn begin(&mut self) -> Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))?;
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("exec {}", self.command))
            .env("CONFORMANCE_LISTEN", self.address.to_string())
            .env("CONFORMANCE_DIR", self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        for (name, value) in &self.settings {
            let name = name.to_uppercase().replace('.', "__");
            command.env(format!("CHIRM__{name}"), crate::vars::plain(value));
        }
        let child = self
            .child
            .insert(command.spawn().context("sh can't be started")?);
        self.group = child.id();
        let deadline = Instant::now() + PATIENCE;
        while !is_ready(&self.folder, self.address).await {
            if let Some(status) = child.try_wait()? {
                bail!("the server ended with {status}: {}", said(&self.folder));
            }
            ensure!(
                Instant::now() < deadline,
                "the server isn't ready: {}",
                said(&self.folder)
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let key = |name: &str| {
            let key = std::fs::read_to_string(self.folder.path().join(name));
            key.map(|key| key.trim().to_owned())
        };
        self.keys = Keys {
            service: key("key").context("the server wrote no key")?,
            admin: key("admin-key").ok(),
        };
        Ok(())
    }

    /// Ends it.
    pub(crate) async fn stop(&mut self, by: Ending) -> Result<()> {
        ensure!(self.child.is_some(), "the server is down already");
        match by {
            Ending::Kill => self.signal(Signal::KILL),
            Ending::Stop => {
                let server = self.group.and_then(pid).context("a server has an id")?;
                kill_process(server, Signal::TERM)?;
            }
        }
        let ended = match &mut self.child {
            Some(child) => tokio::time::timeout(PATIENCE, child.wait()).await.is_ok(),
            None => true,
        };
        // What the command may have left.
        self.signal(Signal::KILL);
        self.child = None;
        ensure!(
            ended,
            "the server didn't end within {} s",
            PATIENCE.as_secs()
        );
        Ok(())
    }

    /// To the command and all that it started, whatever stands between.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group.and_then(pid) {
            // An error says that nobody is left.
            let _ = kill_process_group(group, signal);
        }
    }
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.signal(Signal::KILL);
        }
    }
}

async fn is_ready(folder: &TempDir, address: SocketAddr) -> bool {
    let key = folder.path().join("key");
    key.exists() && tokio::net::TcpStream::connect(address).await.is_ok()
}

/// The last lines of the server's log.
fn said(folder: &TempDir) -> String {
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

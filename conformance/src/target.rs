//! Servers that the runner starts itself.

use crate::carrier::Targets;
use crate::case::Ending;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// A server is ready, or gone after SIGTERM, within so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command that starts a server. It is run by `sh` with
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
            .arg(&self.command)
            .env("CONFORMANCE_LISTEN", self.address.to_string())
            .env("CONFORMANCE_DIR", self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        for (name, value) in &self.settings {
            let name = name.to_uppercase().replace('.', "__");
            command.env(format!("CHIRM__{name}"), crate::vars::plain(value));
        }
        let mut child = command.spawn().context("sh can't be started")?;
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready().await {
            if let Some(status) = child.try_wait()? {
                bail!("the server ended with {status}: {}", self.said());
            }
            ensure!(
                Instant::now() < deadline,
                "the server isn't ready: {}",
                self.said()
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
        self.child = Some(child);
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let key: &Path = &self.folder.path().join("key");
        key.exists() && tokio::net::TcpStream::connect(self.address).await.is_ok()
    }

    fn said(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Ends it.
    pub(crate) async fn stop(&mut self, by: Ending) -> Result<()> {
        let mut child = self.child.take().context("the server is down already")?;
        match by {
            Ending::Kill => child.start_kill()?,
            Ending::Stop => {
                let id = child.id().context("the server has ended by itself")?;
                let status = Command::new("kill").arg(id.to_string()).status().await?;
                ensure!(status.success(), "the server can't be asked to end");
            }
        }
        match tokio::time::timeout(PATIENCE, child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                child.start_kill()?;
                bail!("the server didn't end within {} s", PATIENCE.as_secs())
            }
        }
    }

    /// Ends it whatever it does.
    pub(crate) async fn end(mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
    }
}

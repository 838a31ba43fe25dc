//! A server of one's own: started for a bench or a replay, killed and started again in its middle,
//! always ended.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a server may take until it says that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The configuration's name in the data folder.
const CONFIG: &str = "bench.toml";

/// Where a bench or a replay finds its server. Without `Debug`, for it holds a key.
#[derive(Clone, Default)]
pub struct Target {
    /// A running server, as `http://HOST:PORT`; `None` starts one.
    pub server: Option<String>,
    /// The running server's process on this machine, for figures.
    pub pid: Option<u32>,
    /// A service key of the running server.
    pub key: Option<String>,
    /// The program to start; `None` means this one.
    pub binary: Option<PathBuf>,
}

/// A server that answers, and the key to set it up with.
pub struct Running {
    /// `http://HOST:PORT`.
    pub url: String,
    /// A service key.
    pub key: String,
    pid: Option<u32>,
    own: Option<OwnServer>,
}

/// A server that this process started.
struct OwnServer {
    binary: PathBuf,
    data: TempDir,
    address: String,
    child: Child,
}

impl Target {
    /// The program that serves: the one named, or this one.
    pub fn binary(&self) -> Result<PathBuf> {
        match &self.binary {
            Some(path) => Ok(path.clone()),
            None => std::env::current_exe().context("can't tell which program this is"),
        }
    }

    /// Finds the server, or starts one.
    pub async fn open(&self) -> Result<Running> {
        self.open_with("").await
    }

    /// Finds the server, or starts one with this configuration, the text of a file.
    pub async fn open_with(&self, config: &str) -> Result<Running> {
        crate::procfs::raise_open_files();
        if let Some(url) = &self.server {
            let key = self.key.clone().context(
                "a server that runs needs a service key for the set-up: make one with \
                 `chirm key create --data FOLDER --name bench` and give it by the environment \
                 variable CHIRM_KEY, or with --key",
            )?;
            let url = url.trim_end_matches('/').to_owned();
            return Ok(Running {
                url,
                key,
                pid: self.pid,
                own: None,
            });
        }
        Running::start(self.binary()?, config).await
    }
}

impl Running {
    async fn start(binary: PathBuf, config: &str) -> Result<Self> {
        let data = tempfile::Builder::new().prefix("chirm-bench-").tempdir()?;
        std::fs::write(data.path().join(CONFIG), config)?;
        let key = create_key(&binary, data.path()).await?;
        // The port is fixed, for a server that starts again must come back to the same one.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .to_string();
        let child = spawn(&binary, data.path(), &address).await?;
        let url = format!("http://{address}");
        let own = OwnServer {
            binary,
            data,
            address,
            child,
        };
        Ok(Self {
            url,
            key,
            pid: None,
            own: Some(own),
        })
    }

    /// The server's process, if it is known.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.own
            .as_ref()
            .and_then(|own| own.child.id())
            .or(self.pid)
    }

    /// Whether this process started the server, and so may kill it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Kills the server as `kill -9` does, and starts it again on the same data and port.
    pub async fn kill_and_restart(&mut self) -> Result<()> {
        let own = self
            .own
            .as_mut()
            .context("only a server of one's own can be killed")?;
        own.child.start_kill().context("can't kill the server")?;
        own.child.wait().await?;
        own.child = spawn(&own.binary, own.data.path(), &own.address).await?;
        Ok(())
    }

    /// Asks the server to stop, and waits; after 10 s it is killed.
    pub async fn stop(mut self) -> Result<()> {
        let Some(own) = self.own.as_mut() else {
            return Ok(());
        };
        if let Some(pid) = own.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        if tokio::time::timeout(Duration::from_secs(10), own.child.wait())
            .await
            .is_err()
        {
            own.child.kill().await?;
        }
        Ok(())
    }
}

/// The key must come before the server: it opens the database, which then has one owner again.
async fn create_key(binary: &Path, data: &Path) -> Result<String> {
    let output = Command::new(binary)
        .args(["key", "create", "--scope", "admin", "--json", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("can't run {}", binary.display()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`chirm key create` failed: {}", stderr.trim());
    }
    token_of(&String::from_utf8_lossy(&output.stdout)).context("`chirm key create` gave no token")
}

fn token_of(stdout: &str) -> Option<String> {
    let line = stdout.lines().rev().find(|line| line.starts_with('{'))?;
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(value.get("token")?.as_str()?.to_owned())
}

async fn spawn(binary: &Path, data: &Path, address: &str) -> Result<Child> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.join("bench.log"))?;
    let mut child = Command::new(binary)
        .args(["serve", "--dev", "--listen", address, "--data"])
        .arg(data)
        .args(["--admin-listen", "127.0.0.1:0"])
        .arg("--config")
        .arg(data.join(CONFIG))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("can't start {}", binary.display()))?;
    let stdout = child.stdout.take().context("the server has no stdout")?;
    let ready = tokio::time::timeout(READY_WITHIN, wait_ready(stdout)).await;
    match ready {
        Ok(Ok(())) => Ok(child),
        Ok(Err(error)) => {
            let stderr = std::fs::read_to_string(data.join("bench.log")).unwrap_or_default();
            let tail = stderr.lines().rev().take(5).collect::<Vec<_>>();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            Err(error.context(format!("the server didn't start; it said:\n{tail}")))
        }
        Err(_) => bail!(
            "the server wasn't ready within {} s",
            READY_WITHIN.as_secs()
        ),
    }
}

async fn wait_ready(stdout: tokio::process::ChildStdout) -> Result<()> {
    let mut lines = BufReader::new(stdout).lines();
    loop {
        let line = lines
            .next_line()
            .await?
            .context("it ended before it was ready")?;
        if line.starts_with("chirm ready on ") {
            break;
        }
    }
    // What else it says must be read, or it would block on a full pipe in the end.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_read_from_the_json_line() {
        assert_eq!(
            token_of("made\n{\"id\":\"1\",\"token\":\"k1.x\"}\n").as_deref(),
            Some("k1.x")
        );
        assert_eq!(token_of("made\n"), None);
        assert_eq!(token_of("{}"), None);
    }

    #[tokio::test]
    async fn a_running_server_needs_a_key() {
        let target = Target {
            server: Some("http://127.0.0.1:1/".into()),
            ..Target::default()
        };
        let error = target.open().await.err().map(|e| e.to_string());
        assert!(error.is_some_and(|text| text.contains("--key")));
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_an_error_not_a_wait() {
        let target = Target {
            binary: Some("/bin/false".into()),
            ..Target::default()
        };
        assert!(target.open().await.is_err());
    }
}

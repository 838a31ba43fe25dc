//! A server of one's own: started for a bench or a replay, killed and started again in its middle,
//! always ended; and a standalone bridge in front of it.

mod bridge;
mod child;

pub use bridge::Bridge;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

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
        chirm_net::raise_open_files(0);
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
        let address = child::free_address()?;
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
        child::kill(&mut own.child).await?;
        own.child = spawn(&own.binary, own.data.path(), &own.address).await?;
        Ok(())
    }

    /// Asks the server to stop, and waits; after 10 s it is killed.
    pub async fn stop(mut self) -> Result<()> {
        match self.own.as_mut() {
            Some(own) => child::stop(&mut own.child).await,
            None => Ok(()),
        }
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
    let mut command = Command::new(binary);
    command
        .args(["serve", "--dev", "--listen", address, "--data"])
        .arg(data)
        .args(["--admin-listen", "127.0.0.1:0"])
        .arg("--config")
        .arg(data.join(CONFIG));
    child::start(command, &data.join("bench.log"), "chirm ready on ").await
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

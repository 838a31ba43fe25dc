//! A standalone bridge of one's own, in front of a server.

use super::child;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The bridge's program.
const PROGRAM: &str = "chirm-bridge-ws";
/// More than any bench opens: what is measured is the bridge, not its limits.
const CONNECTIONS: &str = "1000000";

/// `chirm-bridge-ws`, started by this process.
pub struct Bridge {
    /// `http://HOST:PORT`, where browsers connect.
    pub url: String,
    binary: PathBuf,
    upstream: String,
    address: String,
    folder: TempDir,
    child: Child,
}

impl Bridge {
    /// Starts one in front of the server at `upstream`. Without a `binary` it is the one beside
    /// this program.
    ///
    /// # Errors
    /// It isn't there, or doesn't become ready.
    pub async fn start(binary: Option<&Path>, upstream: &str) -> Result<Self> {
        let binary = match binary {
            Some(path) => path.to_owned(),
            None => beside()?,
        };
        ensure!(
            binary.is_file(),
            "there is no {}: build it by `cargo build --bin {PROGRAM}`, or name it by \
             --via-bridge=PATH",
            binary.display()
        );
        let folder = tempfile::Builder::new().prefix("chirm-bridge-").tempdir()?;
        let address = child::free_address()?;
        let child = spawn(&binary, folder.path(), upstream, &address).await?;
        Ok(Self {
            url: format!("http://{address}"),
            binary,
            upstream: upstream.to_owned(),
            address,
            folder,
            child,
        })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it as `kill -9` does, and starts it again at the same address.
    ///
    /// # Errors
    /// It doesn't become ready again.
    pub async fn kill_and_restart(&mut self) -> Result<()> {
        child::kill(&mut self.child).await?;
        let folder = self.folder.path();
        self.child = spawn(&self.binary, folder, &self.upstream, &self.address).await?;
        Ok(())
    }

    /// Asks it to stop, and waits; after 10 s it is killed.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn stop(mut self) -> Result<()> {
        child::stop(&mut self.child).await
    }
}

fn beside() -> Result<PathBuf> {
    let own = std::env::current_exe().context("can't tell which program this is")?;
    Ok(own.with_file_name(PROGRAM))
}

async fn spawn(binary: &Path, folder: &Path, upstream: &str, address: &str) -> Result<Child> {
    let mut command = Command::new(binary);
    command.args(["--upstream", upstream, "--listen", address]);
    command.args(["--connections", CONNECTIONS]);
    command.args(["--connections-per-address", "0", "--drain-ms", "0"]);
    let log = folder.join("bridge.log");
    child::start(command, &log, "chirm-bridge-ws ready on ").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bridge_that_is_not_there_is_said_with_what_to_do() {
        let nowhere = Path::new("/nowhere/chirm-bridge-ws");
        let error = Bridge::start(Some(nowhere), "http://127.0.0.1:1").await;
        let error = error.err().map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("cargo build")));
    }
}

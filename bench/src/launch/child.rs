//! A program that runs beside this one: started, waited for until it says that it is ready, ended.

use anyhow::{Context, Result, bail};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// How long a program may take until it says that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to stop, once asked.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Lines of its log that are shown when it doesn't start.
const LINES_SHOWN: usize = 5;

/// A free address on this machine. It is fixed, for who starts again must come back to the same.
pub(super) fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}

/// Starts a program, and waits for the line that begins with `ready`. Its log goes to a file.
pub(super) async fn start(mut command: Command, log: &Path, ready: &str) -> Result<Child> {
    let name = command.as_std().get_program().display().to_string();
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .with_context(|| format!("can't start {name}"))?;
    let stdout = child.stdout.take().context("it has no stdout")?;
    match tokio::time::timeout(READY_WITHIN, wait_ready(stdout, ready)).await {
        Ok(Ok(())) => Ok(child),
        Ok(Err(error)) => {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let tail = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
            Err(error.context(format!("{name} didn't start; it said:\n{tail}")))
        }
        Err(_) => bail!("{name} wasn't ready within {} s", READY_WITHIN.as_secs()),
    }
}

async fn wait_ready(stdout: ChildStdout, ready: &str) -> Result<()> {
    let mut lines = BufReader::new(stdout).lines();
    loop {
        let line = lines
            .next_line()
            .await?
            .context("it ended before it was ready")?;
        if line.starts_with(ready) {
            break;
        }
    }
    // What else it says must be read, or it would block on a full pipe in the end.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(())
}

/// Ends it as `kill -9` does.
pub(super) async fn kill(child: &mut Child) -> Result<()> {
    child.start_kill().context("can't kill it")?;
    child.wait().await?;
    Ok(())
}

/// Asks it to stop, and waits; after 10 s it is killed.
pub(super) async fn stop(child: &mut Child) -> Result<()> {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok())
        && let Some(pid) = rustix::process::Pid::from_raw(pid)
    {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    if tokio::time::timeout(STOP_WITHIN, child.wait())
        .await
        .is_err()
    {
        child.kill().await?;
    }
    Ok(())
}

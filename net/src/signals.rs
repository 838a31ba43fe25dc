//! How a process that serves is asked to stop.

use std::io;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The first SIGTERM or Ctrl-C cancels `draining`, and standard error says that those who are
/// connected (`whom`: "clients") are asked to go; the second one, of an operator who can't wait,
/// ends the process at once.
///
/// # Errors
/// The system doesn't let signals be heard.
pub fn stop_on_signals(draining: CancellationToken, whom: &'static str) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                eprintln!("stopping: {whom} are asked to go; once more stops at once");
                draining.cancel();
            } else {
                std::process::exit(1);
            }
        }
    });
    Ok(())
}

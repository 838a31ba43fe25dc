//! What `chirm export` and `chirm import` share: the place, and how far it is.

use super::progress;
use crate::backends;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::store::moving::{Place, Progress, Sum, TABLES};
use crate::store::sqlite::{STORE_FILE, Sqlite};
use anyhow::ensure;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two lines of progress, where no terminal shows a bar.
const LINE_AFTER: Duration = Duration::from_secs(10);

/// Whose data.
#[derive(Debug, clap::Args)]
pub(super) struct Whose {
    /// The data folder. Without it: the servers of a cluster that the settings name.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A file of settings; those of the environment win over it.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
}

impl Whose {
    /// Opens it to read all of it.
    pub(super) async fn open_to_export(&self) -> anyhow::Result<Box<dyn Place>> {
        let Some(data) = &self.data else {
            return backends::open_to_export(&self.cluster()?).await;
        };
        let file = data.join(STORE_FILE);
        ensure!(
            file.exists(),
            "{} has no data of a server: name its folder with --data",
            data.display()
        );
        Ok(Sqlite::open_to_export(&file).await?)
    }

    /// Opens it, which may be new, to write into it.
    pub(super) async fn open_to_import(&self) -> anyhow::Result<Box<dyn Place>> {
        match &self.data {
            Some(data) => Ok(Sqlite::open_to_import(&data.join(STORE_FILE)).await?),
            None => backends::open_to_import(&self.cluster()?).await,
        }
    }

    fn cluster(&self) -> anyhow::Result<Config> {
        let config = Config::load(self.config.as_deref(), &[])?;
        ensure!(
            config.has_stack(),
            "name a data folder with --data, or, in the environment or with --config, the servers \
             of a cluster (postgres.url and the others)"
        );
        Ok(config)
    }
}

/// Whether a file's name stands for standard input or output.
pub(super) fn is_stream(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Tells how far it is: a bar on a terminal, else a line now and then, on standard error.
pub(super) struct Told {
    bar: ProgressBar,
    what: &'static str,
    clock: SystemClock,
    last: Duration,
}

impl Told {
    /// `total`: bytes, where that is known.
    pub(super) fn new(what: &'static str, total: Option<u64>) -> Told {
        Told {
            bar: progress::bytes(what, total),
            what,
            clock: SystemClock::default(),
            last: Duration::ZERO,
        }
    }

    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Told {
    fn told(&mut self, section: &'static str, rows: u64, bytes: u64) {
        let what = if bytes == 0 { "verify" } else { self.what };
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{what} {section} {rows}"));
            if bytes > 0 {
                self.bar.set_position(bytes);
            }
            return;
        }
        let now = self.clock.elapsed();
        if now.saturating_sub(self.last) >= LINE_AFTER {
            self.last = now;
            eprintln!("{what}: {rows} rows of {section}");
        }
    }
}

/// The sections with something in them, and all together.
pub(super) fn summary(sums: &[Sum]) -> Vec<String> {
    let sections = TABLES.iter().zip(sums).filter(|(_, sum)| sum.rows > 0);
    let mut lines: Vec<String> = sections
        .map(|(table, sum)| format!("{:<16}{:>12}  {}", table.name, sum.rows, sum.sha256))
        .collect();
    let rows: u64 = sums.iter().map(|sum| sum.rows).sum();
    lines.push(format!("{rows} rows in {} sections", sums.len()));
    lines
}

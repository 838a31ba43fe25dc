//! A data folder, used by a command itself: beside a server that runs on it, or without one. Where
//! the environment names the servers of a cluster, those are used, and no folder is looked at.

use crate::backends;
use crate::bus::local::{self, LocalTopics, RingLimits};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::Domain;
use crate::store::{self, sqlite::STORE_FILE, sqlite::Sqlite};
use anyhow::{Context as _, ensure};
use std::path::Path;
use std::sync::Arc;

/// As [`open`], of a folder that may be new: then its server's data begin here, and it says so,
/// for it may be a folder's name mistyped.
pub(super) async fn open_or_begin(data: &Path) -> anyhow::Result<(Arc<Domain>, store::Handle)> {
    let config = Config::load(None, &[])?;
    if !config.has_stack() && !data.join(STORE_FILE).exists() {
        std::fs::create_dir_all(data)
            .with_context(|| format!("the data folder {} can't be made", data.display()))?;
        eprintln!("{} had no data of a server; it has now", data.display());
    }
    open_store(config, data).await
}

/// The use cases over a data folder, for one short change; close the store afterwards.
pub(super) async fn open(data: &Path) -> anyhow::Result<(Arc<Domain>, store::Handle)> {
    let config = Config::load(None, &[])?;
    ensure!(
        config.has_stack() || data.join(STORE_FILE).exists(),
        "{} has no data of a server: name its folder with --data",
        data.display()
    );
    open_store(config, data).await
}

/// What is told reaches the nodes of a cluster by the store alone, as it does from a data folder.
async fn open_store(config: Config, data: &Path) -> anyhow::Result<(Arc<Domain>, store::Handle)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let topics = LocalTopics::new(RingLimits::default(), clock.clone());
    let store: store::Handle = if config.has_stack() {
        let relay = Arc::new(topics.clone());
        Arc::new(backends::open_store(&config, relay, clock.clone()).await?)
    } else {
        Arc::new(Sqlite::open_beside(&data.join(STORE_FILE)).await?)
    };
    let highest = store.highest().await?;
    let bus = local::open(topics, highest, std::time::Duration::ZERO, clock.clone());
    let domain = Domain::new(store.clone(), bus, Arc::new(config), clock);
    Ok((domain, store))
}

//! A data folder, used by a command itself: beside a server that runs on it, or without one.

use crate::bus::local::{self, LocalTopics, RingLimits};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::Domain;
use crate::store::{self, Messages as _, sqlite::STORE_FILE, sqlite::Sqlite};
use anyhow::{Context as _, ensure};
use std::path::Path;
use std::sync::Arc;

/// As [`open`], of a folder that may be new: then its server's data begin here, and it says so,
/// for it may be a folder's name mistyped.
pub(super) async fn open_or_begin(data: &Path) -> anyhow::Result<(Arc<Domain>, store::Handle)> {
    if !data.join(STORE_FILE).exists() {
        std::fs::create_dir_all(data)
            .with_context(|| format!("the data folder {} can't be made", data.display()))?;
        eprintln!("{} had no data of a server; it has now", data.display());
        return open_store(data).await;
    }
    open(data).await
}

/// The use cases over a data folder, for one short change; close the store afterwards.
pub(super) async fn open(data: &Path) -> anyhow::Result<(Arc<Domain>, store::Handle)> {
    ensure!(
        data.join(STORE_FILE).exists(),
        "{} has no data of a server: name its folder with --data",
        data.display()
    );
    open_store(data).await
}

async fn open_store(data: &Path) -> anyhow::Result<(Arc<Domain>, store::Handle)> {
    let store = Arc::new(Sqlite::open_beside(&data.join(STORE_FILE)).await?);
    let highest = store.highest().await?;
    let store: store::Handle = store;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let topics = LocalTopics::new(RingLimits::default(), clock.clone());
    let bus = local::open(topics, highest, std::time::Duration::ZERO, clock.clone());
    let config = Arc::new(Config::load(None, &[])?);
    let domain = Domain::new(store.clone(), bus, config, clock);
    Ok((domain, store))
}

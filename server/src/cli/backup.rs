//! `chirm backup`: a consistent copy of a server's data, while it runs or not.

use super::operator::Place;
use super::{output, progress};
use crate::store::sqlite::{STORE_FILE, Sqlite};
use anyhow::{Context as _, ensure};
use chirm_proto::v1;
use std::path::{Path, PathBuf};

/// Copy a server's data, while it runs or not.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// The file to make; it must not exist. With --admin it lies on the server's machine.
    file: PathBuf,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let file = std::path::absolute(&args.file)?;
    let bytes = match &args.place.data {
        Some(data) => of_folder(data, &file).await?,
        None => of_server(&args.place, &file).await?,
    };
    output::line(&format!("{} ({bytes} bytes)", file.display()))
}

async fn of_folder(data: &Path, file: &Path) -> anyhow::Result<u64> {
    let source = data.join(STORE_FILE);
    let total = std::fs::metadata(&source).with_context(|| {
        format!(
            "{} has no data of a server: name its folder with --data",
            data.display()
        )
    })?;
    ensure!(
        !file.exists(),
        "{} exists; choose another name",
        file.display()
    );
    let bar = progress::bytes("backup", Some(total.len()));
    let copied = Sqlite::copy(&source, file, &|bytes| bar.set_position(bytes)).await;
    copied.with_context(|| format!("copying to {}", file.display()))?;
    bar.finish_and_clear();
    Ok(std::fs::metadata(file)?.len())
}

async fn of_server(place: &Place, file: &Path) -> anyhow::Result<u64> {
    let path = file
        .to_str()
        .context("the file's name isn't UTF-8")?
        .to_owned();
    let bar = progress::bytes("backup", None);
    let mut answers = place
        .api()?
        .admin()
        .backup(v1::BackupRequest { path })
        .await?
        .into_inner();
    let mut last = v1::BackupResponse::default();
    while let Some(answer) = answers.message().await? {
        bar.set_position(u64::try_from(answer.bytes_copied).unwrap_or_default());
        last = answer;
    }
    bar.finish_and_clear();
    ensure!(
        last.done,
        "the server ended the backup before it was done; its log says why"
    );
    Ok(u64::try_from(last.bytes_copied).unwrap_or_default())
}

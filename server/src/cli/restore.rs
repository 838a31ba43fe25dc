//! `chirm restore`: a backup becomes the data of a server that starts next.

use super::{output, progress};
use crate::store::sqlite::{STORE_FILE, Sqlite};
use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Every SQLite file begins with it.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Copied at a time: bytes.
const CHUNK: usize = 1024 * 1024;

/// Put a backup in place as a data folder.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backup, as `chirm backup` made it.
    file: PathBuf,
    /// The data folder; it must not hold a server's data.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let target = args.data.join(STORE_FILE);
    // A log that an earlier server left behind would be written over what is restored.
    for left in ["", "-wal", "-shm"] {
        let file = args.data.join(format!("{STORE_FILE}{left}"));
        ensure!(
            !file.exists(),
            "{} is there: {} holds a server's data; name another folder, or move the whole folder \
             away first",
            file.display(),
            args.data.display()
        );
    }
    fs::create_dir_all(&args.data)
        .with_context(|| format!("the data folder {} can't be made", args.data.display()))?;
    // It gets its name only when it is whole, checked and synced.
    let part = args.data.join(format!("{STORE_FILE}.part"));
    let put = put(&args.file, &part).await.and_then(|()| {
        fs::rename(&part, &target)?;
        Ok(File::open(&args.data)?.sync_all()?)
    });
    if put.is_err() {
        // What went wrong is worth telling, not that the rest of it stays.
        let _left = fs::remove_file(&part);
    }
    put?;
    output::line(&format!(
        "restored; start it with `chirm serve --data {}`",
        args.data.display()
    ))
}

async fn put(file: &Path, part: &Path) -> anyhow::Result<()> {
    let mut source =
        File::open(file).with_context(|| format!("reading the backup {}", file.display()))?;
    let bar = progress::bytes("restore", Some(source.metadata()?.len()));
    let mut copy = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(part)
        .with_context(|| format!("writing {}", part.display()))?;
    let mut first = [0; MAGIC.len()];
    let ours = source.read_exact(&mut first).is_ok() && first == MAGIC;
    ensure!(ours, "{} is no backup of a Chirm server", file.display());
    copy.write_all(&first)?;
    pump(&mut source, &mut copy, &bar).with_context(|| format!("writing {}", part.display()))?;
    copy.sync_all()?;
    bar.finish_and_clear();
    Ok(Sqlite::adopt(part).await?)
}

fn pump(source: &mut File, copy: &mut File, bar: &ProgressBar) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = source.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        copy.write_all(&chunk[..length])?;
        bar.inc(length as u64);
    }
}

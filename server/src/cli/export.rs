//! `chirm export`: all that a deployment has, in a file that either kind of store can take in.

use super::moving::{Told, Whose, is_stream, summary};
use super::output;
use crate::clock::{Clock as _, SystemClock};
use crate::store::moving::{self, Place, Sum};
use crate::store::sqlite::finish;
use anyhow::{Context as _, ensure};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use tokio::io::{AsyncWrite, BufWriter};

/// Written at once: bytes.
const BUFFER: usize = 256 * 1024;

/// Its arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    whose: Whose,
    /// The file to make, which must not exist; - for standard output.
    file: std::path::PathBuf,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    if is_stream(&args.file) {
        let mut place = args.whose.open_to_export().await?;
        let sums = write(place.as_mut(), tokio::io::stdout()).await?;
        place.close().await?;
        for line in summary(&sums) {
            eprintln!("{line}");
        }
        return Ok(());
    }
    ensure!(
        !args.file.exists(),
        "{} exists; choose another name",
        args.file.display()
    );
    let mut place = args.whose.open_to_export().await?;
    let sums = to_file(place.as_mut(), &args.file).await?;
    place.close().await?;
    for line in summary(&sums) {
        output::line(&line)?;
    }
    output::line(&args.file.display().to_string())
}

/// The file gets its name only when it is whole and synced.
async fn to_file(place: &mut dyn Place, file: &Path) -> anyhow::Result<Vec<Sum>> {
    let mut name = OsString::from(file);
    name.push(".part");
    let part = Path::new(&name);
    // One that broke off before: nobody else's has that name.
    let _ = fs::remove_file(part);
    let out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(part)
        .with_context(|| format!("writing {}", part.display()))?;
    let written = write(place, tokio::fs::File::from_std(out)).await;
    let finished = written.and_then(|sums| {
        finish(part, file)?;
        Ok(sums)
    });
    let _ = fs::remove_file(part);
    finished.with_context(|| format!("exporting to {}", file.display()))
}

async fn write(
    place: &mut dyn Place,
    out: impl AsyncWrite + Unpin + Send,
) -> anyhow::Result<Vec<Sum>> {
    let mut told = Told::new("export", None);
    let out = BufWriter::with_capacity(BUFFER, out);
    let now = SystemClock::default().wall_ms();
    let sums = moving::export(place, out, now, &mut told).await?;
    told.end();
    Ok(sums)
}

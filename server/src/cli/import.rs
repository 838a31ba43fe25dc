//! `chirm import`: what `chirm export` wrote becomes the data of a deployment that starts next.

use super::moving::{Told, Whose, is_stream, summary};
use super::output;
use crate::store::moving::{self, Place, Sum};
use anyhow::Context as _;
use std::path::PathBuf;
use tokio::io::{AsyncRead, BufReader};

/// Read at once: bytes.
const BUFFER: usize = 256 * 1024;

/// Its arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    whose: Whose,
    /// The file; - for standard input.
    file: PathBuf,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let mut place;
    let sums = if is_stream(&args.file) {
        place = args.whose.open_to_import().await?;
        read(place.as_mut(), tokio::io::stdin(), None).await
    } else {
        let context = || format!("reading {}", args.file.display());
        let file = tokio::fs::File::open(&args.file).await;
        let file = file.with_context(context)?;
        let length = file.metadata().await.with_context(context)?.len();
        place = args.whose.open_to_import().await?;
        let sums = read(place.as_mut(), file, Some(length)).await;
        sums.with_context(|| format!("importing {}", args.file.display()))
    };
    place.close().await?;
    for line in summary(&sums?) {
        output::line(&line)?;
    }
    output::line("imported and verified; start it")
}

async fn read(
    place: &mut dyn Place,
    input: impl AsyncRead + Unpin + Send,
    length: Option<u64>,
) -> anyhow::Result<Vec<Sum>> {
    let mut told = Told::new("import", length);
    let input = BufReader::with_capacity(BUFFER, input);
    let sums = moving::import(place, input, &mut told).await?;
    told.end();
    Ok(sums)
}

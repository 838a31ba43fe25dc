//! From a store to a file.

use super::format::{FORMAT, Header, Writer};
use super::tables::TABLES;
use super::{Error, Place, Progress, Sum};
use futures::TryStreamExt as _;
use tokio::io::AsyncWrite;

/// Rows between two words of progress.
const TELL: u64 = 256;

/// Writes all of a store that moves; answers what each section, in their order, has.
///
/// # Errors
/// The store can't be read or wasn't finished by an import; the file can't be written.
pub async fn export(
    place: &mut dyn Place,
    out: impl AsyncWrite + Unpin + Send,
    exported_at: i64,
    progress: &mut dyn Progress,
) -> Result<Vec<Sum>, Error> {
    if place.mark().await?.is_some() {
        return Err(Error::Refused(super::UNFINISHED.into()));
    }
    let header = Header {
        chirm: "export".into(),
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        id: rand::random::<i64>() & i64::MAX | 1,
        exported_at,
    };
    let mut writer = Writer::begin(out, &header).await?;
    let mut bytes = 0;
    for table in TABLES {
        writer.section(table).await?;
        let mut rows = place.rows(table);
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            bytes += writer.row(&row).await?;
            count += 1;
            if count % TELL == 0 {
                progress.told(table.name, count, bytes);
            }
        }
        drop(rows);
        writer.end(table).await?;
        progress.told(table.name, count, bytes);
    }
    writer.done().await
}

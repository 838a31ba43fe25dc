//! The first epochs of a new deployment. A group that Redis doesn't know may have been forgotten,
//! and then its channels wait out what may be in flight: ids keep a distance, and a second gap
//! comes. In a deployment that is new nothing is, which Redis can't know.

use super::connection::Call;
use super::keys::GROUPS;
use super::topics::Shared;
use crate::bus::Error;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

/// Longer ago than anything is waited out.
const AGO_MS: u64 = 60_000;
/// Groups at once.
const AT_ONCE: usize = 16;

/// Begins all groups that aren't there.
pub(super) async fn found(shared: &Shared) -> Result<(), Error> {
    let groups = (0..GROUPS).filter_map(|group| u8::try_from(group).ok());
    let all = stream::iter(groups).map(|group| async move {
        let mut args = shared.servers.head();
        args.push(AGO_MS.to_string().into_bytes());
        let call = Call {
            script: &shared.scripts.found,
            keys: vec![shared.keys.epoch(group)],
            args,
        };
        shared.servers.call_group::<()>(group, call).await
    });
    all.buffer_unordered(AT_ONCE).try_collect().await
}

//! Reading the members of a server.

use super::SMALL;
use super::list::List;
use super::name::NameKey;
use crate::bus::Presences;
use crate::model::{Id, Status};
use crate::store;

/// Rows that are read at once.
const PAGE: u32 = 5_000;

/// What there is of a server's members.
pub(super) enum Loaded {
    /// The server is gone.
    Gone,
    /// So many that they are only read for those who look at them.
    Many,
    /// All of them.
    List(List),
}

/// Reads the members of a server: if they are few, or in any case.
pub(super) async fn load(
    store: &store::Handle,
    presences: &dyn Presences,
    server: Id,
    in_any_case: bool,
) -> Result<Loaded, anyhow::Error> {
    let Some(there) = store.server(server).await? else {
        return Ok(Loaded::Gone);
    };
    if !in_any_case && there.member_count.unsigned_abs() as usize > SMALL {
        return Ok(Loaded::Many);
    }
    let mut list = List::of(there.member_count.unsigned_abs() as usize);
    let mut after = 0;
    loop {
        let page = store.member_names(server, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.0;
        let full = page.len() == PAGE as usize;
        let ids: Vec<Id> = page.iter().map(|(id, ..)| *id).collect();
        let here = presences.get(&ids).await?;
        let rows = page.into_iter().zip(here);
        list.add(rows.map(|((id, role, name), presence)| {
            (
                id,
                role,
                NameKey::of(&name),
                presence.status != Status::Offline,
            )
        }));
        if !full {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(Loaded::List(list.sort()))
}

//! Reading: single messages, pages of history, the newest ids.

use super::Cql;
use super::rows::Row;
use super::session::first;
use super::walk::Stretch;
use crate::model::{Id, Message};
use crate::store::{Anchor, Error, Page};
use futures::{StreamExt as _, TryStreamExt as _};

/// Deleted ids that a page names.
const DELETED: usize = 1_000;

/// Channels whose newest ids are read at once.
const AT_ONCE: usize = 32;

impl Cql {
    /// A message, deleted or not. `pinned` says that Postgres has marks of it: whoever shows it
    /// asks there.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`.
    pub async fn get(&self, channel: Id, id: Id) -> Result<Option<Message>, Error> {
        let (link, keys) = (self.link(), self.keys());
        let bucket = self.widths_to_read(channel, id).await?.bucket_of(id);
        let values = (keys.key(channel), bucket, id);
        let rows = link.read(&link.statements.get, values).await?;
        match first::<Row>(&rows)? {
            Some(row) => row.message(channel, keys),
            None => Ok(None),
        }
    }

    /// A page of at most `limit` (1 to 100) messages; `pinned` as of [`Cql::get`].
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`.
    pub async fn page(&self, channel: Id, anchor: Anchor, limit: u32) -> Result<Page, Error> {
        let limit = limit.clamp(1, 100) as usize;
        let mut page = Page::default();
        match anchor {
            Anchor::Newest => {
                let older = self.walk((channel, false, Id::MAX), limit, DELETED).await?;
                page.has_older = take(&mut page, older, limit);
            }
            Anchor::Before(id) => {
                let older = (channel, false, id.saturating_sub(1));
                let (older, newer) = tokio::try_join!(
                    self.walk(older, limit, DELETED),
                    self.any((channel, true, id))
                )?;
                page.has_older = take(&mut page, older, limit);
                page.has_newer = newer;
            }
            Anchor::After(id) => {
                let newer = (channel, true, id.saturating_add(1));
                let (newer, older) = tokio::try_join!(
                    self.walk(newer, limit, DELETED),
                    self.any((channel, false, id))
                )?;
                // Behind the highest of all ids there is nothing.
                if id < Id::MAX {
                    page.has_newer = take(&mut page, newer, limit);
                }
                page.has_older = older;
            }
            Anchor::Around(id) => self.around(&mut page, channel, id, limit).await?,
        }
        page.messages.sort_unstable_by_key(|message| message.id);
        page.deleted_ids.sort_unstable();
        Ok(page)
    }

    /// Half on each side; what one side lacks the other one gets.
    async fn around(
        &self,
        page: &mut Page,
        channel: Id,
        id: Id,
        limit: usize,
    ) -> Result<(), Error> {
        let below = (channel, false, id.saturating_sub(1));
        let (newer, older) = tokio::try_join!(
            self.walk((channel, true, id), limit, DELETED),
            self.walk(below, limit, DELETED)
        )?;
        let count = |side: &Stretch| {
            let messages = side.rows.iter().filter(|message| !message.deleted);
            messages.count().min(limit)
        };
        let half = limit - limit / 2;
        let more = count(&newer).min(half.max(limit.saturating_sub(count(&older))));
        page.has_newer = take(page, newer, more);
        page.has_older = take(page, older, limit - more);
        Ok(())
    }

    /// Whether a message lies there, from the id on in the direction. Yes, too, if more deleted
    /// ones do than a page may name.
    async fn any(&self, from: (Id, bool, Id)) -> Result<bool, Error> {
        let found = self.walk(from, 0, DELETED).await?;
        Ok(take(&mut Page::default(), found, 0))
    }

    /// The newest id of each channel (deleted included), 0 for none.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`.
    pub async fn newest(&self, channels: &[Id]) -> Result<Vec<Id>, Error> {
        let newest = channels.iter().map(|channel| self.newest_of(*channel));
        let newest = futures::stream::iter(newest.collect::<Vec<_>>());
        newest.buffered(AT_ONCE).try_collect().await
    }

    async fn newest_of(&self, channel: Id) -> Result<Id, Error> {
        let newest = self.walk((channel, false, Id::MAX), 0, 0).await?;
        Ok(newest.rows.first().map_or(0, |message| message.id))
    }
}

/// Takes at most `limit` messages into a page, and the deleted ones up to the next message beyond.
/// As many deleted ones as a page may name end it early. True: more lies beyond.
fn take(page: &mut Page, stretch: Stretch, limit: usize) -> bool {
    let mut messages = 0;
    // Deleted rows behind the last message: they belong to the page if no message follows them.
    let mut behind = 0;
    for row in stretch.rows {
        if messages == limit && !row.deleted {
            let kept = page.deleted_ids.len() - behind;
            page.deleted_ids.truncate(kept);
            return true;
        }
        if row.deleted && page.deleted_ids.len() == DELETED {
            return true;
        }
        if row.deleted {
            page.deleted_ids.push(row.id);
            behind += 1;
        } else {
            page.messages.push(row);
            messages += 1;
            behind = 0;
        }
    }
    stretch.more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(rows: &[(Id, bool)], more: bool) -> Stretch {
        let rows = rows.iter().map(|(id, deleted)| Message {
            id: *id,
            deleted: *deleted,
            ..Message::default()
        });
        Stretch {
            rows: rows.collect(),
            more,
        }
    }

    #[test]
    fn what_is_deleted_behind_the_last_message_belongs_to_who_comes_next() {
        let rows = [(9, false), (8, true), (7, false), (6, true)];
        let mut page = Page::default();
        assert!(take(&mut page, stretch(&rows, false), 1));
        assert_eq!((page.messages.len(), page.deleted_ids), (1, vec![]));
        let mut page = Page::default();
        assert!(!take(&mut page, stretch(&rows, false), 2));
        assert_eq!(page.deleted_ids, [8, 6]);
    }

    #[test]
    fn so_many_deleted_end_a_page() {
        let rows: Vec<(Id, bool)> = (0..=DELETED as Id).rev().map(|id| (id, true)).collect();
        let mut page = Page::default();
        assert!(take(&mut page, stretch(&rows, false), 5));
        assert_eq!(page.deleted_ids.len(), DELETED);
        let mut page = Page::default();
        assert!(!take(&mut page, stretch(&rows[1..], false), 5));
    }
}

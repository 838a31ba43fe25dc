//! The numbers that tell nodes' ids apart: leased, so that no two nodes have one at a time.
//!
//! A lease counts for 30 seconds in Postgres and for half of that here, from when it was asked for:
//! who is cut off stops using its number long before another one gets it. The row also keeps up to
//! which time ids may have been made, so that ids stay unique if Postgres's clock is set back.

use super::Postgres;
use crate::clock::Clock;
use crate::model::UnixMs;
use crate::store::Error;
use sqlx::PgPool;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// Numbers that there are, from 0 on.
pub const WORKERS: u16 = 1024;

/// How long a lease counts in Postgres after its last renewal, in milliseconds.
const LEASE_MS: i64 = 30_000;

/// How long it may be used.
const USABLE: Duration = Duration::from_secs(15);

/// Between two renewals.
const RENEW: Duration = Duration::from_secs(5);
const RENEW_AGAIN: Duration = Duration::from_millis(500);

/// How far beyond the last renewal ids may reach, in milliseconds: the time it may be used, and how
/// far an id may be ahead of the clock, with room.
const AHEAD_MS: i64 = 25_000;

/// How long one waits for times that were used already to pass, at most, in milliseconds.
const WAIT_MAX_MS: i64 = 60_000;

/// How long a statement may take.
const STATEMENT: Duration = Duration::from_secs(5);

/// A number that is this process's alone while it is usable.
pub struct Lease {
    worker: u16,
    holder: Uuid,
    pool: PgPool,
    clock: Arc<dyn Clock>,
    last: Mutex<Renewal>,
}

#[derive(Clone, Copy)]
struct Renewal {
    /// When it was asked for, by `Clock::elapsed`; None: the lease is over.
    asked: Option<Duration>,
    /// Postgres's clock then.
    now_ms: UnixMs,
}

impl Postgres {
    /// Leases a number; waits until the times that were used with it have passed. With none free
    /// it is `LimitReached("workers")`. See [`Lease::keep`].
    pub async fn lease_worker(&self, clock: Arc<dyn Clock>) -> Result<Lease, Error> {
        let lease = Lease::take(self.pool.clone(), clock).await?;
        let Some((lease, used_until)) = lease else {
            return Err(Error::LimitReached("workers", u32::from(WORKERS)));
        };
        while lease.now_ms() <= used_until {
            let wait = used_until - lease.now_ms() + 1;
            if wait > WAIT_MAX_MS {
                lease.give_back(used_until).await?;
                return Err(Error::Unavailable(format!(
                    "ids were made for times that are {} s ahead of Postgres's clock, which must \
                     have been set back; set it right",
                    wait / 1000
                )));
            }
            let wait = Duration::from_millis(wait.unsigned_abs());
            sleep(wait.min(RENEW)).await;
            lease.renew().await?;
        }
        Ok(lease)
    }
}

impl Lease {
    /// The number: below [`WORKERS`].
    #[must_use]
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// Whether the number may be used. Ask after an id was made, before it is given to anybody.
    #[must_use]
    pub fn usable(&self) -> bool {
        let asked = self.last().asked;
        asked.is_some_and(|asked| self.clock.elapsed().saturating_sub(asked) < USABLE)
    }

    /// Postgres's clock, as of the last renewal and the time since.
    #[must_use]
    pub fn now_ms(&self) -> UnixMs {
        let last = self.last();
        let since = self
            .clock
            .elapsed()
            .saturating_sub(last.asked.unwrap_or_default());
        last.now_ms + i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 2)
    }

    /// Renews it. `Conflict("worker")`: somebody else has the number now, and this lease is over.
    pub async fn renew(&self) -> Result<(), Error> {
        let asked = self.clock.elapsed();
        let renewed: Option<UnixMs> = within(
            sqlx::query_scalar(
                "UPDATE workers SET until = clock_timestamp() + $3 * interval '1 ms',
                     high_water = greatest(high_water, now_ms + $4)
                 FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms) now
                 WHERE id = $1 AND holder = $2::text::uuid RETURNING now_ms",
            )
            .bind(i16::try_from(self.worker).unwrap_or(i16::MAX))
            .bind(self.holder.to_string())
            .bind(LEASE_MS)
            .bind(AHEAD_MS)
            .fetch_optional(&self.pool),
        )
        .await?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match renewed {
            Some(now_ms) if last.asked.is_some() => {
                let asked = Some(asked);
                *last = Renewal { asked, now_ms };
                Ok(())
            }
            _ => {
                last.asked = None;
                Err(Error::Conflict("worker"))
            }
        }
    }

    /// Renews it every five seconds, until it is over; sooner where that failed.
    pub async fn keep(&self) {
        let mut pause = RENEW;
        loop {
            sleep(pause).await;
            pause = match self.renew().await {
                Ok(()) => RENEW,
                Err(Error::Conflict(_)) => return,
                Err(error) => {
                    tracing::warn!(%error, "a worker's lease wasn't renewed");
                    RENEW_AGAIN
                }
            };
        }
    }

    /// Gives it back, so that the next one needn't wait: `highest` is the latest time of an id that
    /// was made with it. It is over then.
    pub async fn give_back(&self, highest: UnixMs) -> Result<(), Error> {
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.asked = None;
        }
        within(
            sqlx::query(
                "UPDATE workers SET holder = NULL, until = clock_timestamp(), high_water = $3
                 WHERE id = $1 AND holder = $2::text::uuid",
            )
            .bind(i16::try_from(self.worker).unwrap_or(i16::MAX))
            .bind(self.holder.to_string())
            .bind(highest)
            .execute(&self.pool),
        )
        .await
        .map(drop)
    }

    /// Takes one of the numbers that nobody used for the longest time; answers up to when it was
    /// used.
    async fn take(pool: PgPool, clock: Arc<dyn Clock>) -> Result<Option<(Lease, UnixMs)>, Error> {
        let (holder, asked) = (Uuid::new_v4(), clock.elapsed());
        let taken: Option<(i16, UnixMs, UnixMs)> = within(
            sqlx::query_as(
                "UPDATE workers w SET holder = $1::text::uuid,
                     until = clock_timestamp() + $2 * interval '1 ms',
                     high_water = greatest(free.high_water, now_ms + $3)
                 FROM (SELECT id, high_water FROM workers WHERE until <= clock_timestamp()
                       ORDER BY high_water, random() LIMIT 1 FOR UPDATE SKIP LOCKED) free,
                      (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms) now
                 WHERE w.id = free.id RETURNING w.id, free.high_water, now_ms",
            )
            .bind(holder.to_string())
            .bind(LEASE_MS)
            .bind(AHEAD_MS)
            .fetch_optional(&pool),
        )
        .await?;
        let Some((id, used_until, now_ms)) = taken else {
            return Ok(None);
        };
        let asked = Some(asked);
        let lease = Lease {
            worker: id.unsigned_abs(),
            holder,
            pool,
            clock,
            last: Mutex::new(Renewal { asked, now_ms }),
        };
        Ok(Some((lease, used_until)))
    }

    fn last(&self) -> Renewal {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    let done = timeout(STATEMENT, work).await;
    let late = |_| Error::Unavailable("Postgres took too long".into());
    Ok(done.map_err(late)??)
}

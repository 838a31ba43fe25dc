//! Time, as an argument: what depends on it takes a [`Clock`], so that tests can set it.

#![allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the machine's clocks"
)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time. Cheap; called for every message.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01T00:00Z. May jump, back too, when someone sets the clock.
    fn wall_ms(&self) -> i64;

    /// Time since some fixed moment of this process. Never goes back, and goes on while the machine
    /// sleeps, where the system tells of it.
    fn elapsed(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Duration,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock { start: running() }
    }
}

/// Time since the machine started. `Instant` would leave out how long it slept.
#[cfg(target_os = "linux")]
fn running() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}

/// Time since this was first called.
#[cfg(not(target_os = "linux"))]
fn running() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        // A clock set before 1970, or 300 million years on, counts as 1970 and as the end of time.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn elapsed(&self) -> Duration {
        running().saturating_sub(self.start)
    }
}

/// A clock that stands until it is moved: for tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    elapsed_ms: AtomicI64,
}

impl ManualClock {
    /// A clock whose wall shows `wall_ms`.
    pub fn new(wall_ms: i64) -> ManualClock {
        ManualClock {
            wall_ms: AtomicI64::new(wall_ms),
            elapsed_ms: AtomicI64::new(0),
        }
    }

    /// Lets time pass: both clocks move on.
    pub fn advance(&self, time: Duration) {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Someone sets the wall clock: no time passes.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst).unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_shows_this_century() {
        let clock = SystemClock::default();
        assert!(clock.wall_ms() > 1_735_689_600_000, "it is past 2025");
        let before = clock.elapsed();
        assert!(clock.elapsed() >= before);
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = ManualClock::new(1_000);
        clock.advance(Duration::from_secs(1));
        assert_eq!(
            (clock.wall_ms(), clock.elapsed()),
            (2_000, Duration::from_secs(1))
        );
        clock.set_wall_ms(500);
        assert_eq!(
            (clock.wall_ms(), clock.elapsed()),
            (500, Duration::from_secs(1))
        );
    }
}

//! When a replay breaks what.

use std::time::Duration;
use tokio::time::Instant;

/// Watchers are cut so often.
const CUT_EVERY: Duration = Duration::from_secs(3);
/// Short replays cut by progress: at each such part of all steps.
const CUT_PARTS: u64 = 8;
/// When to break what.
pub(super) struct Faults {
    steps: u64,
    kills: u64,
    killed: u64,
    bridge_kills: u64,
    bridge_killed: u64,
    cut_at: Instant,
    cut_done: u64,
}

impl Faults {
    pub(super) fn new(kills: u32, bridge_kills: u32, steps: u64) -> Self {
        Self {
            steps,
            kills: u64::from(kills),
            killed: 0,
            bridge_kills: u64::from(bridge_kills),
            bridge_killed: 0,
            cut_at: Instant::now(),
            cut_done: 0,
        }
    }

    pub(super) fn cut_is_due(&mut self, done: u64) -> bool {
        let part = (self.steps / CUT_PARTS).max(1);
        let is_due = self.cut_at.elapsed() >= CUT_EVERY || done >= self.cut_done + part;
        if is_due {
            (self.cut_at, self.cut_done) = (Instant::now(), done);
        }
        is_due
    }

    /// Of the first part between two kills its watcher sees a fifth, then nothing until the middle
    /// of the second; so again with the third and fourth.
    pub(super) fn is_away(&self, done: u64) -> bool {
        let part = (self.steps / (self.kills + 1)).max(1);
        let place = done % (2 * part);
        self.kills > 0 && (part / 5..part + part / 2).contains(&place)
    }

    /// Kills are spread evenly over all steps.
    pub(super) fn kill_is_due(&mut self, done: u64) -> bool {
        let at = self.steps * (self.killed + 1) / (self.kills + 1);
        let is_due = self.killed < self.kills && done >= at;
        self.killed += u64::from(is_due);
        is_due
    }

    /// Kills of the bridge are spread evenly, too, each in the middle of its part: with as many of
    /// the server, between those.
    pub(super) fn bridge_kill_is_due(&mut self, done: u64) -> bool {
        let at = self.steps * (2 * self.bridge_killed + 1) / (2 * (self.bridge_kills + 1));
        let is_due = self.bridge_killed < self.bridge_kills && done >= at;
        self.bridge_killed += u64::from(is_due);
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread_over_the_run_and_counted() {
        let mut faults = Faults::new(3, 0, 100);
        let kills: Vec<u64> = (0..=100).filter(|done| faults.kill_is_due(*done)).collect();
        assert_eq!(kills, [25, 50, 75]);
        let mut faults = Faults::new(0, 0, 100);
        assert!(!(0..=100).any(|done| faults.kill_is_due(done)));
    }

    #[test]
    fn the_bridge_is_killed_between_kills_of_the_server() {
        let mut faults = Faults::new(3, 3, 800);
        let kills = (0..=800).filter(|done| faults.bridge_kill_is_due(*done));
        assert_eq!(kills.collect::<Vec<_>>(), [100, 300, 500]);
        let mut faults = Faults::new(3, 0, 800);
        assert!(!(0..=800).any(|done| faults.bridge_kill_is_due(done)));
    }

    #[test]
    fn the_traveller_is_away_over_every_other_kill() {
        let faults = Faults::new(3, 0, 100);
        let away: Vec<u64> = (0..100).filter(|done| faults.is_away(*done)).collect();
        assert_eq!(away, (5..37).chain(55..87).collect::<Vec<_>>());
        assert!(!(0..100).any(|done| Faults::new(0, 0, 100).is_away(done)));
    }

    #[test]
    fn short_runs_are_cut_by_progress() {
        let mut faults = Faults::new(0, 0, 80);
        let cuts = (0..=80).filter(|done| faults.cut_is_due(*done)).count();
        assert!(cuts >= 8, "{cuts} cuts");
    }
}

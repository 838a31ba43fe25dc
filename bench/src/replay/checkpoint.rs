//! Moments at which nothing is under way: who is here by the log, and as each watcher is shown it.

use super::actors::Show;
use super::picture::{self, LISTS};
use super::rest::Rest;
use super::stage::Stage;
use super::watch::{REST, Watcher};
use crate::checker::people::difference;
use crate::history::{Record, Recorder, Roll, Shown, ShownBy};
use anyhow::{Result, ensure};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// All steps under way must have ended, and all nicks' streams be ready, within this.
const REST_WITHIN: Duration = Duration::from_secs(90);
/// A list that comes into view when everybody's patience is over still has a moment.
const LIST_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// When to look, by steps done.
pub(super) struct Checkpoints {
    places: Vec<u64>,
    pub(super) taken: u32,
}

impl Checkpoints {
    /// In the middle of a run without kills; else shortly before each second kill, when the
    /// watcher that goes away is back.
    pub(super) fn new(kills: u32, steps: u64) -> Self {
        let part = (steps / (u64::from(kills) + 1)).max(1);
        let first = if kills == 0 {
            part / 2
        } else {
            2 * part - part / 4
        };
        let places = (0..)
            .map(|number| first + 2 * number * part)
            .take_while(|place| *place < steps)
            .collect();
        Self { places, taken: 0 }
    }

    pub(super) fn is_due(&self, done: u64) -> bool {
        let next = self.places.get(self.taken as usize);
        next.is_some_and(|place| done >= *place)
    }
}

/// All that look, and what they look at.
pub(super) struct Looking<'a> {
    pub(super) show: &'a Show,
    pub(super) stages: &'a [Stage],
    pub(super) rest: &'a Rest,
    pub(super) recorder: &'a Recorder,
    /// Watchers that aren't shown what the log says are looked at again, all together for so long.
    pub(super) patience: Duration,
}

impl Looking<'_> {
    /// Holds the replay up until nothing moves, and writes down who is shown whom. Whether all are
    /// shown what the log says.
    pub(super) async fn look(&self, checkpoint: u32, watchers: &mut [Watcher]) -> Result<bool> {
        let mut is_right = true;
        let mut turns = self.show.turns.lock().await;
        self.rest_of_the_crowd().await?;
        let rolls: Vec<Roll> = self
            .stages
            .iter()
            .map(|stage| self.show.rolls.roll(checkpoint, stage.server_id))
            .collect();
        for roll in &rolls {
            self.recorder.record(Record::Roll(roll.clone()));
        }
        let end = Instant::now() + self.patience;
        for watcher in watchers.iter() {
            for roll in &rolls {
                let look = async || self.by_presences(roll, watcher);
                is_right &= self.record(roll, self.settle(roll, end, look).await);
            }
        }
        // What was viewed all the while comes last, and stays in view.
        for rolls in rolls.chunks(LISTS).rev() {
            let servers: Vec<i64> = rolls.iter().map(|roll| roll.server).collect();
            let end = end.max(Instant::now() + LIST_WITHIN);
            for watcher in watchers.iter_mut() {
                watcher.look_at_lists(&servers);
            }
            for watcher in watchers.iter().filter(|watcher| watcher.sees_lists()) {
                for roll in rolls.iter().filter(|roll| fits(roll)) {
                    let look = async || self.by_list(roll, watcher);
                    let mut shown = self.settle(roll, end, look).await;
                    shown.faults = watcher.picture().take_faults();
                    is_right &= self.record(roll, shown);
                }
            }
        }
        for roll in &rolls {
            let look = async || self.by_pages(roll).await;
            is_right &= self.record(roll, self.settle(roll, end, look).await);
        }
        if let Some(turns) = turns.as_mut() {
            turns.reset();
        }
        Ok(is_right)
    }

    /// Waits until all steps that began have ended, and who is to be here is.
    async fn rest_of_the_crowd(&self) -> Result<()> {
        let progress = &self.show.progress;
        let end = Instant::now() + REST_WITHIN;
        while progress.begun.load(Relaxed) != progress.done.load(Relaxed)
            || !self.show.crowd.is_at_rest()
        {
            ensure!(
                Instant::now() < end,
                "nicks don't come to rest: {} streams are ready",
                self.show.crowd.ready()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Looks until there is no difference or it is `end`; the last look counts.
    async fn settle(&self, roll: &Roll, end: Instant, look: impl AsyncFn() -> Shown) -> Shown {
        loop {
            let shown = look().await;
            if difference(roll, &shown).is_none() || Instant::now() >= end {
                return shown;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Writes down what was shown. Whether it is what the log says.
    fn record(&self, roll: &Roll, shown: Shown) -> bool {
        let is_right = difference(roll, &shown).is_none();
        self.recorder.record(Record::Shown(shown));
        is_right
    }

    fn by_presences(&self, roll: &Roll, watcher: &Watcher) -> Shown {
        let picture = watcher.picture();
        Shown {
            here: self.nicks(roll, picture.present()),
            ..shown(roll, watcher.name, ShownBy::Presences)
        }
    }

    fn by_list(&self, roll: &Roll, watcher: &Watcher) -> Shown {
        let picture = watcher.picture();
        let listed = picture.listed(roll.server).unwrap_or_default();
        Shown {
            here: self.nicks(roll, listed.here.into_iter()),
            away: self.nicks(roll, listed.away.into_iter()),
            ..shown(roll, watcher.name, ShownBy::List)
        }
    }

    async fn by_pages(&self, roll: &Roll) -> Shown {
        let read = async {
            let members = self.rest.members(roll.server).await?;
            let here = self.rest.present(&members).await?;
            Ok::<_, anyhow::Error>((members, here))
        };
        let shown = shown(roll, REST, ShownBy::Pages);
        match read.await {
            Ok((members, here)) => {
                let away = members.into_iter().filter(|user| !here.contains(user));
                Shown {
                    away: self.nicks(roll, away),
                    here: self.nicks(roll, here.iter().copied()),
                    ..shown
                }
            }
            Err(error) => Shown {
                faults: vec![format!("{error:#}")],
                ..shown
            },
        }
    }

    fn nicks(&self, roll: &Roll, users: impl Iterator<Item = i64>) -> Vec<i64> {
        self.show.rolls.nicks_of(roll.server, users)
    }
}

fn shown(roll: &Roll, name: &str, by: ShownBy) -> Shown {
    Shown {
        checkpoint: roll.checkpoint,
        server: roll.server,
        connection: name.to_owned(),
        by,
        ..Shown::default()
    }
}

/// Whether views reach to the end of the server's list: its members, the watchers, some headings.
fn fits(roll: &Roll) -> bool {
    const OTHERS: usize = 20;
    let places = (picture::RANGE * picture::RANGES) as usize;
    roll.here.len() + roll.away.len() + OTHERS <= places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_lie_where_the_traveller_is_back() {
        assert_eq!(Checkpoints::new(3, 100).places, [44, 94]);
        assert_eq!(Checkpoints::new(0, 100).places, [50]);
        let mut checkpoints = Checkpoints::new(3, 100);
        assert!(!checkpoints.is_due(43) && checkpoints.is_due(44));
        checkpoints.taken = 2;
        assert!(!checkpoints.is_due(100));
    }
}

//! Who is here: what each watcher was shown at a checkpoint against what the log says.

use super::Verdict;
use crate::history::{Roll, Shown, ShownBy};
use std::collections::{BTreeMap, BTreeSet};

/// How many people a difference names.
const NAMED_MAX: usize = 5;

/// The people of each server at each checkpoint, and who was shown them.
#[derive(Default)]
pub(super) struct People {
    rolls: BTreeMap<(u32, i64), Roll>,
    shown: BTreeMap<(u32, i64), BTreeSet<String>>,
}

impl People {
    pub(super) fn roll(&mut self, roll: Roll, verdict: &mut Verdict) {
        let key = (roll.checkpoint, roll.server);
        verdict.counts.checkpoints = verdict.counts.checkpoints.max(u64::from(key.0) + 1);
        self.rolls.insert(key, roll);
    }

    /// The roll comes before what was shown of it.
    pub(super) fn shown(&mut self, shown: Shown, verdict: &mut Verdict) {
        let key = (shown.checkpoint, shown.server);
        verdict.counts.pictures += 1;
        verdict.counts.people += shown.here.len() as u64;
        let difference = match self.rolls.get(&key) {
            Some(roll) => difference(roll, &shown),
            None => Some("nobody looked at the log".to_owned()),
        };
        if let Some(difference) = difference {
            let text = format!(
                "watcher {} was shown other people of server {} by {:?} at checkpoint {}: \
                 {difference}",
                shown.connection, shown.server, shown.by, shown.checkpoint
            );
            verdict.report("I12", text);
        }
        self.shown.entry(key).or_default().insert(shown.connection);
    }

    /// Each watcher must have been shown each server at each checkpoint.
    pub(super) fn finish<'a>(
        &self,
        watchers: impl Iterator<Item = &'a str> + Clone,
        verdict: &mut Verdict,
    ) {
        for (checkpoint, server) in self.rolls.keys() {
            let shown = self.shown.get(&(*checkpoint, *server));
            for watcher in watchers.clone() {
                if !shown.is_some_and(|shown| shown.contains(watcher)) {
                    let text = format!(
                        "watcher {watcher} was shown nobody of server {server} at checkpoint \
                         {checkpoint}"
                    );
                    verdict.report("I12", text);
                }
            }
        }
    }
}

/// How what was shown differs from the log, if it does.
pub(crate) fn difference(roll: &Roll, shown: &Shown) -> Option<String> {
    let mut differences = shown.faults.clone();
    let none = Vec::new();
    // A server that isn't small tells by lists alone.
    let is_told = roll.told || shown.by != ShownBy::Presences;
    let here = if is_told { &roll.here } else { &none };
    let away = match shown.by {
        ShownBy::Presences => &none,
        ShownBy::List | ShownBy::Pages => &roll.away,
    };
    for (what, expected, got) in [("here", here, &shown.here), ("away", away, &shown.away)] {
        let (expected, got): (BTreeSet<_>, BTreeSet<_>) =
            (expected.iter().collect(), got.iter().collect());
        let lacks: Vec<_> = expected.difference(&got).collect();
        let has: Vec<_> = got.difference(&expected).collect();
        for (verb, users) in [("lacks", lacks), ("has", has)] {
            if !users.is_empty() {
                let named = &users[..users.len().min(NAMED_MAX)];
                differences.push(format!("{what}: {verb} {} ({named:?})", users.len()));
            }
        }
    }
    (!differences.is_empty()).then(|| differences.join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::{Verdict, check};
    use super::*;
    use crate::history::{Line, Record};

    fn roll() -> Roll {
        Roll {
            checkpoint: 0,
            server: 7,
            told: true,
            here: vec![1, 2],
            away: vec![3],
        }
    }

    fn shown(by: ShownBy) -> Shown {
        Shown {
            checkpoint: 0,
            server: 7,
            connection: "w".into(),
            by,
            here: vec![1, 2],
            away: match by {
                ShownBy::Presences => Vec::new(),
                ShownBy::List | ShownBy::Pages => vec![3],
            },
            faults: Vec::new(),
        }
    }

    fn verdict(records: Vec<Record>) -> Verdict {
        let lines = records
            .into_iter()
            .map(|record| Ok(Line { at_us: 0, record }));
        check(lines, &["w"], None).unwrap()
    }

    #[test]
    fn the_same_people_are_no_difference() {
        for by in [ShownBy::Presences, ShownBy::List, ShownBy::Pages] {
            let verdict = verdict(vec![Record::Roll(roll()), Record::Shown(shown(by))]);
            assert!(verdict.is_clean(), "{:?}", verdict.violations);
            let counts = verdict.counts;
            assert_eq!(
                (counts.checkpoints, counts.pictures, counts.people),
                (1, 1, 2)
            );
        }
    }

    #[test]
    fn whoever_is_missing_stale_or_shown_away_is_a_difference() {
        let spoil: [fn(&mut Shown); 5] = [
            |shown| shown.here.truncate(1),
            |shown| shown.here.push(3),
            |shown| shown.away.clear(),
            |shown| shown.away.push(1),
            |shown| shown.faults.push("a frame was left out".into()),
        ];
        for spoil in spoil {
            let mut shown = shown(ShownBy::List);
            spoil(&mut shown);
            let verdict = verdict(vec![Record::Roll(roll()), Record::Shown(shown)]);
            assert_eq!(verdict.violation_count, 1, "{:?}", verdict.violations);
            assert_eq!(verdict.violations[0].invariant, "I12");
        }
    }

    #[test]
    fn a_server_that_is_not_small_tells_nobody_by_presences() {
        let large = Roll {
            told: false,
            ..roll()
        };
        assert!(difference(&large, &shown(ShownBy::Presences)).is_some());
        assert_eq!(difference(&large, &shown(ShownBy::List)), None);
        let nobody = Shown {
            here: Vec::new(),
            ..shown(ShownBy::Presences)
        };
        assert_eq!(difference(&large, &nobody), None);
    }

    #[test]
    fn a_watcher_that_was_not_looked_at_is_a_difference() {
        let verdict = verdict(vec![Record::Roll(roll())]);
        assert_eq!(verdict.violation_count, 1);
    }
}

//! Scenarios in a line each. A line is words: operations (`send`; `other` and `third` for more
//! sends; `low` and `high` for edits whose text is less and more than the sent one; `delete`), each
//! with `*2` or `*3` if its client tries so often; faults with how many there may be (`flush=1`);
//! `ahead=2` and `set-back` for clocks; `-Rule` and `+Rule` for what the scheme leaves out or has
//! in addition.

use crate::rules::{Rule, Rules};
use crate::state::{ATTEMPTS, Faults, OPERATIONS, SENDS};
use crate::{Change, Kind, Scenario, TEXT_HIGH, TEXT_LOW};

impl Scenario {
    /// Reads a line. The error names the word that it couldn't take.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut scenario = Scenario {
            operations: Vec::new(),
            attempts: [1; OPERATIONS],
            faults: Faults::default(),
            ahead: 0,
            clock_set_back: false,
            rules: Rules::scheme(),
        };
        for word in line.split_whitespace() {
            scenario.word(word)?;
        }
        let sends = |kind| scenario.operations.iter().filter(|k| **k == kind).count();
        match (0..SENDS)
            .map(|send| sends(Kind::Send(send)))
            .collect::<Vec<_>>()[..]
        {
            [1, 0 | 1, 0 | 1] => Ok(scenario),
            _ => Err(format!(
                "{line}: one `send`, at most one `other` and `third`"
            )),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        let rule = |name: &str| {
            let mut all = Rule::ALL.iter().copied();
            let found = all.find(|rule| format!("{rule:?}") == name);
            found.ok_or_else(|| format!("{word}: there is no such rule"))
        };
        if let Some(name) = word.strip_prefix('-') {
            self.rules = self.rules.without(rule(name)?);
        } else if let Some(name) = word.strip_prefix('+') {
            self.rules = self.rules.with(rule(name)?);
        } else if let Some((fault, count)) = word.split_once('=') {
            let count = count.parse().map_err(|_| format!("{word}: not a number"))?;
            *self
                .count(fault)
                .ok_or_else(|| format!("{word}: there is no such fault"))? = count;
        } else if word == "set-back" {
            self.clock_set_back = true;
        } else {
            self.operation(word)?;
        }
        Ok(())
    }

    fn count(&mut self, fault: &str) -> Option<&mut u8> {
        let faults = &mut self.faults;
        Some(match fault {
            "flush" => &mut faults.flush,
            "rollback" => &mut faults.rollback,
            "crash" => &mut faults.crash,
            "late" => &mut faults.late,
            "lost" => &mut faults.lost,
            "shed" => &mut faults.shed,
            "expiry" => &mut faults.expiry,
            "disconnect" => &mut faults.disconnect,
            "ahead" => &mut self.ahead,
            _ => return None,
        })
    }

    fn operation(&mut self, word: &str) -> Result<(), String> {
        let (name, attempts) = match word.split_once('*') {
            None => (word, 1),
            Some((name, count)) => match count.parse() {
                Ok(count) if (1..=ATTEMPTS as u8).contains(&count) => (name, count),
                _ => return Err(format!("{word}: a client tries once to {ATTEMPTS} times")),
            },
        };
        let kind = match name {
            "send" => Kind::Send(0),
            "other" => Kind::Send(1),
            "third" => Kind::Send(2),
            "low" => Kind::Change(Change::Edit(TEXT_LOW)),
            "high" => Kind::Change(Change::Edit(TEXT_HIGH)),
            "delete" => Kind::Change(Change::Delete),
            _ => return Err(format!("{word}: not an operation, a fault or a rule")),
        };
        let place = self.operations.len();
        if place == OPERATIONS {
            return Err(format!("{word}: at most {OPERATIONS} operations"));
        }
        self.operations.push(kind);
        self.attempts[place] = attempts;
        Ok(())
    }
}

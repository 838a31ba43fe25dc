//! The processes whose cost a bench measures, together and the bridge's alone.

use anyhow::Result;

/// Processes on this machine, by their ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct Processes {
    /// The server; none if it isn't known.
    pub server: Option<u32>,
    /// The bridge in front of it, if there is one.
    pub bridge: Option<u32>,
}

/// One figure of each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// The server's.
    pub server: Option<f64>,
    /// The bridge's.
    pub bridge: Option<f64>,
}

impl Processes {
    /// Reads a figure of each.
    ///
    /// # Errors
    /// One of them is gone.
    pub fn read(self, figure: impl Fn(u32) -> Result<f64>) -> Result<Figures> {
        Ok(Figures {
            server: self.server.map(&figure).transpose()?,
            bridge: self.bridge.map(&figure).transpose()?,
        })
    }
}

impl Figures {
    /// By how much they grew since an earlier reading.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        let grown = |now: Option<f64>, before: Option<f64>| {
            let pair = now.zip(before);
            pair.map(|(now, before)| (now - before).max(0.0))
        };
        Self {
            server: grown(self.server, before.server),
            bridge: grown(self.bridge, before.bridge),
        }
    }

    /// The share of one of `count`; nothing if there was none.
    #[must_use]
    pub fn per(self, count: f64) -> Self {
        let share = |figure: Option<f64>| figure.filter(|_| count > 0.0).map(|all| all / count);
        Self {
            server: share(self.server),
            bridge: share(self.bridge),
        }
    }

    /// All together; nothing if the server's isn't known.
    #[must_use]
    pub fn total(self) -> Option<f64> {
        Some(self.server? + self.bridge.unwrap_or(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(server: impl Into<Option<f64>>, bridge: impl Into<Option<f64>>) -> Figures {
        Figures {
            server: server.into(),
            bridge: bridge.into(),
        }
    }

    #[test]
    fn a_bridge_is_part_of_the_cost_and_a_figure_of_its_own() {
        let processes = Processes {
            server: Some(3),
            bridge: Some(4),
        };
        let before = processes.read(|pid| Ok(f64::from(pid))).unwrap();
        let after = processes.read(|pid| Ok(f64::from(pid * 3))).unwrap();
        let cost = after.since(before);
        assert_eq!(cost, figures(6.0, 8.0));
        assert_eq!(cost.per(2.0), figures(3.0, 4.0));
        assert_eq!(cost.total(), Some(14.0));
        assert!(processes.read(|_| anyhow::bail!("gone")).is_err());
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        assert_eq!(figures(2.0, None).total(), Some(2.0));
        assert_eq!(figures(None, 2.0).total(), None);
        assert_eq!(figures(2.0, 1.0).per(0.0), Figures::default());
        // Memory may shrink; that is no growth.
        assert_eq!(
            figures(2.0, 1.0).since(figures(3.0, None)),
            figures(0.0, None)
        );
    }
}

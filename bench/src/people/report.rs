//! What the benches of people found.

use crate::report::{LatencyMs, table};
use comfy_table::Table;
use serde::Serialize;

/// What one change of status was worth.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Sessions that look at the range.
    pub viewers: u64,
    /// Frames that all of them got.
    pub frames_to_viewers: u64,
    /// Steps that each of them got.
    pub ops_to_a_viewer: u64,
    /// Frames that anybody else got.
    pub frames_to_others: u64,
}

/// `chirm bench members`: a large server.
#[derive(Debug, Clone, Serialize)]
pub struct MembersReport {
    /// `members`.
    pub bench: &'static str,
    /// Members of the server.
    pub members: u32,
    /// Sessions of members.
    pub connected: u32,
    /// Members made a second by bulk calls.
    pub made_per_s: f64,
    /// How long joining took.
    pub join_ms: LatencyMs,
    /// The first range of all, while nothing was known of the server.
    pub first_range_cold_ms: f64,
    /// A viewer's first range, while members are connected.
    pub first_range_ms: LatencyMs,
    /// What one change of status was worth.
    pub one_change: Figure,
    /// Changes a second, of users whom viewers see.
    pub changes_per_s: u32,
    /// Processors that these kept busy, beyond what the server uses at rest.
    pub cpus: Option<f64>,
    /// The server's memory that came with the list, by member.
    pub list_bytes_per_member: Option<f64>,
}

/// `chirm bench presence`: a herd.
#[derive(Debug, Clone, Serialize)]
pub struct PresenceReport {
    /// `presence`.
    pub bench: &'static str,
    /// Users.
    pub users: u32,
    /// Servers of 250 members, and the first user in all of them.
    pub servers: u32,
    /// Until all sessions were ready.
    pub online_s: f64,
    /// Until all was told, from the start.
    pub told_s: f64,
    /// Frames that all sessions got while all came online.
    pub herd_frames: u64,
    /// Presences in them.
    pub herd_presences: u64,
    /// Twice the changes by those interested: who is there when a session begins is told then, and
    /// may be told once more in the tick in which it came.
    pub herd_presences_bound: u64,
    /// The server's CPU-seconds for the herd, connecting included.
    pub herd_cpu_s: Option<f64>,
    /// Frames for one change of the first user.
    pub one_change_frames: u64,
    /// Presences in them.
    pub one_change_presences: u64,
    /// The users that are told of the first one.
    pub one_change_bound: u64,
}

impl MembersReport {
    /// The table for people.
    #[must_use]
    pub fn table(&self) -> Table {
        let ms = |latency: &LatencyMs| {
            let of = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
            format!(
                "{} / {} / {} ms",
                of(latency.p50),
                of(latency.p99),
                of(latency.max)
            )
        };
        let mut table = table();
        table.set_header(["what", "figure"]);
        let one = &self.one_change;
        let rows = [
            ("members", self.members.to_string()),
            ("connected", self.connected.to_string()),
            ("made a second", format!("{:.0}", self.made_per_s)),
            ("joining, p50 / p99 / max", ms(&self.join_ms)),
            (
                "the first range of all",
                format!("{:.0} ms", self.first_range_cold_ms),
            ),
            ("first range, p50 / p99 / max", ms(&self.first_range_ms)),
            (
                "one change: frames to its viewers",
                format!("{} to {}", one.frames_to_viewers, one.viewers),
            ),
            (
                "one change: steps to a viewer",
                one.ops_to_a_viewer.to_string(),
            ),
            (
                "one change: frames to others",
                one.frames_to_others.to_string(),
            ),
            (
                "CPUs for the changes",
                self.cpus.map_or_else(
                    || "-".into(),
                    |n| format!("{n:.3} for {} a second", self.changes_per_s),
                ),
            ),
            (
                "memory a member",
                self.list_bytes_per_member
                    .map_or_else(|| "-".into(), |n| format!("{n:.0} bytes")),
            ),
        ];
        for (what, figure) in rows {
            table.add_row([what.to_owned(), figure]);
        }
        table
    }

    /// Whether a change reached its viewers and nobody else.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let one = &self.one_change;
        one.frames_to_viewers == one.viewers && one.frames_to_others == 0
    }
}

impl PresenceReport {
    /// The table for people.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = table();
        table.set_header(["what", "figure"]);
        let rows = [
            (
                "users; servers",
                format!("{}; {}", self.users, self.servers),
            ),
            ("online after", format!("{:.1} s", self.online_s)),
            ("all told after", format!("{:.1} s", self.told_s)),
            ("frames for all", self.herd_frames.to_string()),
            (
                "presences in them",
                format!(
                    "{} (at most {})",
                    self.herd_presences, self.herd_presences_bound
                ),
            ),
            (
                "CPU-seconds for all",
                self.herd_cpu_s
                    .map_or_else(|| "-".into(), |n| format!("{n:.2}")),
            ),
            (
                "frames for one change",
                format!(
                    "{} (at most {})",
                    self.one_change_frames, self.one_change_bound
                ),
            ),
            ("presences in them", self.one_change_presences.to_string()),
        ];
        for (what, figure) in rows {
            table.add_row([what.to_owned(), figure]);
        }
        table
    }

    /// Whether the counts are within their bounds, and one change reached all it concerns.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.herd_presences <= self.herd_presences_bound
            && self.one_change_frames == self.one_change_bound
            && self.one_change_presences == self.one_change_bound
    }
}

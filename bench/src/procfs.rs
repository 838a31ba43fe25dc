//! What the kernel says of another process: its processor time and its memory.

use anyhow::{Context, Result};

/// Processor time that the process `pid` has used, user and system, in seconds. The kernel counts
/// in clock ticks, 10 ms on most machines: measure long enough.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
    parse_cpu_ticks(&stat)
        .map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
        .with_context(|| format!("{path} is not as expected"))
}

/// The name stands in parentheses and may hold anything, so fields count from the last `)`.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident memory of the process `pid`, in bytes.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
    parse_rss_kib(&status)
        .map(|kib| kib * 1024)
        .with_context(|| format!("{path} has no VmRSS"))
}

fn parse_rss_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_passed_over() {
        let stat = "12 (a) b (c)) S 1 12 12 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 100";
        assert_eq!(parse_cpu_ticks(stat), Some(300));
        assert_eq!(parse_cpu_ticks("12 (a) S 1"), None);
    }

    #[test]
    fn resident_memory_is_found_by_its_name() {
        assert_eq!(
            parse_rss_kib("VmPeak: 9 kB\nVmRSS:\t  1024 kB\n"),
            Some(1024)
        );
        assert_eq!(parse_rss_kib("VmPeak: 9 kB\n"), None);
    }

    #[test]
    fn this_process_has_figures() {
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
        assert!(rss_bytes(std::process::id()).unwrap() > 0);
    }
}

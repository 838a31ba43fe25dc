//! Open files: each connection is one.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Files that a process has open beside its connections.
const BESIDE: usize = 100;

/// Raises this process's limit of open files to what the system allows it, and warns if that is
/// less than so many connections need. Children inherit the limit. Gives how many may be open.
///
/// Systems begin with 1,024 or fewer for programs that use `select`, which none of ours does.
pub fn raise_open_files(connections: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            warn!(%error, "the limit of open files can't be raised");
        }
    }
    let may = getrlimit(Resource::Nofile).current;
    // None is no limit.
    let may = may.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    });
    if may.saturating_sub(BESIDE) < connections {
        warn!(
            open_files = may,
            connections, "fewer files may be open than connections are allowed: raise LimitNOFILE"
        );
    }
    may
}

//! How full pools and queues are.

/// How full a store's pools and queues are, each with its name.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    /// Connections.
    pub pools: Vec<(&'static str, Connections)>,
    /// Writes that wait, or are under way.
    pub queues: Vec<(&'static str, usize)>,
}

/// Connections of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Those that somebody works with.
    pub in_use: usize,
    /// Those that are open and wait.
    pub idle: usize,
}

impl Connections {
    pub(super) fn of<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> Self {
        let idle = pool.num_idle();
        Self {
            in_use: (pool.size() as usize).saturating_sub(idle),
            idle,
        }
    }
}

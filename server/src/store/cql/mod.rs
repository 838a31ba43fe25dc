//! Messages in CQL.

/// The messages of a cluster.
pub struct Cql;

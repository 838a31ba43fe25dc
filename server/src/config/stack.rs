//! Settings of the servers that keep a cluster's state: Postgres, CQL and Redis.

use super::check::ensure;
use super::{Config, Error, Secret, lists};
use serde::{Deserialize, Serialize};

/// Characters of a namespace: what Postgres takes for a schema, and CQL for a keyspace.
const NAMESPACE_CHARS_MAX: usize = 48;

/// Users, servers, channels, members.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Where it is, with user, password and database; none: everything is in [`Config::data`].
    pub url: Option<Secret>,
    /// Connections at most.
    pub connections: u32,
}

/// Messages, in ScyllaDB or another server that speaks CQL.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cql {
    /// Addresses to begin with; in the environment separated by commas.
    #[serde(deserialize_with = "lists::names")]
    pub nodes: Vec<String>,
    /// As whom; empty: the server asks nobody.
    pub user: String,
    /// The user's password.
    pub password: Option<Secret>,
    /// The keyspace; empty: named as [`Config::namespace`] is.
    pub keyspace: String,
    /// This node's data centre; empty: there is one.
    pub datacenter: String,
    /// Copies of each row, where the keyspace is made here.
    pub replication_factor: u32,
}

/// Topics, presence, reservations.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Where it is, with user and password; of a cluster some of its nodes. In the environment
    /// separated by commas.
    #[serde(deserialize_with = "lists::secrets")]
    pub urls: Vec<Secret>,
    /// Whether it is a Redis Cluster.
    pub cluster: bool,
}

impl Config {
    /// Whether the state is kept by other servers, rather than in [`Config::data`].
    pub fn has_stack(&self) -> bool {
        self.postgres.url.is_some()
    }

    /// All three are named, or none.
    pub(super) fn check_stack(&self) -> Result<(), Error> {
        let named = [
            ("postgres.url", self.postgres.url.is_some()),
            ("cql.nodes", !self.cql.nodes.is_empty()),
            ("redis.urls", !self.redis.urls.is_empty()),
        ];
        let any = named.iter().find(|(_, is_named)| *is_named);
        for (key, is_named) in named {
            if let (Some((other, _)), false) = (any, is_named) {
                return Err(Error::Value {
                    key,
                    problem: format!("must be set, as {other} is: a cluster needs all three"),
                });
            }
        }
        let least = [
            (self.postgres.connections, "postgres.connections"),
            (self.cql.replication_factor, "cql.replication_factor"),
        ];
        for (value, key) in least {
            ensure(value > 0, key, || "must be above 0".to_owned())?;
        }
        let name = &self.namespace;
        let is_word = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.len() <= NAMESPACE_CHARS_MAX;
        ensure(is_word, "namespace", || {
            format!(
                "{name:?}; up to {NAMESPACE_CHARS_MAX} of a to z, 0 to 9 and _ are allowed, a \
                 letter first"
            )
        })
    }
}

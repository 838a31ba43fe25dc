//! Settings of the servers that keep a cluster's state: Postgres, CQL and Redis; and of NATS, which
//! keeps none.

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

/// What carries events between nodes in place of Redis's Pub/Sub.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Where it is, as `nats://host:port` or `tls://host:port`; of a cluster some of its servers.
    /// None: events go by Redis. In the environment separated by commas.
    #[serde(deserialize_with = "lists::secrets")]
    pub urls: Vec<Secret>,
    /// As whom; empty: as the addresses say, or nobody.
    pub user: String,
    /// The user's password.
    pub password: Option<Secret>,
    /// What is shown in place of user and password.
    pub token: Option<Secret>,
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
        self.check_nats()?;
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

    /// NATS stands beside the three; as whom is said in one way.
    fn check_nats(&self) -> Result<(), Error> {
        let nats = &self.nats;
        ensure(
            nats.urls.is_empty() || self.has_stack(),
            "nats.urls",
            || {
                "is set, but postgres.url, cql.nodes and redis.urls aren't: NATS carries events \
             between a cluster's nodes alone"
                    .to_owned()
            },
        )?;
        let named = [
            ("nats.user", !nats.user.is_empty()),
            ("nats.password", nats.password.is_some()),
            ("nats.token", nats.token.is_some()),
        ];
        for (key, is_named) in named {
            ensure(!is_named || !nats.urls.is_empty(), key, || {
                "is set, but nats.urls isn't".to_owned()
            })?;
        }
        let [(_, user), (_, password), (_, token)] = named;
        ensure(user || !password, "nats.password", || {
            "is set, but nats.user isn't".to_owned()
        })?;
        ensure(!user || !token, "nats.token", || {
            "is set, and so is nats.user: only one of them says who this is".to_owned()
        })
    }
}

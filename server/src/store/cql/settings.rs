//! How the CQL server is reached, and what is asked of it.

use crate::store::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How often the messages' keyspace is kept, if it has to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// So many copies, wherever they are: for a single server, and for trying it out.
    Simple(u8),
    /// So many copies in a datacenter.
    Datacenter(String, u8),
}

/// How the CQL server (ScyllaDB or Cassandra) is reached. Its password is never shown.
#[derive(Clone)]
pub struct CqlSettings {
    /// Servers to begin with, as host:port. The others are found by them.
    pub nodes: Vec<String>,
    /// Who logs in, and its password; None where the servers ask nobody.
    pub login: Option<(String, String)>,
    /// For connections by TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The keyspace: 1 to 48 of a-z, 0-9 and _, a letter first. Made if it is missing.
    pub keyspace: String,
    /// How a keyspace that is missing is made.
    pub replication: Replication,
    /// One server's answer is enough (consistency ONE, not LOCAL_QUORUM): for a single server.
    pub single: bool,
    /// How long a request may take.
    pub timeout: Duration,
    /// Added to the ids of channels and authors in keys, so that tests can share a keyspace. 0 but
    /// in tests.
    pub salt: i64,
}

impl CqlSettings {
    /// Of these servers, as a cluster should have it: quorums, 1.5 s a request, three copies.
    #[must_use]
    pub fn new(nodes: Vec<String>) -> CqlSettings {
        CqlSettings {
            nodes,
            login: None,
            tls: None,
            keyspace: "chirm".into(),
            replication: Replication::Simple(3),
            single: false,
            timeout: Duration::from_millis(1_500),
            salt: 0,
        }
    }

    /// The servers, for messages to people.
    pub(super) fn address(&self) -> String {
        self.nodes.join(", ")
    }

    /// Refuses what could not be put into a statement.
    pub(super) fn check(&self) -> Result<(), Error> {
        let unusable = |what: String| Err(Error::Unusable(what));
        if self.nodes.is_empty() {
            return unusable("CQL: no server is named; name one as host:port".into());
        }
        let name = &self.keyspace;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let letter = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !letter || name.len() > 48 || !name.chars().all(plain) {
            return unusable(format!(
                "CQL: the keyspace {name:?} must be 1 to 48 of a-z, 0-9 and _, a letter first"
            ));
        }
        if let Replication::Datacenter(name, _) = &self.replication {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            if name.is_empty() || name.len() > 48 || !name.chars().all(plain) {
                return unusable(format!(
                    "CQL: the datacenter {name:?} must be 1 to 48 letters, digits, _, - and ."
                ));
            }
        }
        Ok(())
    }

    /// The map that a keyspace is made with.
    pub(super) fn replication_map(&self) -> String {
        match &self.replication {
            Replication::Simple(copies) => {
                format!("{{'class': 'SimpleStrategy', 'replication_factor': {copies}}}")
            }
            Replication::Datacenter(name, copies) => {
                format!("{{'class': 'NetworkTopologyStrategy', '{name}': {copies}}}")
            }
        }
    }
}

impl fmt::Debug for CqlSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlSettings")
            .field("nodes", &self.nodes)
            .field("user", &self.login.as_ref().map(|(user, _)| user))
            .field("tls", &self.tls.is_some())
            .field("keyspace", &self.keyspace)
            .field("replication", &self.replication)
            .field("single", &self.single)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

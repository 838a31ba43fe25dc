//! Settings of webhooks.

use super::durations::seconds;
use super::{Error, check::ensure};
use chirm_net::millis;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What webhooks may do, and how long they are waited for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Whether they may be sent to addresses that aren't public, to any port, and over HTTP.
    pub allow_private: bool,
    /// Whether they may be sent over HTTP without TLS.
    pub allow_http: bool,
    /// Addresses that are allowed though they aren't public.
    pub allow_addresses: Vec<IpAddr>,
    /// PEM of authorities whose certificates are believed beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Webhooks of a server, and as many for all servers.
    pub per_server: u32,
    /// From resolving the name to the end of the answer.
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
    /// Requests of one webhook under way at once.
    pub concurrency: u32,
    /// How long an event is tried again before it becomes a dead letter.
    #[serde(rename = "retry_for_s", with = "seconds")]
    pub retry_for: Duration,
    /// Between two tries of an event at most; the first is after a second, each wait is twice the
    /// one before.
    #[serde(rename = "retry_wait_max_s", with = "seconds")]
    pub retry_wait_max: Duration,
    /// Events that wait for one webhook.
    pub queue_max: u32,
    /// Dead letters of one webhook.
    pub dead_letters_max: u32,
}

impl Webhooks {
    pub(super) fn check(&self) -> Result<(), Error> {
        for (value, key) in [
            (u128::from(self.concurrency), "webhooks.concurrency"),
            (u128::from(self.queue_max), "webhooks.queue_max"),
            (self.timeout.as_millis(), "webhooks.timeout_ms"),
            (self.retry_for.as_millis(), "webhooks.retry_for_s"),
            (self.retry_wait_max.as_millis(), "webhooks.retry_wait_max_s"),
        ] {
            ensure(value > 0, key, || "must be above 0".to_owned())?;
        }
        Ok(())
    }
}

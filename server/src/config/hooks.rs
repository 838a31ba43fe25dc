//! Settings of hooks: services that the server asks.

use super::{Error, Secret, check::ensure};
use chirm_net::millis;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The longest that a hook is waited for: senders wait with it.
const TIMEOUT_MAX: Duration = Duration::from_secs(3);

/// Services that the server asks.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// Asked before a message, or an edit, is accepted; none: nobody is.
    pub pre_send: Option<PreSend>,
}

/// A service that says of each message whether it is accepted, and as what.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PreSend {
    /// Where it is asked, by https or http.
    pub url: String,
    /// What requests are signed with: `whsec_<base64 of 24 to 64 bytes>`. Either this or
    /// [`PreSend::secret_file`] is set.
    pub secret: Option<Secret>,
    /// A file that holds it.
    pub secret_file: Option<PathBuf>,
    /// PEM of authorities whose certificates are believed beside the system's.
    pub ca_file: Option<PathBuf>,
    /// How long it is waited for, at most 3 s.
    #[serde(rename = "timeout_ms", with = "millis", default = "timeout")]
    pub timeout: Duration,
    /// What becomes of a message when it doesn't answer.
    #[serde(default)]
    pub fail: HookFailure,
    /// Requests under way at once; others wait, within the time-out.
    #[serde(default = "concurrency")]
    pub concurrency: usize,
}

/// What becomes of a message when a hook doesn't answer in time, or not as it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HookFailure {
    /// It is accepted as it is.
    #[default]
    Open,
    /// It is refused.
    Closed,
}

fn timeout() -> Duration {
    Duration::from_millis(150)
}

fn concurrency() -> usize {
    64
}

impl Hooks {
    pub(super) fn check(&self) -> Result<(), Error> {
        let Some(hook) = &self.pre_send else {
            return Ok(());
        };
        let given = hook.secret.is_some() != hook.secret_file.is_some();
        ensure(given, "hooks.pre_send.secret", || {
            "needs either secret or secret_file".to_owned()
        })?;
        let within = !hook.timeout.is_zero() && hook.timeout <= TIMEOUT_MAX;
        ensure(within, "hooks.pre_send.timeout_ms", || {
            let most = TIMEOUT_MAX.as_millis();
            format!("{}; 1 to {most} is allowed", hook.timeout.as_millis())
        })?;
        let at_once = (1..=10_000).contains(&hook.concurrency);
        ensure(at_once, "hooks.pre_send.concurrency", || {
            format!("{}; 1 to 10000 is allowed", hook.concurrency)
        })
    }
}

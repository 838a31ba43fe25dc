//! Where the commands of operators work: on a data folder, or on a server's admin listener.

use anyhow::{Context as _, ensure};
use chirm_client::Api;
use std::path::PathBuf;

/// The place, one or the other.
#[derive(Clone, clap::Args)]
pub(super) struct Place {
    /// The data folder, on this machine; a server may be running on it.
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "admin",
        conflicts_with = "admin"
    )]
    pub(super) data: Option<PathBuf>,
    /// The URL of a server's admin listener; needs a key with the admin scope in CHIRM_TOKEN.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The key for --admin. Others see arguments: prefer the environment.
    #[arg(long, env = "CHIRM_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("data", &self.data)
            .field("admin", &self.admin)
            .finish()
    }
}

impl Place {
    /// For calls of AdminService.
    pub(super) fn api(&self) -> anyhow::Result<Api> {
        let server = self
            .admin
            .as_deref()
            .context("give --data DIR or --admin URL")?;
        let token = self.token.as_deref().unwrap_or_default();
        ensure!(
            !token.is_empty(),
            "--admin needs a key with the admin scope in CHIRM_TOKEN; \
             `chirm key create --data DIR --scope admin` makes one on the server's machine"
        );
        Ok(Api::connect(server.trim_end_matches('/'), token)?)
    }
}

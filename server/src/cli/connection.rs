//! Which server a command talks to, and as whom.

use super::credentials::{Credential, File};
use crate::clock::{Clock as _, SystemClock};
use anyhow::{Context as _, bail};
use chirm_client::Api;
use chirm_proto::v1;

/// Tokens that end sooner than this are refreshed first: milliseconds.
const REFRESH_AHEAD_MS: i64 = 60_000;

/// The server, and the token if it isn't the one that was kept.
#[derive(Clone, clap::Args)]
pub(super) struct Connection {
    /// The server's URL.
    #[arg(
        long = "server",
        id = "server_url",
        env = "CHIRM_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:7300",
        global = true
    )]
    server: String,
    /// A token to use instead of the one that signing in kept. Others see arguments: prefer
    /// the environment.
    #[arg(long, env = "CHIRM_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.server)
    }
}

impl Connection {
    /// The server's URL, as credentials are kept under it.
    pub(super) fn server(&self) -> &str {
        self.server.trim_end_matches('/')
    }

    /// For calls that need no token.
    pub(super) fn anonymous(&self) -> anyhow::Result<Api> {
        Ok(Api::connect(self.server(), "")?)
    }

    /// For calls as the signed-in user.
    pub(super) async fn authorized(&self) -> anyhow::Result<Api> {
        Ok(Api::connect(self.server(), &self.token().await?)?)
    }

    /// The token given, or the one kept, refreshed if it is about to end.
    pub(super) async fn token(&self) -> anyhow::Result<String> {
        if let Some(token) = self.token.as_deref().filter(|token| !token.is_empty()) {
            return Ok(token.to_owned());
        }
        let file = File::of_user()?;
        let Some(kept) = file.get(self.server())? else {
            bail!(
                "not signed in at {}: `chirm user register NAME` makes an account, \
                 `chirm user login NAME` signs in; or set CHIRM_TOKEN",
                self.server()
            );
        };
        let fresh = kept.access_expires_at_ms - SystemClock::default().wall_ms() > REFRESH_AHEAD_MS;
        if fresh || kept.refresh_token.is_empty() {
            return Ok(kept.access_token);
        }
        self.refresh(&file, kept).await
    }

    /// A new token in place of one that the server no longer takes; fails if there is none to get.
    pub(super) async fn renewed_token(&self) -> anyhow::Result<String> {
        let file = File::of_user()?;
        match file.get(self.server())? {
            Some(kept) if self.token.is_none() && !kept.refresh_token.is_empty() => {
                self.refresh(&file, kept).await
            }
            _ => bail!("the server no longer takes the token; sign in with `chirm user login`"),
        }
    }

    async fn refresh(&self, file: &File, kept: Credential) -> anyhow::Result<String> {
        let request = v1::RefreshRequest {
            refresh_token: kept.refresh_token.clone(),
        };
        let answer = self
            .anonymous()?
            .auth()
            .refresh(request)
            .await?
            .into_inner();
        let tokens = answer
            .tokens
            .context("the server answered without tokens")?;
        let token = tokens.access_token.clone();
        file.put(self.server(), with_tokens(kept, tokens))?;
        Ok(token)
    }

    /// Keeps a new session for the commands that follow.
    pub(super) fn keep(&self, user: &v1::User, tokens: v1::Tokens) -> anyhow::Result<()> {
        let credential = Credential {
            user_id: user.id.to_string(),
            username: user.username.clone(),
            ..Default::default()
        };
        File::of_user()?.put(self.server(), with_tokens(credential, tokens))
    }

    /// Forgets the session.
    pub(super) fn forget(&self) -> anyhow::Result<()> {
        File::of_user()?.remove(self.server())
    }
}

fn with_tokens(credential: Credential, tokens: v1::Tokens) -> Credential {
    let expires_at_ms = tokens
        .access_expires_at
        .map_or(i64::MAX, |at| at.seconds.saturating_mul(1_000));
    Credential {
        access_token: tokens.access_token,
        refresh_token: tokens.refresh_token,
        access_expires_at_ms: expires_at_ms,
        ..credential
    }
}

//! Which server a command talks to, and as whom.

use super::credentials::{Credential, File};
use crate::clock::{Clock as _, SystemClock};
use anyhow::{Context as _, bail};
use async_trait::async_trait;
use chirm_client::{Advice, Api, Code, Config, Error, TokenSource};
use chirm_proto::v1;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::time::timeout;

/// Tokens that end sooner than this are refreshed first: milliseconds.
const REFRESH_AHEAD_MS: i64 = 60_000;
/// How long a refresh may take: the token is good for a second try within 10 s.
const REFRESH: Duration = Duration::from_secs(4);

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
        match self.given() {
            Some(token) => Ok(token.to_owned()),
            None => Ok(self.kept().await?.access_token),
        }
    }

    /// For a connection that stays: tokens that were kept are renewed as they end, and kept.
    pub(super) async fn config(&self) -> anyhow::Result<Config> {
        if let Some(token) = self.given() {
            return Ok(Config::new(self.server(), token));
        }
        let kept = self.kept().await?;
        let mut config = Config::new(self.server(), kept.access_token);
        let expires_at = u64::try_from(kept.access_expires_at_ms).map(Duration::from_millis);
        config.token_expires_at = UNIX_EPOCH.checked_add(expires_at.unwrap_or_default());
        config.token_source = Some(Arc::new(Kept {
            connection: self.clone(),
            user_id: kept.user_id,
        }));
        Ok(config)
    }

    fn given(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }

    async fn kept(&self) -> anyhow::Result<Credential> {
        let Some(kept) = File::of_user()?.get(self.server())? else {
            bail!(
                "not signed in at {}: `chirm user register NAME` makes an account, \
                 `chirm user login NAME` signs in; or set CHIRM_TOKEN",
                self.server()
            );
        };
        if is_fresh(&kept) || kept.refresh_token.is_empty() {
            return Ok(kept);
        }
        self.renewed(&kept.user_id, &kept.access_token).await
    }

    /// The user's session with another access token than this one.
    async fn renewed(&self, user_id: &str, access_token: &str) -> anyhow::Result<Credential> {
        let file = File::of_user()?;
        // A refresh token is spent by its use: commands that share it take turns.
        let locked = tokio::task::spawn_blocking(move || file.lock()).await??;
        let kept = locked.get(self.server())?;
        let Some(kept) = kept.filter(|kept| kept.user_id == user_id) else {
            bail!("signed out, or in as another user, since the command began");
        };
        if kept.access_token != access_token && is_fresh(&kept) {
            return Ok(kept);
        }
        if kept.refresh_token.is_empty() {
            bail!("the server no longer takes the token; sign in with `chirm user login`");
        }
        let request = v1::RefreshRequest {
            refresh_token: kept.refresh_token.clone(),
        };
        let mut auth = self.anonymous()?.auth();
        let Ok(answer) = timeout(REFRESH, auth.refresh(request)).await else {
            let unanswered = "the server didn't answer a refresh in time";
            bail!(Error::local(
                Code::Unavailable,
                "NO_ANSWER",
                unanswered,
                Advice::Retry
            ));
        };
        let tokens = answer.map_err(Error::from)?.into_inner().tokens;
        let tokens = tokens.context("the server answered without tokens")?;
        let renewed = with_tokens(kept, tokens);
        locked.put(self.server(), renewed.clone())?;
        Ok(renewed)
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

/// Renews the tokens that are kept, for a connection that stays.
struct Kept {
    connection: Connection,
    user_id: String,
}

#[async_trait]
impl TokenSource for Kept {
    async fn renew(&self, access_token: &str) -> Result<v1::Tokens, Error> {
        let renewed = self.connection.renewed(&self.user_id, access_token).await;
        let renewed = renewed.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => {
                let text = format!("{error:#}");
                Error::local(Code::Unauthenticated, "NOT_RENEWED", text, Advice::Stop)
            }
        })?;
        let seconds = renewed.access_expires_at_ms.div_euclid(1_000);
        Ok(v1::Tokens {
            access_token: renewed.access_token,
            access_expires_at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        })
    }
}

fn is_fresh(kept: &Credential) -> bool {
    kept.access_expires_at_ms - SystemClock::default().wall_ms() > REFRESH_AHEAD_MS
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

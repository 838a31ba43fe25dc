//! Tokens that end, and what renews them.

use crate::{config::Config, error::Error, stream::answer, wire};
use async_trait::async_trait;
use chirm_proto::v1::{self, auth_service_client::AuthServiceClient};
use std::time::{Duration, SystemTime};

/// A refresh's answer may be lost: the server takes the same refresh token once more for 10 s, so
/// the second try must come before.
const ANSWER: Duration = Duration::from_secs(4);

/// Gives new tokens for a client whose access token ends: for programs that share their session
/// with others, or get tokens in a way of their own. With a refresh token alone a client renews by
/// itself: see [`Config::signed_in`].
#[async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// Tokens in place of this access token, which ends soon or was refused; whoever shares the
    /// session may have renewed it already. What must be kept of them is kept before it answers. An
    /// error that advises to retry is tried again; after any other, the client uses the token that
    /// it has as long as it is taken, and then waits for [`crate::Client::set_tokens`].
    async fn renew(&self, access_token: &str) -> Result<v1::Tokens, Error>;
}

/// How long a token that ends then is still good by this machine's clock.
pub(crate) fn lifetime(expires_at: Option<SystemTime>) -> Option<Duration> {
    let left = expires_at?.duration_since(SystemTime::now());
    Some(left.unwrap_or_default())
}

/// New tokens in place of those of a configuration.
pub(crate) async fn renew(config: &Config) -> Result<v1::Tokens, Error> {
    if let Some(source) = &config.token_source {
        return source.renew(&config.token).await;
    }
    let channel = wire::endpoint(&config.server, config.ca_pem.as_deref())?.connect_lazy();
    let request = v1::RefreshRequest {
        refresh_token: config.refresh_token.clone(),
    };
    let mut auth = AuthServiceClient::new(channel);
    let refreshing = answer(auth.refresh(request));
    let response = tokio::time::timeout(ANSWER, refreshing)
        .await
        .map_err(|_| Error::connection("a refresh had no answer in time"))??;
    let none = || Error::connection("a refresh was answered without tokens");
    response.tokens.ok_or_else(none)
}

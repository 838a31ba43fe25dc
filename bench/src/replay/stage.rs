//! Where a replay takes place: for each log a server that anyone may join and its channel; and how
//! the synthetic users sign in.

use super::actors::{authorized_status, persist};
use super::plan::LogPlan;
use crate::setup::{Backend, Session};
use anyhow::{Context, Result};
use chirm_proto::v1::{ExchangeTokenRequest, auth_service_client::AuthServiceClient};
use futures::{StreamExt, TryStreamExt, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::transport::Channel;

/// Servers that are made at once.
const STAGES_AT_ONCE: usize = 16;
const AUDIENCE: &str = "chirm-replay";
const KEY_ID: &str = "replay";
const JWT_LIFE_S: u64 = 3600;

/// One log's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    pub(super) server_id: i64,
    pub(super) channel_id: i64,
}

/// Makes a place for each log.
pub(super) async fn build(backend: &Backend, logs: &[LogPlan]) -> Result<Vec<Stage>> {
    stream::iter(logs)
        .map(|log| async move {
            let server_id = backend.create_server(&format!("log {}", log.log)).await?;
            let channel_id = backend.create_channel(server_id, &log.log).await?;
            Ok(Stage {
                server_id,
                channel_id,
            })
        })
        .buffered(STAGES_AT_ONCE)
        .try_collect()
        .await
}

/// How users sign in.
pub(super) enum Signer {
    /// By a JWT of ours, as a game's users do.
    Jwt {
        /// The key that the server was started with.
        secret: String,
    },
    /// On a service key's word, where the server doesn't know our key.
    Key(Backend),
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    name: &'a str,
    aud: &'a str,
    exp: u64,
}

impl Signer {
    /// A key of one's own, and the configuration that makes a server accept it.
    pub(super) fn jwt() -> (Self, String) {
        let secret = format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        let config = format!(
            "[auth.jwt]\naudience = \"{AUDIENCE}\"\n\n[[auth.jwt.keys]]\nkid = \"{KEY_ID}\"\n\
             algorithm = \"HS256\"\nkey = \"{secret}\"\n"
        );
        (Self::Jwt { secret }, config)
    }

    /// Signs the user `name` in, whom people see as `nick`.
    pub(super) async fn sign_in(
        &self,
        channel: Channel,
        name: &str,
        nick: &str,
    ) -> Result<Session> {
        let secret = match self {
            Self::Key(backend) => return backend.mint(name, nick).await,
            Self::Jwt { secret } => secret,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = Claims {
            sub: name,
            name: nick,
            aud: AUDIENCE,
            exp: now + JWT_LIFE_S,
        };
        let header = Header {
            kid: Some(KEY_ID.to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        let key = EncodingKey::from_secret(secret.as_bytes());
        let jwt = jsonwebtoken::encode(&header, &claims, &key)?;
        let response = persist("ExchangeToken", || {
            let (channel, jwt) = (channel.clone(), jwt.clone());
            async move {
                let request = ExchangeTokenRequest {
                    jwt,
                    device: String::new(),
                };
                let request = tonic::Request::new(request);
                AuthServiceClient::new(channel)
                    .exchange_token(request)
                    .await
            }
        })
        .await?;
        Ok(Session {
            user_id: response.user.context("ExchangeToken gave no user")?.id,
            token: response
                .tokens
                .context("ExchangeToken gave no tokens")?
                .access_token,
        })
    }
}

/// Makes a watcher: a user that is a member everywhere.
pub(super) async fn watcher(
    backend: &Backend,
    signer: &Signer,
    channel: Channel,
    name: &str,
    stages: &[Stage],
) -> Result<Session> {
    let session = signer
        .sign_in(channel, &format!("watcher/{name}"), name)
        .await?;
    for stage in stages {
        backend.add_member(stage.server_id, session.user_id).await?;
    }
    Ok(session)
}

/// All messages of a channel, read page by page from the newest to the oldest, with the number of
/// their page.
pub(super) async fn history(
    channel: Channel,
    token: &str,
    channel_id: i64,
    mut on: impl FnMut(u64, chirm_proto::v1::Message),
) -> Result<()> {
    use chirm_proto::v1::{
        ListMessagesRequest, list_messages_request::Anchor,
        message_service_client::MessageServiceClient,
    };
    let mut anchor = None;
    for number in 0.. {
        let page = persist("ListMessages", || {
            let channel = channel.clone();
            async move {
                let request = ListMessagesRequest {
                    channel_id,
                    limit: 100,
                    anchor,
                };
                let request = authorized_status(token, request)?;
                MessageServiceClient::new(channel)
                    .list_messages(request)
                    .await
            }
        })
        .await?;
        // A page may be one of deleted messages alone.
        let ids = page.messages.iter().map(|message| message.id);
        let first = ids.chain(page.deleted_ids).min();
        for message in page.messages {
            on(number, message);
        }
        match first {
            Some(first) if page.has_older => anchor = Some(Anchor::Before(first)),
            _ => break,
        }
    }
    Ok(())
}

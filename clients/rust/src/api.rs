//! Unary calls with a bearer token.

use crate::{error::Error, wire};
use chirm_proto::v1::{
    admin_service_client::AdminServiceClient, auth_service_client::AuthServiceClient,
    channel_service_client::ChannelServiceClient, message_service_client::MessageServiceClient,
    moderation_service_client::ModerationServiceClient,
    presence_service_client::PresenceServiceClient,
    read_state_service_client::ReadStateServiceClient, server_service_client::ServerServiceClient,
    user_service_client::UserServiceClient, webhook_service_client::WebhookServiceClient,
};
use std::sync::{Arc, PoisonError, RwLock};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

/// A connection for unary calls: it connects with the first and again whenever it must. Clones
/// share it.
#[derive(Clone, Debug)]
pub struct Api {
    channel: Channel,
    bearer: Bearer,
}

/// Puts `authorization: Bearer …` on every call.
#[derive(Clone)]
pub struct Bearer {
    header: Arc<RwLock<Option<MetadataValue<Ascii>>>>,
}

/// A transport that carries the token.
pub type Authorized = InterceptedService<Channel, Bearer>;

impl Api {
    /// For a server at `http://host:port` and a token; with an empty token calls are anonymous.
    /// Nothing is sent yet. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// If the URL or the token can't be one.
    pub fn connect(server: &str, token: &str) -> Result<Self, Error> {
        let channel = wire::endpoint(server, None)?.connect_lazy();
        Self::over(channel, token)
    }

    /// The same over a channel of the caller's, for TLS settings and transports of its own.
    ///
    /// # Errors
    /// If the token can't be one.
    pub fn over(channel: Channel, token: &str) -> Result<Self, Error> {
        let bearer = Bearer {
            header: Arc::new(RwLock::new(header(token)?)),
        };
        Ok(Self { channel, bearer })
    }

    /// Uses another token from the next call on; clones, and clients already taken, too.
    ///
    /// # Errors
    /// If the token can't be one.
    pub fn set_token(&self, token: &str) -> Result<(), Error> {
        let header = header(token)?;
        *self
            .bearer
            .header
            .write()
            .unwrap_or_else(PoisonError::into_inner) = header;
        Ok(())
    }

    fn transport(&self) -> Authorized {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    /// Sends, history, edits, deletes, reactions, pins, typing.
    #[must_use]
    pub fn messages(&self) -> MessageServiceClient<Authorized> {
        MessageServiceClient::new(self.transport())
    }

    /// Servers, members, invites, bans.
    #[must_use]
    pub fn servers(&self) -> ServerServiceClient<Authorized> {
        ServerServiceClient::new(self.transport())
    }

    /// Channels.
    #[must_use]
    pub fn channels(&self) -> ChannelServiceClient<Authorized> {
        ChannelServiceClient::new(self.transport())
    }

    /// Audit logs, time-outs, deleting many messages, reports.
    #[must_use]
    pub fn moderation(&self) -> ModerationServiceClient<Authorized> {
        ModerationServiceClient::new(self.transport())
    }

    /// Users and blocks.
    #[must_use]
    pub fn users(&self) -> UserServiceClient<Authorized> {
        UserServiceClient::new(self.transport())
    }

    /// Accounts, sessions, bots, tokens.
    #[must_use]
    pub fn auth(&self) -> AuthServiceClient<Authorized> {
        AuthServiceClient::new(self.transport())
    }

    /// Who is there.
    #[must_use]
    pub fn presence(&self) -> PresenceServiceClient<Authorized> {
        PresenceServiceClient::new(self.transport())
    }

    /// What was read.
    #[must_use]
    pub fn read_states(&self) -> ReadStateServiceClient<Authorized> {
        ReadStateServiceClient::new(self.transport())
    }

    /// Webhooks, and what they didn't take.
    #[must_use]
    pub fn webhooks(&self) -> WebhookServiceClient<Authorized> {
        WebhookServiceClient::new(self.transport())
    }

    /// Operation; it has a listener of its own.
    #[must_use]
    pub fn admin(&self) -> AdminServiceClient<Authorized> {
        AdminServiceClient::new(self.transport())
    }
}

fn header(token: &str) -> Result<Option<MetadataValue<Ascii>>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_| Error::config("a token has printable ASCII characters only"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let header = self
            .header
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(value) = header {
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(…)")
    }
}

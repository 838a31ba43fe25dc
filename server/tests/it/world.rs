//! A server with a channel and users, made by a service key through the public API.

use crate::support::{Stream, TestNode};
use chirm_proto::v1::{
    self, auth_service_client::AuthServiceClient, message_service_client::MessageServiceClient,
    server_service_client::ServerServiceClient,
};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A user that is signed in.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) token: String,
    channel: Channel,
}

/// A request with a token.
pub(crate) fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = MetadataValue::try_from(format!("Bearer {token}")).expect("a header value");
    request.metadata_mut().insert("authorization", bearer);
    request
}

impl User {
    /// A user of this name, made by the node's key.
    pub(crate) async fn mint(node: &TestNode, name: &str) -> Self {
        let channel = node.channel().await;
        let request = v1::MintSessionRequest {
            subject: Some(v1::mint_session_request::Subject::ExternalId(
                name.to_owned(),
            )),
            display_name: name.to_owned(),
            device: String::new(),
        };
        let minted = AuthServiceClient::new(channel.clone())
            .mint_session(with_token(&node.key, request))
            .await
            .expect("mints")
            .into_inner();
        let id = minted.user.expect("a user").id;
        Self {
            id,
            token: minted.tokens.expect("tokens").access_token,
            channel,
        }
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        with_token(&self.token, message)
    }

    pub(crate) fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel.clone())
    }

    pub(crate) fn servers(&self) -> ServerServiceClient<Channel> {
        ServerServiceClient::new(self.channel.clone())
    }

    pub(crate) fn messages(&self) -> MessageServiceClient<Channel> {
        MessageServiceClient::new(self.channel.clone())
    }

    /// A new open server and its first channel.
    pub(crate) async fn create_server(&self, name: &str) -> (i64, i64) {
        let request = v1::CreateServerRequest {
            name: name.to_owned(),
            open: true,
            ..Default::default()
        };
        let made = self
            .servers()
            .create_server(self.request(request))
            .await
            .expect("creates");
        let made = made.into_inner();
        (made.server.expect("a server").id, made.general_channel_id)
    }

    pub(crate) async fn join(&self, server_id: i64) {
        let by = Some(v1::join_server_request::By::ServerId(server_id));
        let request = self.request(v1::JoinServerRequest { by });
        self.servers().join_server(request).await.expect("joins");
    }

    pub(crate) async fn send(&self, channel_id: i64, content: &str) -> v1::Message {
        let request = v1::SendMessageRequest {
            channel_id,
            content: content.to_owned(),
            ..Default::default()
        };
        self.try_send(request).await.expect("sends")
    }

    pub(crate) async fn try_send(
        &self,
        request: v1::SendMessageRequest,
    ) -> Result<v1::Message, Status> {
        let sent = self.messages().send_message(self.request(request)).await?;
        Ok(sent.into_inner().message.expect("a message"))
    }

    /// A stream that is `Ready`, holding `positions`, and what came before that.
    pub(crate) async fn connect(
        &self,
        positions: Vec<v1::TopicPosition>,
    ) -> (Stream, Vec<v1::server_frame::Frame>) {
        let mut stream = Stream::open(self.channel.clone()).await;
        let token = self.token.clone();
        stream
            .identify(v1::Identify {
                token,
                positions,
                ..Default::default()
            })
            .await;
        let before = stream.ready().await;
        (stream, before)
    }

    pub(crate) async fn raw_stream(&self) -> Stream {
        Stream::open(self.channel.clone()).await
    }
}

/// A channel's topic.
pub(crate) fn channel_topic(id: i64) -> v1::Topic {
    v1::Topic {
        kind: v1::TopicKind::Channel as i32,
        id,
    }
}

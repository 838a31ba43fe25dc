//! A server with a channel and users, made by a service key through the public API.

use crate::support::{Stream, TestNode};
use chirm_proto::v1::{
    self, auth_service_client::AuthServiceClient, channel_service_client::ChannelServiceClient,
    message_service_client::MessageServiceClient, server_service_client::ServerServiceClient,
};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A user that is signed in.
#[derive(Clone)]
pub struct User {
    pub id: i64,
    pub token: String,
    channel: Channel,
}

/// A request with a token.
pub fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = MetadataValue::try_from(format!("Bearer {token}")).expect("a header value");
    request.metadata_mut().insert("authorization", bearer);
    request
}

impl User {
    /// The user that a key stands for.
    pub async fn of_key(node: &TestNode) -> Self {
        Self { id: 0, token: node.key.clone(), channel: node.channel().await }
    }

    /// A user of this name, made by the node's key.
    pub async fn mint(node: &TestNode, name: &str) -> Self {
        let channel = node.channel().await;
        let request = v1::MintSessionRequest {
            subject: Some(v1::mint_session_request::Subject::ExternalId(name.to_owned())),
            display_name: name.to_owned(),
            device: String::new(),
        };
        let minted = AuthServiceClient::new(channel.clone())
            .mint_session(with_token(&node.key, request))
            .await
            .expect("mints")
            .into_inner();
        let id = minted.user.expect("a user").id;
        Self { id, token: minted.tokens.expect("tokens").access_token, channel }
    }

    pub fn request<T>(&self, message: T) -> Request<T> {
        with_token(&self.token, message)
    }

    pub fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel.clone())
    }

    pub fn servers(&self) -> ServerServiceClient<Channel> {
        ServerServiceClient::new(self.channel.clone())
    }

    pub fn channels(&self) -> ChannelServiceClient<Channel> {
        ChannelServiceClient::new(self.channel.clone())
    }

    pub fn messages(&self) -> MessageServiceClient<Channel> {
        MessageServiceClient::new(self.channel.clone())
    }

    /// A new open server and its first channel.
    pub async fn create_server(&self, name: &str) -> (i64, i64) {
        let request = v1::CreateServerRequest {
            name: name.to_owned(),
            open: true,
            ..Default::default()
        };
        let made = self.servers().create_server(self.request(request)).await.expect("creates");
        let made = made.into_inner();
        (made.server.expect("a server").id, made.general_channel_id)
    }

    pub async fn join(&self, server_id: i64) {
        let by = Some(v1::join_server_request::By::ServerId(server_id));
        let request = self.request(v1::JoinServerRequest { by });
        self.servers().join_server(request).await.expect("joins");
    }

    pub async fn send(&self, channel_id: i64, content: &str) -> v1::Message {
        let request = v1::SendMessageRequest {
            channel_id,
            content: content.to_owned(),
            ..Default::default()
        };
        self.try_send(request).await.expect("sends")
    }

    pub async fn try_send(&self, request: v1::SendMessageRequest) -> Result<v1::Message, Status> {
        let sent = self.messages().send_message(self.request(request)).await?;
        Ok(sent.into_inner().message.expect("a message"))
    }

    /// A stream that is `Ready`, holding `positions`, and what came before that.
    pub async fn connect(
        &self,
        positions: Vec<v1::TopicPosition>,
    ) -> (Stream, Vec<v1::server_frame::Frame>) {
        let mut stream = Stream::open(self.channel.clone()).await;
        let token = self.token.clone();
        stream.identify(v1::Identify { token, positions, ..Default::default() }).await;
        let before = stream.ready().await;
        (stream, before)
    }

    pub async fn raw_stream(&self) -> Stream {
        Stream::open(self.channel.clone()).await
    }
}

/// A channel's topic.
pub fn channel_topic(id: i64) -> v1::Topic {
    v1::Topic { kind: v1::TopicKind::Channel as i32, id }
}

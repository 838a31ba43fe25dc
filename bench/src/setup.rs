//! What a bench needs on its server before it begins: users, a server, channels.

use anyhow::{Context, Result};
use chirm_proto::v1::{
    AddMemberRequest, BatchAddMembersRequest, ChannelType, CreateChannelRequest,
    CreateServerRequest, JoinServerRequest, ListMembersRequest, MintSessionRequest, NewMember,
    auth_service_client::AuthServiceClient, channel_service_client::ChannelServiceClient,
    join_server_request::By, mint_session_request::Subject, new_member::Subject as Whom,
    server_service_client::ServerServiceClient,
};
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, metadata::MetadataValue};

/// How many set-up calls are under way at once.
const CALLS_AT_ONCE: usize = 64;
/// Users of one bulk call, as many as the server takes.
const BATCH: usize = 500;
/// Bulk calls that are under way at once.
const BATCHES_AT_ONCE: usize = 4;
/// How long a call of the set-up may take.
const CALL_WITHIN: Duration = Duration::from_secs(20);

/// Calls with a service key.
#[derive(Clone)]
pub struct Backend {
    channel: Channel,
    key: String,
}

/// A user of the bench. Without `Debug`, for it holds a token.
#[derive(Clone)]
pub struct Session {
    /// The user's id.
    pub user_id: i64,
    /// The access token.
    pub token: String,
}

/// A channel to the server at `url`, connected when it is first used.
pub fn connect_lazy(url: &str) -> Result<Channel> {
    Ok(endpoint(url)?.timeout(CALL_WITHIN).connect_lazy())
}

/// The same for streams, which last.
pub fn endpoint(url: &str) -> Result<Endpoint> {
    Ok(Endpoint::from_shared(url.to_owned())
        .with_context(|| format!("{url} is no URL of a server"))?
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(5)))
}

/// A request that carries a token.
pub fn authorized<T>(token: &str, message: T) -> Result<Request<T>> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {token}"))
        .context("a token must be printable ASCII")?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

impl Backend {
    /// For the server at `url`, with a service key.
    pub fn new(url: &str, key: &str) -> Result<Self> {
        Ok(Self {
            channel: connect_lazy(url)?,
            key: key.to_owned(),
        })
    }

    /// Makes a server that anyone may join. Gives its id.
    pub async fn create_server(&self, name: &str) -> Result<i64> {
        let request = CreateServerRequest {
            name: name.to_owned(),
            open: true,
            ..request()
        };
        let response = ServerServiceClient::new(self.channel.clone())
            .create_server(authorized(&self.key, request)?)
            .await
            .context("CreateServer failed")?;
        Ok(response
            .into_inner()
            .server
            .context("CreateServer gave no server")?
            .id)
    }

    /// Makes a TEXT channel of a server. Gives its id.
    pub async fn create_channel(&self, server_id: i64, name: &str) -> Result<i64> {
        let request = CreateChannelRequest {
            server_id,
            r#type: ChannelType::Text as i32,
            name: name.to_owned(),
            ..request()
        };
        let response = ChannelServiceClient::new(self.channel.clone())
            .create_channel(authorized(&self.key, request)?)
            .await
            .context("CreateChannel failed")?;
        Ok(response
            .into_inner()
            .channel
            .context("CreateChannel gave no channel")?
            .id)
    }

    /// Signs a user in on the key's word. The user comes to be on first sight.
    pub async fn mint(&self, external_id: &str, display_name: &str) -> Result<Session> {
        let request = MintSessionRequest {
            subject: Some(Subject::ExternalId(external_id.to_owned())),
            display_name: display_name.to_owned(),
            ..request()
        };
        let response = AuthServiceClient::new(self.channel.clone())
            .mint_session(authorized(&self.key, request)?)
            .await
            .context("MintSession failed")?
            .into_inner();
        Ok(Session {
            user_id: response.user.context("MintSession gave no user")?.id,
            token: response
                .tokens
                .context("MintSession gave no tokens")?
                .access_token,
        })
    }

    /// Makes a user a member of a server.
    pub async fn add_member(&self, server_id: i64, user_id: i64) -> Result<()> {
        ServerServiceClient::new(self.channel.clone())
            .add_member(authorized(
                &self.key,
                AddMemberRequest { server_id, user_id },
            )?)
            .await
            .context("AddMember failed")?;
        Ok(())
    }

    /// Makes a session's user join an open server.
    pub async fn join(&self, user: &Session, server_id: i64) -> Result<()> {
        let request = JoinServerRequest {
            by: Some(By::ServerId(server_id)),
        };
        ServerServiceClient::new(self.channel.clone())
            .join_server(authorized(&user.token, request)?)
            .await
            .context("JoinServer failed")?;
        Ok(())
    }

    /// Makes `count` users, by bulk calls, and members of a server.
    pub async fn add_members(
        &self,
        server_id: i64,
        prefix: &str,
        count: u64,
        bar: &ProgressBar,
    ) -> Result<()> {
        let member = |index: u64| NewMember {
            subject: Some(Whom::ExternalId(format!("{prefix}-{index}"))),
            display_name: String::new(),
        };
        let members: Vec<NewMember> = (0..count).map(member).collect();
        stream::iter(members.chunks(BATCH))
            .map(async |members| {
                self.add_batch(server_id, members.to_vec()).await?;
                bar.inc(members.len() as u64);
                Ok(())
            })
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_collect()
            .await
    }

    /// Makes users that exist members of a server.
    pub async fn add_known(&self, server_id: i64, users: &[i64]) -> Result<()> {
        let member = |user: &i64| NewMember {
            subject: Some(Whom::UserId(*user)),
            display_name: String::new(),
        };
        self.add_batch(server_id, users.iter().map(member).collect())
            .await
    }

    async fn add_batch(&self, server_id: i64, members: Vec<NewMember>) -> Result<()> {
        let request = BatchAddMembersRequest { server_id, members };
        ServerServiceClient::new(self.channel.clone())
            .batch_add_members(authorized(&self.key, request)?)
            .await
            .context("BatchAddMembers failed")?;
        Ok(())
    }

    /// Reads all members of a server, page by page. Gives how many there are.
    pub async fn read_members(&self, server_id: i64) -> Result<u64> {
        let (mut count, mut page_token) = (0, String::new());
        loop {
            let request = ListMembersRequest {
                server_id,
                page_size: 1_000,
                page_token,
            };
            let page = ServerServiceClient::new(self.channel.clone())
                .list_members(authorized(&self.key, request)?)
                .await
                .context("ListMembers failed")?
                .into_inner();
            count += page.members.len() as u64;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(count);
            }
        }
    }

    /// Signs in the first `count` users of a prefix; those that aren't there come to be.
    pub async fn sign_in(&self, prefix: &str, count: u64) -> Result<Vec<Session>> {
        stream::iter(0..count)
            .map(async |index| {
                let name = format!("{prefix}-{index}");
                self.mint(&name, &name).await
            })
            .buffered(CALLS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Signs `count` users in and makes them members of a server.
    pub async fn members(&self, server_id: i64, prefix: &str, count: u64) -> Result<Vec<Session>> {
        stream::iter(0..count)
            .map(|index| async move {
                let name = format!("{prefix}-{index}");
                let session = self.mint(&name, &name).await?;
                self.add_member(server_id, session.user_id).await?;
                Ok::<_, anyhow::Error>(session)
            })
            .buffered(CALLS_AT_ONCE)
            .try_collect()
            .await
    }
}

fn request<T: Default>() -> T {
    T::default()
}

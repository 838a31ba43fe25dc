//! `ChannelService`.

use super::caller::{caller, refused};
use super::mask::Mask;
use super::pages;
use crate::domain::{ChannelChanges, Domain, Error, NewChannel};
use crate::frames;
use crate::model::{ChannelType, Id};
use chirm_proto::v1::{self, channel_service_server::ChannelService};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service over the use cases.
pub(super) struct Channels(pub(super) Arc<Domain>);

/// The fields that an update changes.
const CHANGEABLE: &[&str] = &[
    "name",
    "description",
    "rank",
    "metadata",
    "slow_mode_seconds",
];

#[tonic::async_trait]
impl ChannelService for Channels {
    async fn create_channel(
        &self,
        request: Request<v1::CreateChannelRequest>,
    ) -> Result<Response<v1::CreateChannelResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let kind = ChannelType::from_i32(request.r#type).ok_or_else(|| {
            let problem = format!(
                "{}; TEXT, ANNOUNCEMENT, PRIVATE or DIRECT is",
                request.r#type
            );
            refused(Error::field("type", problem))
        })?;
        let new = NewChannel {
            server_id: request.server_id,
            kind,
            name: request.name,
            description: request.description,
            rank: request.rank,
            member_ids: request.member_ids,
            metadata: request.metadata.into_iter().collect(),
            request_id: request.request_id,
            slow_mode_s: request.slow_mode_seconds,
        };
        let channel = self.0.create_channel(&caller, new).await.map_err(refused)?;
        let channel = Some(frames::channel(&channel));
        Ok(Response::new(v1::CreateChannelResponse { channel }))
    }

    async fn get_channel(
        &self,
        request: Request<v1::GetChannelRequest>,
    ) -> Result<Response<v1::GetChannelResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = request.into_inner().channel_id;
        let channel = self.0.get_channel(&caller, id).await.map_err(refused)?;
        let channel = Some(frames::channel(&channel));
        Ok(Response::new(v1::GetChannelResponse { channel }))
    }

    async fn update_channel(
        &self,
        request: Request<v1::UpdateChannelRequest>,
    ) -> Result<Response<v1::UpdateChannelResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::UpdateChannelRequest {
            channel_id,
            channel,
            update_mask,
        } = request.into_inner();
        let given = channel.unwrap_or_default();
        let mask = Mask::new(update_mask, CHANGEABLE)?;
        let has_metadata = !given.metadata.is_empty();
        let (has_name, has_text) = (!given.name.is_empty(), !given.description.is_empty());
        let metadata = given.metadata.into_iter().collect();
        let changes = ChannelChanges {
            name: mask.pick("name", given.name, has_name),
            description: mask.pick("description", given.description, has_text),
            rank: mask.pick("rank", given.rank, given.rank != 0),
            metadata: mask.pick("metadata", metadata, has_metadata),
            slow_mode_s: mask.pick(
                "slow_mode_seconds",
                given.slow_mode_seconds,
                given.slow_mode_seconds != 0,
            ),
        };
        let channel = self.0.update_channel(&caller, channel_id, changes).await;
        let channel = Some(frames::channel(&channel.map_err(refused)?));
        Ok(Response::new(v1::UpdateChannelResponse { channel }))
    }

    async fn delete_channel(
        &self,
        request: Request<v1::DeleteChannelRequest>,
    ) -> Result<Response<v1::DeleteChannelResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = request.into_inner().channel_id;
        self.0.delete_channel(&caller, id).await.map_err(refused)?;
        Ok(Response::new(v1::DeleteChannelResponse {}))
    }

    async fn list_channels(
        &self,
        request: Request<v1::ListChannelsRequest>,
    ) -> Result<Response<v1::ListChannelsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListChannelsRequest {
            server_id,
            page_size: size,
            page_token: token,
        } = request.into_inner();
        let (page, next_page_token) = if server_id == 0 {
            let before = pages::from(&token)?.unwrap_or(Id::MAX);
            let page = self.0.list_direct_channels(&caller, before, size).await;
            let page = page.map_err(refused)?;
            let next = pages::next(&page, |channel| channel.id);
            (page, next)
        } else {
            let after = pages::from(&token)?;
            let page = self.0.list_channels(&caller, server_id, after, size).await;
            let page = page.map_err(refused)?;
            let next = pages::next(&page, |channel| (channel.rank, channel.id));
            (page, next)
        };
        let channels = page.items.iter().map(|channel| frames::channel(channel));
        Ok(Response::new(v1::ListChannelsResponse {
            channels: channels.collect(),
            next_page_token,
        }))
    }

    async fn add_channel_member(
        &self,
        request: Request<v1::AddChannelMemberRequest>,
    ) -> Result<Response<v1::AddChannelMemberResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::AddChannelMemberRequest {
            channel_id,
            user_id,
        } = request.into_inner();
        let channel = self
            .0
            .add_channel_member(&caller, channel_id, user_id)
            .await;
        let channel = Some(frames::channel(&channel.map_err(refused)?));
        Ok(Response::new(v1::AddChannelMemberResponse { channel }))
    }

    async fn remove_channel_member(
        &self,
        request: Request<v1::RemoveChannelMemberRequest>,
    ) -> Result<Response<v1::RemoveChannelMemberResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::RemoveChannelMemberRequest {
            channel_id,
            user_id,
        } = request.into_inner();
        let removed = self
            .0
            .remove_channel_member(&caller, channel_id, user_id)
            .await;
        removed.map_err(refused)?;
        Ok(Response::new(v1::RemoveChannelMemberResponse {}))
    }
}

//! `UserService`.

use super::caller::{caller, refused};
use super::mask::Mask;
use super::pages;
use crate::domain::{Domain, Error, ProfileChanges, SettingsChanges};
use crate::frames;
use crate::model::DirectMessages;
use chirm_proto::v1::{self, user_service_server::UserService};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service over the use cases.
pub(super) struct Users(pub(super) Arc<Domain>);

#[tonic::async_trait]
impl UserService for Users {
    async fn get_user(
        &self,
        request: Request<v1::GetUserRequest>,
    ) -> Result<Response<v1::GetUserResponse>, Status> {
        caller(&self.0, &request).await?;
        let user = self
            .0
            .get_user(request.into_inner().user_id)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::GetUserResponse {
            user: Some(frames::user(&user)),
        }))
    }

    async fn get_self(
        &self,
        request: Request<v1::GetSelfRequest>,
    ) -> Result<Response<v1::GetSelfResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let user = self.0.get_user(caller.user_id).await.map_err(refused)?;
        Ok(Response::new(v1::GetSelfResponse {
            user: Some(frames::user(&user)),
        }))
    }

    async fn update_profile(
        &self,
        request: Request<v1::UpdateProfileRequest>,
    ) -> Result<Response<v1::UpdateProfileResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::UpdateProfileRequest { user, update_mask } = request.into_inner();
        let user = user.unwrap_or_default();
        let mask = Mask::new(update_mask, &["display_name", "metadata"])?;
        let (has_name, has_metadata) = (!user.display_name.is_empty(), !user.metadata.is_empty());
        let metadata = user.metadata.into_iter().collect();
        let changes = ProfileChanges {
            display_name: mask.pick("display_name", user.display_name, has_name),
            metadata: mask.pick("metadata", metadata, has_metadata),
        };
        let user = self
            .0
            .update_profile(&caller, changes)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::UpdateProfileResponse {
            user: Some(frames::user(&user)),
        }))
    }

    async fn batch_get_users(
        &self,
        request: Request<v1::BatchGetUsersRequest>,
    ) -> Result<Response<v1::BatchGetUsersResponse>, Status> {
        caller(&self.0, &request).await?;
        let ids = request.into_inner().user_ids;
        let users = self.0.batch_get_users(&ids).await.map_err(refused)?;
        let users = users.iter().map(frames::user).collect();
        Ok(Response::new(v1::BatchGetUsersResponse { users }))
    }

    async fn lookup_user(
        &self,
        request: Request<v1::LookupUserRequest>,
    ) -> Result<Response<v1::LookupUserResponse>, Status> {
        caller(&self.0, &request).await?;
        let name = request.into_inner().username;
        let user = self.0.lookup_user(&name).await.map_err(refused)?;
        Ok(Response::new(v1::LookupUserResponse {
            user: Some(frames::user(&user)),
        }))
    }

    async fn block_user(
        &self,
        request: Request<v1::BlockUserRequest>,
    ) -> Result<Response<v1::BlockUserResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let other = request.into_inner().user_id;
        self.0.block_user(&caller, other).await.map_err(refused)?;
        Ok(Response::new(v1::BlockUserResponse {}))
    }

    async fn unblock_user(
        &self,
        request: Request<v1::UnblockUserRequest>,
    ) -> Result<Response<v1::UnblockUserResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let other = request.into_inner().user_id;
        self.0.unblock_user(&caller, other).await.map_err(refused)?;
        Ok(Response::new(v1::UnblockUserResponse {}))
    }

    async fn list_blocks(
        &self,
        request: Request<v1::ListBlocksRequest>,
    ) -> Result<Response<v1::ListBlocksResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let after = pages::from(&request.page_token)?.unwrap_or(0);
        let page = self.0.list_blocks(&caller, after, request.page_size).await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListBlocksResponse {
            users: page.items.iter().map(frames::user).collect(),
            next_page_token: pages::next(&page, |user| user.id),
        }))
    }

    async fn get_settings(
        &self,
        request: Request<v1::GetSettingsRequest>,
    ) -> Result<Response<v1::GetSettingsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let settings = self.0.get_settings(&caller).await.map_err(refused)?;
        Ok(Response::new(v1::GetSettingsResponse {
            settings: Some(frames::settings(&settings)),
        }))
    }

    async fn update_settings(
        &self,
        request: Request<v1::UpdateSettingsRequest>,
    ) -> Result<Response<v1::UpdateSettingsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::UpdateSettingsRequest {
            settings,
            update_mask,
        } = request.into_inner();
        let direct = settings.unwrap_or_default().direct_messages;
        let mask = Mask::new(update_mask, &["direct_messages"])?;
        let direct = mask.pick("direct_messages", direct, direct != 0);
        let changes = SettingsChanges {
            direct_messages: direct.map(direct_messages).transpose()?,
        };
        let settings = self.0.update_settings(&caller, changes).await;
        let settings = settings.map_err(refused)?;
        Ok(Response::new(v1::UpdateSettingsResponse {
            settings: Some(frames::settings(&settings)),
        }))
    }
}

/// UNSPECIFIED means the default.
fn direct_messages(number: i32) -> Result<DirectMessages, Status> {
    if number == v1::DirectMessages::Unspecified as i32 {
        return Ok(DirectMessages::default());
    }
    DirectMessages::from_i32(number).ok_or_else(|| {
        let problem = format!("{number}; EVERYONE, SHARED_SERVERS or NOBODY is");
        refused(Error::field("settings.direct_messages", problem))
    })
}

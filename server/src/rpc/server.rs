//! `ServerService`.

use super::caller::{caller, refused};
use super::mask::Mask;
use super::pages;
use crate::domain::{Domain, Error, NewInvite, NewMember, NewServer, ServerChanges, Subject};
use crate::frames;
use crate::model::{Ban, Invite, Role};
use chirm_proto::v1::{
    self, join_server_request::By, new_member::Subject as Whom,
    server_service_server::ServerService,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service over the use cases.
pub(super) struct Servers(pub(super) Arc<Domain>);

fn invite(invite: Invite) -> v1::Invite {
    v1::Invite {
        code: invite.code,
        server_id: invite.server_id,
        creator_id: invite.creator_id,
        max_uses: invite.max_uses,
        uses: invite.uses,
        expires_at: frames::timestamp(invite.expires_at),
    }
}

fn ban(ban: Ban) -> v1::Ban {
    v1::Ban {
        user_id: ban.user_id,
        banned_by: ban.banned_by,
        reason: ban.reason,
        created_at: frames::timestamp(ban.created_at),
    }
}

#[tonic::async_trait]
impl ServerService for Servers {
    async fn create_server(
        &self,
        request: Request<v1::CreateServerRequest>,
    ) -> Result<Response<v1::CreateServerResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let new = NewServer {
            name: request.name,
            description: request.description,
            open: request.open,
            metadata: request.metadata.into_iter().collect(),
            request_id: request.request_id,
        };
        let made = self.0.create_server(&caller, new).await;
        let (server, general_channel_id) = made.map_err(refused)?;
        let server = Some(frames::server(&server));
        Ok(Response::new(v1::CreateServerResponse {
            server,
            general_channel_id,
        }))
    }

    async fn get_server(
        &self,
        request: Request<v1::GetServerRequest>,
    ) -> Result<Response<v1::GetServerResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = request.into_inner().server_id;
        let server = self.0.get_server(&caller, id).await.map_err(refused)?;
        Ok(Response::new(v1::GetServerResponse {
            server: Some(frames::server(&server)),
        }))
    }

    async fn update_server(
        &self,
        request: Request<v1::UpdateServerRequest>,
    ) -> Result<Response<v1::UpdateServerResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::UpdateServerRequest {
            server_id,
            server,
            update_mask,
        } = request.into_inner();
        let given = server.unwrap_or_default();
        let mask = Mask::new(update_mask, &["name", "description", "open", "metadata"])?;
        let has_metadata = !given.metadata.is_empty();
        let (has_name, has_text) = (!given.name.is_empty(), !given.description.is_empty());
        let metadata = given.metadata.into_iter().collect();
        let changes = ServerChanges {
            name: mask.pick("name", given.name, has_name),
            description: mask.pick("description", given.description, has_text),
            open: mask.pick("open", given.open, given.open),
            metadata: mask.pick("metadata", metadata, has_metadata),
        };
        let server = self
            .0
            .update_server(&caller, server_id, changes)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::UpdateServerResponse {
            server: Some(frames::server(&server)),
        }))
    }

    async fn delete_server(
        &self,
        request: Request<v1::DeleteServerRequest>,
    ) -> Result<Response<v1::DeleteServerResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = request.into_inner().server_id;
        self.0.delete_server(&caller, id).await.map_err(refused)?;
        Ok(Response::new(v1::DeleteServerResponse {}))
    }

    async fn list_servers(
        &self,
        request: Request<v1::ListServersRequest>,
    ) -> Result<Response<v1::ListServersResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListServersRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let after = pages::from(&page_token)?.unwrap_or(0);
        let page = self.0.list_servers(&caller, after, page_size).await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListServersResponse {
            servers: page.items.iter().map(frames::server).collect(),
            next_page_token: pages::next(&page, |server| server.id),
        }))
    }

    async fn join_server(
        &self,
        request: Request<v1::JoinServerRequest>,
    ) -> Result<Response<v1::JoinServerResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let joined = match request.into_inner().by {
            Some(By::InviteCode(code)) => self.0.join_by_invite(&caller, code).await,
            Some(By::ServerId(id)) => self.0.join_by_id(&caller, id).await,
            None => Err(Error::field(
                "by",
                "missing; invite_code or server_id is needed",
            )),
        };
        let (server, member) = joined.map_err(refused)?;
        let (server, member) = (frames::server(&server), frames::member(&member, None));
        let response = v1::JoinServerResponse {
            server: Some(server),
            member: Some(member),
        };
        Ok(Response::new(response))
    }

    async fn leave_server(
        &self,
        request: Request<v1::LeaveServerRequest>,
    ) -> Result<Response<v1::LeaveServerResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = request.into_inner().server_id;
        self.0.leave_server(&caller, id).await.map_err(refused)?;
        Ok(Response::new(v1::LeaveServerResponse {}))
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListMembersRequest {
            server_id,
            page_size,
            page_token,
        } = request.into_inner();
        let after = pages::from(&page_token)?.unwrap_or(0);
        let page = self
            .0
            .list_members(&caller, server_id, after, page_size)
            .await;
        let page = page.map_err(refused)?;
        let members = page.items.iter();
        let members = members.map(|(member, user)| frames::member(member, Some(user)));
        Ok(Response::new(v1::ListMembersResponse {
            members: members.collect(),
            next_page_token: pages::next(&page, |(member, _)| member.user_id),
        }))
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::AddMemberResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::AddMemberRequest { server_id, user_id } = request.into_inner();
        let member = self
            .0
            .add_member(&caller, server_id, user_id)
            .await
            .map_err(refused)?;
        let member = Some(frames::member(&member, None));
        Ok(Response::new(v1::AddMemberResponse { member }))
    }

    async fn batch_add_members(
        &self,
        request: Request<v1::BatchAddMembersRequest>,
    ) -> Result<Response<v1::BatchAddMembersResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::BatchAddMembersRequest { server_id, members } = request.into_inner();
        let members = members.into_iter().enumerate().map(|(index, member)| {
            let subject = match member.subject {
                Some(Whom::UserId(id)) => Subject::User(id),
                Some(Whom::ExternalId(id)) => Subject::External(id),
                None => {
                    let field = format!("members[{index}].subject");
                    let problem = "missing; user_id or external_id is required";
                    return Err(refused(Error::field(field, problem)));
                }
            };
            Ok(NewMember {
                subject,
                display_name: member.display_name,
            })
        });
        let members = members.collect::<Result<_, _>>()?;
        let added = self.0.add_members(&caller, server_id, members).await;
        Ok(Response::new(v1::BatchAddMembersResponse {
            user_ids: added.map_err(refused)?,
        }))
    }

    async fn update_member(
        &self,
        request: Request<v1::UpdateMemberRequest>,
    ) -> Result<Response<v1::UpdateMemberResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::UpdateMemberRequest {
            server_id,
            user_id,
            role,
        } = request.into_inner();
        let role = Role::from_i32(role).ok_or_else(|| {
            let problem = format!("{role}; MEMBER, MODERATOR, ADMIN or OWNER is");
            refused(Error::field("role", problem))
        })?;
        let member = self
            .0
            .update_member(&caller, server_id, user_id, role)
            .await;
        let member = Some(frames::member(&member.map_err(refused)?, None));
        Ok(Response::new(v1::UpdateMemberResponse { member }))
    }

    async fn kick_member(
        &self,
        request: Request<v1::KickMemberRequest>,
    ) -> Result<Response<v1::KickMemberResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::KickMemberRequest {
            server_id,
            user_id,
            reason,
        } = request.into_inner();
        self.0
            .kick_member(&caller, server_id, user_id, reason)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::KickMemberResponse {}))
    }

    async fn ban_user(
        &self,
        request: Request<v1::BanUserRequest>,
    ) -> Result<Response<v1::BanUserResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::BanUserRequest {
            server_id,
            user_id,
            reason,
            delete_message_seconds,
        } = request.into_inner();
        self.0
            .ban_user(&caller, server_id, user_id, reason, delete_message_seconds)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::BanUserResponse {}))
    }

    async fn unban_user(
        &self,
        request: Request<v1::UnbanUserRequest>,
    ) -> Result<Response<v1::UnbanUserResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::UnbanUserRequest { server_id, user_id } = request.into_inner();
        self.0
            .unban_user(&caller, server_id, user_id)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::UnbanUserResponse {}))
    }

    async fn list_bans(
        &self,
        request: Request<v1::ListBansRequest>,
    ) -> Result<Response<v1::ListBansResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListBansRequest {
            server_id,
            page_size,
            page_token,
        } = request.into_inner();
        let after = pages::from(&page_token)?.unwrap_or(0);
        let page = self.0.list_bans(&caller, server_id, after, page_size).await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListBansResponse {
            next_page_token: pages::next(&page, |ban| ban.user_id),
            bans: page.items.into_iter().map(ban).collect(),
        }))
    }

    async fn create_invite(
        &self,
        request: Request<v1::CreateInviteRequest>,
    ) -> Result<Response<v1::CreateInviteResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::CreateInviteRequest {
            server_id,
            max_uses,
            ttl_seconds,
            request_id,
        } = request.into_inner();
        let new = NewInvite {
            server_id,
            max_uses,
            ttl_s: ttl_seconds,
            request_id,
        };
        let made = self.0.create_invite(&caller, new).await;
        let invite = Some(invite(made.map_err(refused)?));
        Ok(Response::new(v1::CreateInviteResponse { invite }))
    }

    async fn list_invites(
        &self,
        request: Request<v1::ListInvitesRequest>,
    ) -> Result<Response<v1::ListInvitesResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListInvitesRequest {
            server_id,
            page_size,
            page_token,
        } = request.into_inner();
        let after = pages::from(&page_token)?.unwrap_or_default();
        let page = self
            .0
            .list_invites(&caller, server_id, after, page_size)
            .await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListInvitesResponse {
            next_page_token: pages::next(&page, |invite| invite.code.clone()),
            invites: page.items.into_iter().map(invite).collect(),
        }))
    }

    async fn revoke_invite(
        &self,
        request: Request<v1::RevokeInviteRequest>,
    ) -> Result<Response<v1::RevokeInviteResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::RevokeInviteRequest { server_id, code } = request.into_inner();
        self.0
            .revoke_invite(&caller, server_id, code)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::RevokeInviteResponse {}))
    }
}

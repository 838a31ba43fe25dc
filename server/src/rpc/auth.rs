//! `AuthService`.

use super::caller::{Origin, caller, refused};
use super::pages;
use crate::domain::{Domain, Error, Register, SignedIn, Subject, Tokens};
use crate::frames;
use crate::model::Id;
use chirm_proto::v1::{
    self, auth_service_server::AuthService, mint_session_request::Subject as Whom,
};
use std::net::IpAddr;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service over the use cases.
pub(super) struct Auth(pub(super) Arc<Domain>);

fn from<T>(request: &Request<T>) -> Option<IpAddr> {
    request.extensions().get::<Origin>().map(|origin| origin.0)
}

fn tokens(tokens: Tokens) -> v1::Tokens {
    v1::Tokens {
        session_id: tokens.session_id,
        access_token: tokens.access,
        refresh_token: tokens.refresh,
        access_expires_at: frames::timestamp(tokens.access_expires_at),
        refresh_expires_at: frames::timestamp(tokens.refresh_expires_at),
    }
}

fn signed_in(signed_in: SignedIn) -> (Option<v1::User>, Option<v1::Tokens>) {
    (
        Some(frames::user(&signed_in.user)),
        Some(tokens(signed_in.tokens)),
    )
}

#[tonic::async_trait]
impl AuthService for Auth {
    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        let from = from(&request);
        let v1::RegisterRequest {
            username,
            password,
            display_name,
            invite_code,
            device,
        } = request.into_inner();
        let register = Register {
            username,
            password,
            display_name,
            invite_code,
            device,
        };
        let made = self.0.register(from, register).await.map_err(refused)?;
        let (user, tokens) = signed_in(made);
        Ok(Response::new(v1::RegisterResponse { user, tokens }))
    }

    async fn login(
        &self,
        request: Request<v1::LoginRequest>,
    ) -> Result<Response<v1::LoginResponse>, Status> {
        let from = from(&request);
        let v1::LoginRequest {
            username,
            password,
            device,
        } = request.into_inner();
        let found = self.0.login(from, &username, password, &device).await;
        let (user, tokens) = signed_in(found.map_err(refused)?);
        Ok(Response::new(v1::LoginResponse { user, tokens }))
    }

    async fn refresh(
        &self,
        request: Request<v1::RefreshRequest>,
    ) -> Result<Response<v1::RefreshResponse>, Status> {
        self.0.admit_exchange(from(&request)).map_err(refused)?;
        let token = request.into_inner().refresh_token;
        let new = self.0.refresh(&token).await.map_err(refused)?;
        Ok(Response::new(v1::RefreshResponse {
            tokens: Some(tokens(new)),
        }))
    }

    async fn logout(
        &self,
        request: Request<v1::LogoutRequest>,
    ) -> Result<Response<v1::LogoutResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        self.0.logout(&caller).await.map_err(refused)?;
        Ok(Response::new(v1::LogoutResponse {}))
    }

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListSessionsRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let before = pages::from(&page_token)?.unwrap_or(Id::MAX);
        let page = self.0.list_sessions(&caller, before, page_size).await;
        let page = page.map_err(refused)?;
        let next_page_token = pages::next(&page, |session| session.id);
        let sessions = page.items.into_iter().map(|session| v1::AuthSession {
            id: session.id,
            current: session.id == caller.session_id,
            device: session.name,
            created_at: frames::timestamp(session.created_at),
            last_seen_at: frames::timestamp(session.last_seen_at),
        });
        Ok(Response::new(v1::ListSessionsResponse {
            sessions: sessions.collect(),
            next_page_token,
        }))
    }

    async fn revoke_session(
        &self,
        request: Request<v1::RevokeSessionRequest>,
    ) -> Result<Response<v1::RevokeSessionResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let session = request.into_inner().session_id;
        self.0
            .revoke_session(&caller, session)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::RevokeSessionResponse {}))
    }

    async fn create_bot(
        &self,
        request: Request<v1::CreateBotRequest>,
    ) -> Result<Response<v1::CreateBotResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::CreateBotRequest {
            username,
            display_name,
            request_id,
        } = request.into_inner();
        let made = self
            .0
            .create_bot(&caller, &username, &display_name, &request_id)
            .await;
        let (user, token) = made.map_err(refused)?;
        let user = Some(frames::user(&user));
        Ok(Response::new(v1::CreateBotResponse { user, token }))
    }

    async fn list_bots(
        &self,
        request: Request<v1::ListBotsRequest>,
    ) -> Result<Response<v1::ListBotsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListBotsRequest {
            owner_id,
            page_size,
            page_token,
        } = request.into_inner();
        let before = pages::from(&page_token)?.unwrap_or(Id::MAX);
        let page = self.0.list_bots(&caller, owner_id, before, page_size).await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListBotsResponse {
            bots: page.items.iter().map(frames::user).collect(),
            next_page_token: pages::next(&page, |bot| bot.id),
        }))
    }

    async fn reset_bot_token(
        &self,
        request: Request<v1::ResetBotTokenRequest>,
    ) -> Result<Response<v1::ResetBotTokenResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let bot = request.into_inner().bot_id;
        let token = self
            .0
            .reset_bot_token(&caller, bot)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::ResetBotTokenResponse { token }))
    }

    async fn delete_bot(
        &self,
        request: Request<v1::DeleteBotRequest>,
    ) -> Result<Response<v1::DeleteBotResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let bot = request.into_inner().bot_id;
        self.0.delete_bot(&caller, bot).await.map_err(refused)?;
        Ok(Response::new(v1::DeleteBotResponse {}))
    }

    async fn exchange_token(
        &self,
        request: Request<v1::ExchangeTokenRequest>,
    ) -> Result<Response<v1::ExchangeTokenResponse>, Status> {
        self.0.admit_exchange(from(&request)).map_err(refused)?;
        let v1::ExchangeTokenRequest { jwt, device } = request.into_inner();
        let found = self.0.exchange_token(jwt, &device).await.map_err(refused)?;
        let created = found.created;
        let (user, tokens) = signed_in(found);
        Ok(Response::new(v1::ExchangeTokenResponse {
            user,
            tokens,
            created,
        }))
    }

    async fn mint_session(
        &self,
        request: Request<v1::MintSessionRequest>,
    ) -> Result<Response<v1::MintSessionResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::MintSessionRequest {
            subject,
            display_name,
            device,
        } = request.into_inner();
        let subject = match subject {
            Some(Whom::UserId(id)) => Subject::User(id),
            Some(Whom::ExternalId(id)) => Subject::External(id),
            None => {
                let problem = "missing; user_id or external_id is needed";
                return Err(refused(Error::field("subject", problem)));
            }
        };
        let found = self
            .0
            .mint_session(&caller, subject, &display_name, &device)
            .await;
        let found = found.map_err(refused)?;
        let created = found.created;
        let (user, tokens) = signed_in(found);
        Ok(Response::new(v1::MintSessionResponse {
            user,
            tokens,
            created,
        }))
    }

    async fn change_password(
        &self,
        request: Request<v1::ChangePasswordRequest>,
    ) -> Result<Response<v1::ChangePasswordResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ChangePasswordRequest {
            old_password,
            new_password,
        } = request.into_inner();
        let changed = self
            .0
            .change_password(&caller, old_password, new_password)
            .await;
        changed.map_err(refused)?;
        Ok(Response::new(v1::ChangePasswordResponse {}))
    }

    async fn delete_account(
        &self,
        request: Request<v1::DeleteAccountRequest>,
    ) -> Result<Response<v1::DeleteAccountResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let password = request.into_inner().password;
        self.0
            .delete_account(&caller, password)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::DeleteAccountResponse {}))
    }
}

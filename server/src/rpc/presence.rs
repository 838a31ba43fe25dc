//! `PresenceService`.

use super::caller::{caller, refused};
use crate::domain::{Domain, Error};
use crate::frames;
use crate::gateway;
use chirm_proto::v1::{self, presence_service_server::PresenceService};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service over the use cases.
pub(super) struct Presences(pub(super) Arc<Domain>);

#[tonic::async_trait]
impl PresenceService for Presences {
    async fn set_presence(
        &self,
        request: Request<v1::SetPresenceRequest>,
    ) -> Result<Response<v1::SetPresenceResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let set = gateway::set_presence(request.into_inner());
        let set = set.map_err(|problem| refused(Error::field("status", problem)))?;
        let done = self.0.set_own_presence(&caller, set).await;
        done.map_err(refused)?;
        Ok(Response::new(v1::SetPresenceResponse {}))
    }

    async fn batch_get_presence(
        &self,
        request: Request<v1::BatchGetPresenceRequest>,
    ) -> Result<Response<v1::BatchGetPresenceResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let users = request.into_inner().user_ids;
        let presences = self.0.batch_get_presence(&caller, &users).await;
        let presences = presences.map_err(refused)?;
        Ok(Response::new(v1::BatchGetPresenceResponse {
            presences: presences.iter().map(frames::presence).collect(),
        }))
    }
}

//! `ReadStateService`.

use super::caller::{caller, refused};
use super::pages;
use crate::domain::{Domain, Error};
use crate::frames;
use crate::model::{MUTED_FOR_EVER, ReadState, UnixMs};
use chirm_proto::v1::{self, read_state_service_server::ReadStateService};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service over the use cases.
pub(super) struct ReadStates(pub(super) Arc<Domain>);

#[tonic::async_trait]
impl ReadStateService for ReadStates {
    async fn ack_message(
        &self,
        request: Request<v1::AckMessageRequest>,
    ) -> Result<Response<v1::AckMessageResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::AckMessageRequest {
            channel_id,
            message_id,
        } = request.into_inner();
        let state = self.0.ack_message(&caller, channel_id, message_id).await;
        let read_state = of(state)?;
        Ok(Response::new(v1::AckMessageResponse { read_state }))
    }

    async fn list_unread(
        &self,
        request: Request<v1::ListUnreadRequest>,
    ) -> Result<Response<v1::ListUnreadResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let after = pages::from(&request.page_token)?.unwrap_or(0);
        let (size, muted) = (request.page_size, request.include_muted);
        let page = self.0.list_unread(&caller, after, size, muted).await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListUnreadResponse {
            read_states: page.states.iter().map(frames::read_state).collect(),
            next_page_token: page
                .next
                .map(|last| pages::token(&last))
                .unwrap_or_default(),
        }))
    }

    async fn mute_channel(
        &self,
        request: Request<v1::MuteChannelRequest>,
    ) -> Result<Response<v1::MuteChannelResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::MuteChannelRequest { channel_id, until } = request.into_inner();
        let until = until.map_or(Ok(MUTED_FOR_EVER), unix_ms).map_err(refused)?;
        let read_state = of(self.0.mute_channel(&caller, channel_id, until).await)?;
        Ok(Response::new(v1::MuteChannelResponse { read_state }))
    }

    async fn unmute_channel(
        &self,
        request: Request<v1::UnmuteChannelRequest>,
    ) -> Result<Response<v1::UnmuteChannelResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let channel = request.into_inner().channel_id;
        let read_state = of(self.0.mute_channel(&caller, channel, 0).await)?;
        Ok(Response::new(v1::UnmuteChannelResponse { read_state }))
    }
}

fn of(state: Result<ReadState, Error>) -> Result<Option<v1::ReadState>, Status> {
    state
        .map(|state| Some(frames::read_state(&state)))
        .map_err(refused)
}

/// The end of a mute. Times that can't be are refused, and so is 1970-01-01T00:00Z, which would
/// stand for none.
fn unix_ms(time: prost_types::Timestamp) -> Result<UnixMs, Error> {
    let ms = time.seconds.checked_mul(1_000);
    let ms = ms.and_then(|ms| ms.checked_add(i64::from(time.nanos) / 1_000_000));
    let ms = ms.filter(|ms| (1..MUTED_FOR_EVER).contains(ms) && time.nanos >= 0);
    ms.ok_or_else(|| {
        let problem = format!("{} s; a time after 1970 is needed", time.seconds);
        Error::field("until", problem)
    })
}

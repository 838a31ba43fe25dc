//! `MessageService`.

use super::caller::{caller, refused};
use crate::domain::{CustomEvent, Domain, SendMessage};
use crate::frames;
use crate::store::Anchor;
use chirm_proto::v1::{
    self, list_messages_request::Anchor as Where, message_service_server::MessageService,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service over the use cases.
pub(super) struct Messages(pub(super) Arc<Domain>);

#[tonic::async_trait]
impl MessageService for Messages {
    async fn send_message(
        &self,
        request: Request<v1::SendMessageRequest>,
    ) -> Result<Response<v1::SendMessageResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let send = SendMessage {
            channel_id: request.channel_id,
            content: request.content,
            nonce: request.nonce,
            reply_to: request.reply_to,
            attempt: request.attempt,
            metadata: request.metadata.into_iter().collect(),
        };
        let message = self.0.send_message(&caller, send).await.map_err(refused)?;
        let message = Some(frames::message(&message));
        Ok(Response::new(v1::SendMessageResponse { message }))
    }

    async fn get_message(
        &self,
        request: Request<v1::GetMessageRequest>,
    ) -> Result<Response<v1::GetMessageResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::GetMessageRequest {
            channel_id,
            message_id,
        } = request.into_inner();
        let message = self.0.get_message(&caller, channel_id, message_id).await;
        let message = Some(frames::message(&message.map_err(refused)?));
        Ok(Response::new(v1::GetMessageResponse { message }))
    }

    async fn list_messages(
        &self,
        request: Request<v1::ListMessagesRequest>,
    ) -> Result<Response<v1::ListMessagesResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListMessagesRequest {
            channel_id,
            limit,
            anchor,
        } = request.into_inner();
        let anchor = match anchor {
            None => Anchor::Newest,
            Some(Where::Before(id)) => Anchor::Before(id),
            Some(Where::After(id)) => Anchor::After(id),
            Some(Where::Around(id)) => Anchor::Around(id),
        };
        let page = self
            .0
            .list_messages(&caller, channel_id, anchor, limit)
            .await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListMessagesResponse {
            messages: page.messages.iter().map(frames::message).collect(),
            deleted_ids: page.deleted_ids,
            has_older: page.has_older,
            has_newer: page.has_newer,
        }))
    }

    async fn edit_message(
        &self,
        request: Request<v1::EditMessageRequest>,
    ) -> Result<Response<v1::EditMessageResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::EditMessageRequest {
            channel_id,
            message_id,
            content,
        } = request.into_inner();
        let message = self
            .0
            .edit_message(&caller, channel_id, message_id, content)
            .await;
        let message = Some(frames::message(&message.map_err(refused)?));
        Ok(Response::new(v1::EditMessageResponse { message }))
    }

    async fn delete_message(
        &self,
        request: Request<v1::DeleteMessageRequest>,
    ) -> Result<Response<v1::DeleteMessageResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::DeleteMessageRequest {
            channel_id,
            message_id,
        } = request.into_inner();
        self.0
            .delete_message(&caller, channel_id, message_id)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::DeleteMessageResponse {}))
    }

    async fn start_typing(
        &self,
        request: Request<v1::StartTypingRequest>,
    ) -> Result<Response<v1::StartTypingResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let channel = request.into_inner().channel_id;
        self.0
            .start_typing(&caller, channel)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::StartTypingResponse {}))
    }

    async fn send_custom_event(
        &self,
        request: Request<v1::SendCustomEventRequest>,
    ) -> Result<Response<v1::SendCustomEventResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::SendCustomEventRequest {
            channel_id,
            name,
            data,
        } = request.into_inner();
        let event = CustomEvent {
            channel_id,
            name,
            data,
        };
        self.0
            .send_custom_event(&caller, event)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::SendCustomEventResponse {}))
    }
}

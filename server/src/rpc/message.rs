//! `MessageService`.

use super::caller::{caller, refused};
use super::pages;
use crate::domain::{CustomEvent, Domain, OnMessage, SendMessage};
use crate::frames;
use crate::model::Id;
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
            ..SendMessage::default()
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
        let (page, settled_id) = page.map_err(refused)?;
        Ok(Response::new(v1::ListMessagesResponse {
            messages: page.messages.iter().map(frames::message).collect(),
            deleted_ids: page.deleted_ids,
            has_older: page.has_older,
            has_newer: page.has_newer,
            settled_id,
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

    async fn add_reaction(
        &self,
        request: Request<v1::AddReactionRequest>,
    ) -> Result<Response<v1::AddReactionResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::AddReactionRequest {
            channel_id,
            message_id,
            emoji,
        } = request.into_inner();
        let on = on_message(channel_id, message_id, emoji);
        let reaction = self.0.add_reaction(&caller, on).await.map_err(refused)?;
        let reaction = Some(frames::reaction(&reaction));
        Ok(Response::new(v1::AddReactionResponse { reaction }))
    }

    async fn remove_reaction(
        &self,
        request: Request<v1::RemoveReactionRequest>,
    ) -> Result<Response<v1::RemoveReactionResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::RemoveReactionRequest {
            channel_id,
            message_id,
            emoji,
            user_id,
        } = request.into_inner();
        let on = on_message(channel_id, message_id, emoji);
        let reaction = self.0.remove_reaction(&caller, on, user_id).await;
        let reaction = Some(frames::reaction(&reaction.map_err(refused)?));
        Ok(Response::new(v1::RemoveReactionResponse { reaction }))
    }

    async fn clear_reactions(
        &self,
        request: Request<v1::ClearReactionsRequest>,
    ) -> Result<Response<v1::ClearReactionsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ClearReactionsRequest {
            channel_id,
            message_id,
            emoji,
        } = request.into_inner();
        let on = on_message(channel_id, message_id, emoji);
        self.0.clear_reactions(&caller, on).await.map_err(refused)?;
        Ok(Response::new(v1::ClearReactionsResponse {}))
    }

    async fn list_reactions(
        &self,
        request: Request<v1::ListReactionsRequest>,
    ) -> Result<Response<v1::ListReactionsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListReactionsRequest {
            channel_id,
            message_id,
            emoji,
            page_size,
            page_token,
        } = request.into_inner();
        let after = pages::from(&page_token)?.unwrap_or_default();
        let on = on_message(channel_id, message_id, emoji);
        let page = self.0.list_reactions(&caller, on, after, page_size).await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListReactionsResponse {
            next_page_token: pages::next(&page, |user| user.id),
            users: page.items.iter().map(frames::user).collect(),
        }))
    }

    async fn pin_message(
        &self,
        request: Request<v1::PinMessageRequest>,
    ) -> Result<Response<v1::PinMessageResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::PinMessageRequest {
            channel_id,
            message_id,
        } = request.into_inner();
        let pinned = self.0.pin_message(&caller, channel_id, message_id).await;
        pinned.map_err(refused)?;
        Ok(Response::new(v1::PinMessageResponse {}))
    }

    async fn unpin_message(
        &self,
        request: Request<v1::UnpinMessageRequest>,
    ) -> Result<Response<v1::UnpinMessageResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::UnpinMessageRequest {
            channel_id,
            message_id,
        } = request.into_inner();
        let unpinned = self.0.unpin_message(&caller, channel_id, message_id).await;
        unpinned.map_err(refused)?;
        Ok(Response::new(v1::UnpinMessageResponse {}))
    }

    async fn list_pins(
        &self,
        request: Request<v1::ListPinsRequest>,
    ) -> Result<Response<v1::ListPinsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListPinsRequest {
            channel_id,
            page_size,
            page_token,
        } = request.into_inner();
        let before = pages::from(&page_token)?.unwrap_or(Id::MAX);
        let page = self.0.list_pins(&caller, channel_id, before, page_size);
        let page = page.await.map_err(refused)?;
        Ok(Response::new(v1::ListPinsResponse {
            next_page_token: pages::next(&page, |pin| pin.id),
            pins: page.items.iter().map(frames::pin).collect(),
        }))
    }
}

fn on_message(channel_id: Id, message_id: Id, emoji: String) -> OnMessage {
    OnMessage {
        channel_id,
        message_id,
        emoji,
    }
}

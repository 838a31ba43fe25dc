//! `WebhookService`.

use super::caller::{caller, refused};
use super::mask::Mask;
use super::pages;
use crate::domain::{Domain, NewWebhook, WebhookChanges};
use crate::frames;
use crate::model::{DeadLetter, Webhook, WebhookEvent};
use crate::outgoing::SigningKey;
use chirm_proto::v1::{self, webhook_service_server::WebhookService};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service over the use cases.
pub(super) struct Webhooks(pub(super) Arc<Domain>);

/// A webhook without what signs.
fn webhook(webhook: Webhook) -> v1::Webhook {
    let events = WebhookEvent::ALL.iter();
    let events = events.filter(|event| webhook.events & event.bit() != 0);
    v1::Webhook {
        id: webhook.id,
        server_id: webhook.server_id,
        url: webhook.url,
        events: events.map(|event| event.name().to_owned()).collect(),
        enabled: webhook.enabled,
        disabled_reason: webhook.disabled_reason,
        created_at: frames::timestamp(webhook.created_at),
        queued: webhook.queued,
        dropped: webhook.dropped,
    }
}

fn secret(webhook: &Webhook) -> String {
    SigningKey::from_bytes(webhook.key.clone()).expose()
}

fn letter(letter: DeadLetter) -> v1::DeadLetter {
    let event = &letter.event;
    v1::DeadLetter {
        id: event.id,
        event_id: frames::webhook_event_id(event),
        r#type: event.event.name().to_owned(),
        place_id: event.lane,
        subject_id: event.subject_id,
        created_at: frames::timestamp(event.created_at),
        died_at: frames::timestamp(letter.died_at),
        attempts: i32::try_from(event.attempts).unwrap_or(i32::MAX),
        error: letter.error,
    }
}

#[tonic::async_trait]
impl WebhookService for Webhooks {
    async fn create_webhook(
        &self,
        request: Request<v1::CreateWebhookRequest>,
    ) -> Result<Response<v1::CreateWebhookResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::CreateWebhookRequest {
            server_id,
            url,
            events,
            request_id,
        } = request.into_inner();
        let new = NewWebhook {
            server_id,
            url,
            events,
            request_id,
        };
        let made = self.0.create_webhook(&caller, new).await.map_err(refused)?;
        Ok(Response::new(v1::CreateWebhookResponse {
            secret: secret(&made),
            webhook: Some(webhook(made)),
        }))
    }

    async fn list_webhooks(
        &self,
        request: Request<v1::ListWebhooksRequest>,
    ) -> Result<Response<v1::ListWebhooksResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListWebhooksRequest {
            server_id,
            page_size,
            page_token,
        } = request.into_inner();
        let after = pages::from(&page_token)?.unwrap_or(0);
        let page = self
            .0
            .list_webhooks(&caller, server_id, after, page_size)
            .await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListWebhooksResponse {
            next_page_token: pages::next(&page, |webhook| webhook.id),
            webhooks: page.items.into_iter().map(webhook).collect(),
        }))
    }

    async fn update_webhook(
        &self,
        request: Request<v1::UpdateWebhookRequest>,
    ) -> Result<Response<v1::UpdateWebhookResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::UpdateWebhookRequest {
            webhook_id,
            webhook: given,
            update_mask,
        } = request.into_inner();
        let given = given.unwrap_or_default();
        let mask = Mask::new(update_mask, &["url", "events", "enabled"])?;
        let (has_url, has_events) = (!given.url.is_empty(), !given.events.is_empty());
        let changes = WebhookChanges {
            url: mask.pick("url", given.url, has_url),
            events: mask.pick("events", given.events, has_events),
            enabled: mask.pick("enabled", given.enabled, given.enabled),
        };
        let changed = self.0.update_webhook(&caller, webhook_id, changes).await;
        let webhook = Some(webhook(changed.map_err(refused)?));
        Ok(Response::new(v1::UpdateWebhookResponse { webhook }))
    }

    async fn delete_webhook(
        &self,
        request: Request<v1::DeleteWebhookRequest>,
    ) -> Result<Response<v1::DeleteWebhookResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = request.into_inner().webhook_id;
        let deleted = self.0.delete_webhook(&caller, id).await;
        deleted.map_err(refused)?;
        Ok(Response::new(v1::DeleteWebhookResponse {}))
    }

    async fn rotate_webhook_secret(
        &self,
        request: Request<v1::RotateWebhookSecretRequest>,
    ) -> Result<Response<v1::RotateWebhookSecretResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = request.into_inner().webhook_id;
        let rotated = self.0.rotate_webhook_key(&caller, id).await;
        Ok(Response::new(v1::RotateWebhookSecretResponse {
            secret: secret(&rotated.map_err(refused)?),
        }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListDeadLettersRequest {
            webhook_id,
            page_size,
            page_token,
        } = request.into_inner();
        let after = pages::from(&page_token)?.unwrap_or(0);
        let page = self
            .0
            .list_dead_letters(&caller, webhook_id, after, page_size)
            .await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListDeadLettersResponse {
            next_page_token: pages::next(&page, |letter| letter.event.id),
            letters: page.items.into_iter().map(letter).collect(),
        }))
    }

    async fn redeliver_dead_letters(
        &self,
        request: Request<v1::RedeliverDeadLettersRequest>,
    ) -> Result<Response<v1::RedeliverDeadLettersResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::RedeliverDeadLettersRequest {
            webhook_id,
            letter_id,
        } = request.into_inner();
        let queued = self
            .0
            .redeliver_dead_letters(&caller, webhook_id, letter_id)
            .await;
        Ok(Response::new(v1::RedeliverDeadLettersResponse {
            redelivered: queued.map_err(refused)?,
        }))
    }
}

//! Webhooks: who may have whom told of what, and what is told.

use super::permissions::Action;
use super::servers::{check_request, request_reused};
use super::{Caller, Domain, Error, Listed, Reason, pages};
use crate::model::{
    ChannelType, DeadLetter, Id, Message, QueuedEvent, Webhook, WebhookData, WebhookEvent,
};
use crate::outgoing::{Rules, SigningKey, Target};
use futures::future::BoxFuture;
use std::sync::Arc;

/// Dead letters of a page where the caller doesn't say.
const LETTERS: u32 = 100;

/// Tells whether a user has a live session.
pub type Online = Arc<dyn Fn(Id) -> BoxFuture<'static, bool> + Send + Sync>;

/// A webhook to make.
#[derive(Clone, Debug, Default)]
pub struct NewWebhook {
    /// The server; 0 for all of them.
    pub server_id: Id,
    /// Where to.
    pub url: String,
    /// Names of events.
    pub events: Vec<String>,
    /// A UUID that makes a repeat safe, or empty.
    pub request_id: String,
}

/// What changes of a webhook.
#[derive(Clone, Debug, Default)]
pub struct WebhookChanges {
    /// Where to.
    pub url: Option<String>,
    /// Names of events.
    pub events: Option<Vec<String>>,
    /// Whether it is told anything.
    pub enabled: Option<bool>,
}

impl Domain {
    /// What webhooks may connect to.
    #[must_use]
    pub fn webhook_rules(&self) -> Rules {
        let settings = &self.config.webhooks;
        Rules {
            private: settings.allow_private,
            http: settings.allow_http,
            addresses: settings.allow_addresses.clone(),
        }
    }

    /// Makes a webhook and its signing key.
    pub async fn create_webhook(
        self: &Arc<Self>,
        caller: &Caller,
        new: NewWebhook,
    ) -> Result<Webhook, Error> {
        let request = check_request(caller, &new.request_id)?;
        let url = self.check_url(new.url, "url")?;
        let events = check_events(&new.events, "events")?;
        self.authorise_webhooks(caller, new.server_id).await?;
        self.throttle.create(caller)?;
        let webhook = Webhook {
            id: self.mint()?,
            server_id: new.server_id,
            creator_id: caller.user_id,
            url,
            events,
            enabled: true,
            disabled_reason: String::new(),
            key: SigningKey::generate().bytes().to_vec(),
            previous_key: Vec::new(),
            rotated_at: 0,
            created_at: self.now(),
            queued: 0,
            dropped: 0,
        };
        let most = self.bound(self.config.webhooks.per_server);
        self.complete(move |domain| async move {
            let wanted = (webhook.server_id, webhook.url.clone(), webhook.events);
            let made = domain.store.create_webhook(webhook, request, most).await;
            let made = made?;
            if (made.server_id, made.url.clone(), made.events) != wanted {
                return Err(request_reused());
            }
            Ok(made)
        })
        .await
    }

    /// A page of a server's webhooks (0: of those for all servers), by id, after one.
    pub async fn list_webhooks(
        &self,
        caller: &Caller,
        server: Id,
        after: Id,
        size: i32,
    ) -> Result<Listed<Webhook>, Error> {
        self.authorise_webhooks(caller, server).await?;
        let size = pages::whole(size)?;
        let webhooks = self.store.webhooks(server, after, size + 1).await?;
        Ok(pages::cut(webhooks, size))
    }

    /// Changes a webhook.
    pub async fn update_webhook(
        self: &Arc<Self>,
        caller: &Caller,
        id: Id,
        changes: WebhookChanges,
    ) -> Result<Webhook, Error> {
        let url = changes.url.map(|url| self.check_url(url, "webhook.url"));
        let url = url.transpose()?;
        let events = changes.events.map(|e| check_events(&e, "webhook.events"));
        let events = events.transpose()?;
        self.own_webhook(caller, id).await?;
        self.change_webhook(id, move |webhook| {
            webhook.url = url.unwrap_or(std::mem::take(&mut webhook.url));
            webhook.events = events.unwrap_or(webhook.events);
            if let Some(enabled) = changes.enabled {
                webhook.enabled = enabled;
                webhook.disabled_reason.clear();
            }
        })
        .await
    }

    /// Deletes a webhook with all that waits for it.
    pub async fn delete_webhook(self: &Arc<Self>, caller: &Caller, id: Id) -> Result<(), Error> {
        self.own_webhook(caller, id).await?;
        self.complete(move |domain| async move {
            let _held = domain.hold(id).await;
            if !domain.store.delete_webhook(id).await? {
                return Err(no_webhook());
            }
            Ok(())
        })
        .await
    }

    /// Gives a webhook a new signing key; the old one signs along for a day.
    pub async fn rotate_webhook_key(
        self: &Arc<Self>,
        caller: &Caller,
        id: Id,
    ) -> Result<Webhook, Error> {
        self.own_webhook(caller, id).await?;
        let now = self.now();
        self.change_webhook(id, move |webhook| {
            let key = SigningKey::generate().bytes().to_vec();
            webhook.previous_key = std::mem::replace(&mut webhook.key, key);
            webhook.rotated_at = now;
        })
        .await
    }

    /// A page of what a webhook didn't take, by id, after one.
    pub async fn list_dead_letters(
        &self,
        caller: &Caller,
        id: Id,
        after: Id,
        size: i32,
    ) -> Result<Listed<DeadLetter>, Error> {
        let size = pages::size(size, LETTERS)?;
        self.own_webhook(caller, id).await?;
        let letters = self.store.dead_letters(id, after, size + 1).await?;
        Ok(pages::cut(letters, size))
    }

    /// Queues a dead letter anew, or with 0 all of a webhook's. Answers how many.
    pub async fn redeliver_dead_letters(
        self: &Arc<Self>,
        caller: &Caller,
        id: Id,
        letter: Id,
    ) -> Result<i64, Error> {
        if letter < 0 {
            return Err(Error::field("letter_id", "negative; an id is positive"));
        }
        self.own_webhook(caller, id).await?;
        let now = self.now();
        self.complete(move |domain| async move {
            let mut all = 0;
            loop {
                let queued = domain.store.requeue(id, letter, now).await?;
                all += i64::from(queued);
                if letter != 0 && queued == 0 {
                    return Err(Error::not_found("dead letter"));
                }
                if letter != 0 || queued == 0 {
                    return Ok(all);
                }
            }
        })
        .await
    }

    /// Switches a webhook off because its receiver said that it is gone.
    pub async fn disable_webhook(self: &Arc<Self>, id: Id, why: &str) -> Result<(), Error> {
        let why = why.to_owned();
        let changed = self.change_webhook(id, move |webhook| {
            webhook.enabled = false;
            webhook.disabled_reason = why;
        });
        changed.await.map(drop)
    }

    /// What is told of an event, as it is now, and of which server; None: nothing any more.
    pub async fn webhook_data(
        &self,
        event: &QueuedEvent,
        online: &Online,
    ) -> Result<Option<(Id, WebhookData)>, Error> {
        let (place, subject) = (event.lane, event.subject_id);
        Ok(match event.event {
            WebhookEvent::MessageCreated
            | WebhookEvent::MessageUpdated
            | WebhookEvent::MessageDeleted => {
                let server = self.channel_of(place).await?.map_or(0, |c| c.server_id);
                let message = self.store.get(place, subject).await?;
                let message = message.unwrap_or_else(|| Message {
                    id: subject,
                    channel_id: place,
                    deleted: true,
                    ..Message::default()
                });
                Some((server, WebhookData::Message(message)))
            }
            WebhookEvent::MemberJoined | WebhookEvent::MemberLeft => {
                let joined = event.event == WebhookEvent::MemberJoined;
                let member = self.store.member(place, subject).await?;
                let account = self.store.account(subject).await?;
                let user = account.map(|account| account.user);
                let user = user.filter(|user| !user.deleted);
                let member = member.filter(|_| joined);
                let data = WebhookData::Member(member, (place, subject), user);
                Some((place, data))
            }
            WebhookEvent::RecipientOffline => self.recipients(place, subject, online).await?,
        })
    }

    /// A message and those whom it is for, who may see it and aren't here.
    async fn recipients(
        &self,
        channel: Id,
        message: Id,
        online: &Online,
    ) -> Result<Option<(Id, WebhookData)>, Error> {
        let found = self.store.get(channel, message).await?;
        let Some(message) = found.filter(|message| !message.deleted) else {
            return Ok(None);
        };
        let Some(channel) = self.channel_of(channel).await? else {
            return Ok(None);
        };
        let candidates = match channel.kind {
            ChannelType::Direct => &channel.member_ids,
            _ => &message.mentions,
        };
        let mut away = Vec::new();
        for user in candidates {
            let other = *user != message.author_id;
            if other && self.can_see_channel(*user, channel.id).await? && !online(*user).await {
                away.push(*user);
            }
        }
        let any = !away.is_empty();
        let data = any.then_some(WebhookData::Recipients(message, away));
        Ok(data.map(|data| (channel.server_id, data)))
    }

    fn check_url(&self, url: String, path: &'static str) -> Result<String, Error> {
        let bytes = url.len();
        Target::parse(&url, &self.webhook_rules())
            .map(|_| url)
            .map_err(|problem| Error::field(path, format!("{bytes} bytes; it {problem}")))
    }

    async fn authorise_webhooks(&self, caller: &Caller, server: Id) -> Result<(), Error> {
        if server == 0 {
            return caller.require_admin();
        }
        self.authorise_server(caller, server, Action::ManageWebhooks)
            .await
            .map(drop)
    }

    /// Refuses what isn't a webhook, or isn't the caller's to manage: the same answer.
    async fn own_webhook(&self, caller: &Caller, id: Id) -> Result<(), Error> {
        let webhook = self.store.webhook(id).await?.ok_or_else(no_webhook)?;
        let hidden = [
            Reason::KeyRequired,
            Reason::PermissionDenied,
            Reason::NotFound,
        ];
        match self.authorise_webhooks(caller, webhook.server_id).await {
            Err(refusal) if hidden.contains(&refusal.reason) => Err(no_webhook()),
            other => other,
        }
    }

    async fn change_webhook(
        self: &Arc<Self>,
        id: Id,
        change: impl FnOnce(&mut Webhook) + Send + 'static,
    ) -> Result<Webhook, Error> {
        self.complete(move |domain| async move {
            let _held = domain.hold(id).await;
            let webhook = domain.store.webhook(id).await?;
            let mut webhook = webhook.ok_or_else(no_webhook)?;
            change(&mut webhook);
            domain.store.update_webhook(webhook.clone()).await?;
            Ok(webhook)
        })
        .await
    }
}

fn no_webhook() -> Error {
    Error::not_found("webhook")
}

/// The bits of a list of names.
fn check_events(names: &[String], path: &'static str) -> Result<u32, Error> {
    let (count, most) = (names.len(), WebhookEvent::ALL.len());
    if count == 0 || count > most {
        let problem = format!("{count} events; 1 to {most} are allowed");
        return Err(Error::field(path, problem));
    }
    let mut events = 0;
    for name in names {
        let event = WebhookEvent::from_name(name).ok_or_else(|| {
            let known = WebhookEvent::ALL.iter().map(|event| event.name());
            let known: Vec<_> = known.collect();
            let problem = format!("{} bytes that are none of {}", name.len(), known.join(", "));
            Error::field(path, problem)
        })?;
        events |= event.bit();
    }
    Ok(events)
}

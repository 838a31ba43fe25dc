//! Traffic that others are told of.

use super::*;
use crate::bus::{SetPresence, Whose};
use crate::domain::{Domain, OnMessage, SendMessage};
use crate::model::Status;

/// A message that is to be sent.
pub(super) struct Draft {
    author: usize,
    channel: Id,
    text: usize,
}

impl Play {
    /// A new text: its number and what is in it.
    fn text(&mut self) -> (usize, String) {
        let (text, mentioned) = (self.texts.len(), self.rng.random_range(0..USERS));
        self.texts.push(Text {
            message: 0,
            mentioned,
        });
        let whom = self.ids[mentioned];
        (text, format!("text {text} <@{whom}> <@&moderator>"))
    }

    fn any_channel(&mut self) -> Id {
        let channels = self.truth.channels();
        channels[self.rng.random_range(0..channels.len())]
    }

    /// Sends something, anywhere. What its author may not do is refused.
    fn send(
        &mut self,
        author: usize,
        channel_id: Id,
    ) -> impl Future<Output = Option<(Draft, Id)>> + use<> {
        let (text, content) = self.text();
        let draft = Draft {
            author,
            channel: channel_id,
            text,
        };
        let send = SendMessage {
            channel_id,
            content,
            ..SendMessage::default()
        };
        let (domain, caller) = (self.node.domain.clone(), self.caller(author));
        async move {
            let sent = domain.send_message(&caller, send).await;
            sent.ok().map(|message| (draft, message.id))
        }
    }

    /// Some messages at once, while something changes: so nobody knows which of them are refused.
    pub(super) fn burst(&mut self) -> impl Future<Output = Vec<Option<(Draft, Id)>>> + use<> {
        let count = self.rng.random_range(0..4);
        let mut sends = Vec::new();
        for _ in 0..count {
            let author = self.rng.random_range(0..USERS);
            let channel = self.any_channel();
            sends.push(self.send(author, channel));
        }
        futures::future::join_all(sends)
    }

    /// Takes in what was sent since a moment, before what is as `next`.
    pub(super) fn said(&mut self, next: &mut Truth, said: (Draft, Id), began: Instant) {
        let (draft, message) = said;
        self.texts[draft.text].message = message;
        self.authors.insert(message, draft.author);
        next.texts.insert(draft.text, (draft.channel, message));
        let text = Thing::Text(draft.text);
        self.seen.note(Who::Anyone, text, began, true);
        let place = Thing::Channel(draft.channel);
        let truths = [&self.truth, &*next];
        for event in [WebhookEvent::MessageCreated, WebhookEvent::RecipientOffline] {
            self.webhooks.happened(&truths, event, place, message);
        }
    }

    /// Something that others are told of.
    pub(super) async fn traffic(&mut self) {
        let user = self.rng.random_range(0..USERS);
        let channel_id = self.any_channel();
        let caller = self.caller(user);
        let domain = self.node.domain.clone();
        let here = self
            .truth
            .texts
            .values()
            .filter(|(of, _)| *of == channel_id);
        let last = here.map(|(_, message)| *message).max().unwrap_or(1);
        match self.rng.random_range(0..9) {
            0 => drop(domain.start_typing(&caller, channel_id).await),
            1 => {
                let on = OnMessage {
                    channel_id,
                    message_id: last,
                    emoji: "+1".into(),
                };
                drop(domain.add_reaction(&caller, on).await);
            }
            2 => drop(domain.pin_message(&caller, channel_id, last).await),
            3 => self.rewrite(domain).await,
            4 => {
                let statuses = [Status::Idle, Status::Online, Status::DoNotDisturb];
                let set = SetPresence {
                    status: Some(statuses[self.rng.random_range(0..3)]),
                    text: None,
                };
                let whose = Whose::Credential(caller.session_id);
                drop(domain.set_presence(&caller, whose, set).await);
            }
            5 if self.rng.random_bool(0.6) => self.come_or_go(user).await,
            _ => {
                let began = Instant::now();
                let may = self.may_see(user, channel_id);
                let sent = self.send(user, channel_id).await;
                assert_eq!(sent.is_some(), may, "user {user} in channel {channel_id}");
                if let Some(sent) = sent {
                    let mut next = self.truth.clone();
                    self.said(&mut next, sent, began);
                    self.truth = next;
                }
            }
        }
    }

    /// Whoever sees one of these channels may write in it.
    fn may_see(&self, user: usize, channel: Id) -> bool {
        let things = self.truth.things(Who::User(user));
        things.contains(&Thing::Channel(channel))
    }

    /// An author edits one of its latest messages, or deletes it.
    async fn rewrite(&mut self, domain: Arc<Domain>) {
        let latest: Vec<_> = self.truth.texts.iter().rev().take(8).collect();
        if latest.is_empty() {
            return;
        }
        let chosen = latest[self.rng.random_range(0..latest.len())];
        let (old, (channel, message)) = (*chosen.0, *chosen.1);
        let author = self.authors[&message];
        let caller = self.caller(author);
        let may = self.may_see(author, channel);
        let place = Thing::Channel(channel);
        if self.rng.random_bool(0.5) {
            let delete = async { domain.delete_message(&caller, channel, message).await };
            if !may {
                return assert!(delete.await.is_err());
            }
            let gone = |truth: &mut Truth| {
                truth.texts.remove(&old);
            };
            self.change(gone, delete).await;
            self.happened(WebhookEvent::MessageDeleted, place, message);
            return;
        }
        let (text, content) = self.text();
        let edit = async {
            domain
                .edit_message(&caller, channel, message, content)
                .await
        };
        if !may {
            return assert!(edit.await.is_err());
        }
        self.texts[text].message = message;
        let edited = |truth: &mut Truth| {
            truth.texts.remove(&old);
            truth.texts.insert(text, (channel, message));
        };
        self.change(edited, edit).await;
        self.happened(WebhookEvent::MessageUpdated, place, message);
    }
}

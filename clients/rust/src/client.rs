//! The handle that a program holds.

use crate::{
    config::{Config, Looking, SendOptions},
    driver::{self, Command, Shared},
    error::Error,
    event::{Events, Held, Stats},
    machine::channel_topic,
    outbox::OutboxEntry,
};
use chirm_proto::v1;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that may wait for the connection's task.
const COMMANDS_MAX: usize = 256;
/// Characters of the words of a presence.
const PRESENCE_TEXT_MAX: usize = 128;

/// A connection that stays: it connects, and connects again, until it is closed or told by the
/// server to stop. Clones are cheap and share it; it ends when the last is dropped.
#[derive(Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// Whether a connection got ready.
#[derive(Clone, Debug)]
pub(crate) enum Readiness {
    Pending,
    Ready,
    /// It won't, unless something changes.
    Failed(Error),
}

impl Client {
    /// Starts the connection's task. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(config: Config) -> (Self, Events) {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (items_in, items) = mpsc::channel(config.event_buffer.max(1));
        let holdings = Arc::new(Mutex::new(kept(&config)));
        let (readiness, _) = watch::channel(Readiness::Pending);
        let (done, _) = watch::channel(false);
        let shared = Arc::new(Shared {
            readiness,
            done,
            holdings: holdings.clone(),
            stats: Mutex::default(),
            outbox: config.outbox.clone(),
        });
        tokio::spawn(driver::run(config, received, items_in, shared.clone()));
        (Self { commands, shared }, Events { items, holdings })
    }

    /// Waits until a connection has got ready for the first time.
    ///
    /// # Errors
    /// If it can't without a change: the token was refused, or the server said to stop.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut readiness = self.shared.readiness.subscribe();
        let settled = readiness
            .wait_for(|r| !matches!(r, Readiness::Pending))
            .await;
        match settled.as_deref() {
            Ok(Readiness::Ready) => Ok(()),
            Ok(Readiness::Failed(error)) => Err(error.clone()),
            Ok(Readiness::Pending) | Err(_) => Err(Error::closed()),
        }
    }

    /// Sends a message and waits for the server's acknowledgement: then it is durable. It is kept
    /// in the outbox and repeated, over connections, under the same nonce until it is
    /// acknowledged or refused for good. Dropping the future doesn't take the message back.
    ///
    /// The answer comes by the connection, so a program must go on taking its [`Events`] (or have
    /// dropped them) while it waits.
    ///
    /// # Errors
    /// If the outbox is full, the message was refused, or the client was closed before an answer:
    /// then the message may have been sent, and the outbox's store still has it.
    pub async fn send(
        &self,
        channel_id: i64,
        content: &str,
        options: SendOptions,
    ) -> Result<v1::Message, Error> {
        let nonce = options
            .nonce
            .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let request = v1::SendMessageRequest {
            channel_id,
            content: content.to_owned(),
            nonce: nonce.clone(),
            reply_to: options.reply_to,
            attempt: 0,
            metadata: options.metadata,
        };
        let entry = OutboxEntry { nonce, request };
        // The place is taken first: between the store and the task nothing can go wrong then.
        let commands = self.commands.clone();
        let place = commands
            .reserve_owned()
            .await
            .map_err(|_| Error::closed())?;
        let (answer, answered) = oneshot::channel();
        let outbox = self.shared.outbox.clone();
        let mut put = Box::pin(async move {
            outbox.put(&entry).await?;
            place.send(Command::Send { entry, answer });
            Ok::<_, Error>(())
        });
        match futures::poll!(&mut put) {
            Poll::Ready(stored) => stored?,
            // A task of its own goes on when this future is dropped: the store would have a message
            // that nobody sends.
            Poll::Pending => tokio::spawn(put).await.map_err(Error::config)??,
        }
        answered.await.map_err(|_| Error::closed())?
    }

    /// Says which channels the user looks at; replaces what was said before.
    pub fn view(&self, channels: Vec<i64>) {
        self.command(Command::View(channels));
    }

    /// Says which parts of member lists and which users the user looks at; replaces what was said
    /// before.
    pub fn look(&self, looking: Looking) {
        self.command(Command::Look(looking));
    }

    /// Sets the status to appear with, and the user's own words (at most 128 characters; `None`
    /// leaves them as they are). Both are said again on each new connection.
    ///
    /// # Errors
    /// If the status is OFFLINE (INVISIBLE is what hides) or the text too long; nothing is said.
    pub fn set_presence(
        &self,
        status: v1::PresenceStatus,
        text: Option<String>,
    ) -> Result<(), Error> {
        if status == v1::PresenceStatus::Offline {
            return Err(Error::config(
                "OFFLINE is shown, never set; INVISIBLE is what hides",
            ));
        }
        let chars = text.as_deref().map_or(0, |text| text.chars().count());
        if chars > PRESENCE_TEXT_MAX {
            let most = PRESENCE_TEXT_MAX;
            return Err(Error::config(format!(
                "text: {chars} characters; at most {most} are allowed"
            )));
        }
        self.command(Command::SetPresence(status, text));
        Ok(())
    }

    /// The positions of what the program has taken from [`Events`]: what to keep for a later run,
    /// together with [`Client::last_ids`]. A topic whose history is being paged has none. With
    /// `Events` dropped they stay as they were.
    #[must_use]
    pub fn positions(&self) -> Vec<v1::TopicPosition> {
        let mut positions: Vec<_> = self
            .holdings()
            .iter()
            .filter(|(_, held)| held.position.is_some())
            .map(|(topic, held)| v1::TopicPosition {
                topic: Some(*topic),
                position: held.position,
            })
            .collect();
        positions.sort_by_key(|p| p.topic.map(|t| (t.kind, t.id)));
        positions
    }

    /// Of each channel, `(channel, message)`: up to which message's id the program has taken all
    /// from [`Events`] since its time in the channel began. That is its newest message there, or
    /// before the first, where its time began: the channel's last message at the time, or 0. For
    /// [`Config::last_ids`] of a later run, which without them misses what came to a channel that
    /// had no message yet. They never run ahead of what was taken, as positions don't; a channel
    /// that is no longer visible has none.
    #[must_use]
    pub fn last_ids(&self) -> Vec<(i64, i64)> {
        let mut last_ids: Vec<_> = self
            .holdings()
            .iter()
            .filter_map(|(topic, held)| Some((topic.id, held.last_id?)))
            .collect();
        last_ids.sort_unstable();
        last_ids
    }

    fn holdings(&self) -> MutexGuard<'_, HashMap<v1::Topic, Held>> {
        let holdings = self.shared.holdings.lock();
        holdings.unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses another token that lasts, a bot's or a service key, for calls from now on and for the
    /// next connection. A client that waits for one connects. What renewed the token before doesn't
    /// any more, but for a [`crate::TokenSource`].
    pub fn set_token(&self, token: String) {
        self.set_tokens(v1::Tokens {
            access_token: token,
            ..v1::Tokens::default()
        });
    }

    /// Uses other tokens: what signing in anew gave.
    pub fn set_tokens(&self, tokens: v1::Tokens) {
        self.command(Command::SetTokens(tokens));
    }

    /// Drops the connection without a goodbye, as a network would. The client then connects again
    /// with its positions.
    pub fn cut(&self) {
        self.command(Command::Cut);
    }

    /// Counts since the client started.
    #[must_use]
    pub fn stats(&self) -> Stats {
        *self
            .shared
            .stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection and waits until it has.
    pub async fn close(self) {
        let mut done = self.shared.done.subscribe();
        if self.commands.send(Command::Close).await.is_ok() {
            // An error means that the task is gone: as good as done.
            let _ended = done.wait_for(|done| *done).await;
        }
    }

    fn command(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(command)) = self.commands.try_send(command) {
            let commands = self.commands.clone();
            // Rare: the task is busy with sends. Commands without an answer mustn't be lost.
            tokio::spawn(async move { commands.send(command).await.ok() });
        }
    }
}

/// What an earlier run left.
fn kept(config: &Config) -> HashMap<v1::Topic, Held> {
    let mut holdings = HashMap::<_, Held>::new();
    for p in &config.positions {
        if let (Some(topic), Some(position)) = (p.topic, p.position) {
            holdings.entry(topic).or_default().position = Some(position);
        }
    }
    for (channel, last_id) in &config.last_ids {
        let held = holdings.entry(channel_topic(*channel)).or_default();
        held.last_id.get_or_insert(*last_id);
    }
    holdings
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

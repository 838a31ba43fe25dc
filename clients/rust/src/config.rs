//! What a program says about its connection and its sends.

use crate::{
    outbox::{MemoryOutbox, OutboxStore},
    tokens::TokenSource,
};
use chirm_proto::v1;
use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How a client connects and what it asks for. [`Config::new`] has the defaults.
#[derive(Clone)]
pub struct Config {
    /// `http://host:port` or `https://host:port`.
    pub server: String,
    /// An access token, a bot's token or a service key. Never shown by `Debug`.
    pub token: String,
    /// Buys new tokens before `token` ends and when it is refused; the program gets them as
    /// [`crate::Event::TokensRenewed`]. Empty (the default): nothing does. Never shown by `Debug`.
    pub refresh_token: String,
    /// When `token` ends: it is renewed shortly before. If that isn't known (the default), it is
    /// when the server refuses it.
    pub token_expires_at: Option<SystemTime>,
    /// Gives new tokens in place of `refresh_token`.
    pub token_source: Option<Arc<dyn TokenSource>>,
    /// Which channels' events to receive: all (the default), or those viewed.
    pub delivery: v1::Delivery,
    /// The channels viewed from the start: at most 100.
    pub viewed: Vec<i64>,
    /// The parts of member lists and the users looked at from the start: of at most 10 servers, 5
    /// parts of 100 places each, and at most 100 users.
    pub looking: Looking,
    /// The status to appear with: ONLINE by default. It is kept over connections, until
    /// [`crate::Client::set_presence`] changes it.
    pub presence: v1::PresenceStatus,
    /// Names the device, at most 100 characters; a newer connection of the same device and user
    /// ends the older. Empty (the default): nothing is ended.
    pub device: String,
    /// What else to receive: typing, presence, custom events.
    pub intents: Vec<v1::Intent>,
    /// Positions held from an earlier run, as [`crate::Client::positions`] gave them.
    pub positions: Vec<v1::TopicPosition>,
    /// Up to which message all is held of channels from an earlier run, as
    /// [`crate::Client::last_ids`] gave them: they belong to the positions. A gap in such a channel
    /// is paged from there: edits and deletions of older messages in it don't come. What the
    /// earlier run had beyond its positions comes again: a program that keeps messages compares
    /// their ids.
    pub last_ids: Vec<(i64, i64)>,
    /// Whether a channel that was never seen is paged from its first message. By default its
    /// messages begin with the connection.
    pub history: bool,
    /// How long to wait between attempts to connect, and to repeat a send or a page.
    pub backoff: Backoff,
    /// Where sends are kept until they are answered. In memory by default, at most 1,024.
    pub outbox: Arc<dyn OutboxStore>,
    /// Uses `Listen` instead of `Session`, as a browser must: sends go by unary calls, there are no
    /// heartbeats (HTTP/2 pings tell whether the server lives), and viewing connects anew.
    pub listen_only: bool,
    /// What the stream of events comes by. gRPC by default. Unary calls go by gRPC anyway.
    pub carrier: Carrier,
    /// How many events may wait for the program: 1,024 by default. While it is full nothing more
    /// is read from the server.
    pub event_buffer: usize,
    /// The only certificates to trust for `https`, as PEM; without, those that the system trusts
    /// (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).
    pub ca_pem: Option<String>,
    /// Hears each frame as it goes and as it comes, before the client does anything with it: for
    /// logs and checks. It must not block.
    pub tap: Option<Tap>,
}

/// What a user looks at besides channels. Presences need [`v1::Intent::Presence`] among
/// [`Config::intents`]; parts of member lists come anyway, as [`crate::Event::MemberList`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Looking {
    /// Parts of member lists.
    pub lists: Vec<v1::MemberListView>,
    /// Users whose presence is wanted wherever they are seen.
    pub users: Vec<i64>,
}

/// What the stream of events comes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Carrier {
    /// HTTP/2 and protobuf.
    #[default]
    Grpc,
    /// WebSocket with binary messages, in cleartext: `http://` alone.
    #[cfg(feature = "websocket")]
    WebSocket,
    /// WebSocket with JSON, in cleartext.
    #[cfg(feature = "websocket")]
    WebSocketJson,
    /// gRPC-Web over HTTP/1.1, in cleartext: needs [`Config::listen_only`].
    #[cfg(feature = "grpc-web")]
    GrpcWeb,
}

/// See [`Config::tap`].
pub type Tap = Arc<dyn Fn(Tapped<'_>) + Send + Sync>;

/// A frame on its way.
#[derive(Clone, Copy, Debug)]
pub enum Tapped<'a> {
    /// To the server. `identify` has a token in it.
    Sent(&'a v1::client_frame::Frame),
    /// From the server.
    Received(&'a v1::server_frame::Frame),
}

impl Config {
    /// The defaults, for a server and a token.
    #[must_use]
    pub fn new(server: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            token: token.into(),
            refresh_token: String::new(),
            token_expires_at: None,
            token_source: None,
            delivery: v1::Delivery::All,
            viewed: Vec::new(),
            looking: Looking::default(),
            presence: v1::PresenceStatus::Unspecified,
            device: String::new(),
            intents: Vec::new(),
            positions: Vec::new(),
            last_ids: Vec::new(),
            history: false,
            backoff: Backoff::default(),
            outbox: Arc::new(MemoryOutbox::default()),
            listen_only: false,
            carrier: Carrier::default(),
            event_buffer: 1024,
            ca_pem: None,
            tap: None,
        }
    }

    /// The defaults, for a server and what signing in gave: tokens are renewed as they end.
    #[must_use]
    pub fn signed_in(server: impl Into<String>, tokens: v1::Tokens) -> Self {
        let mut config = Self::new(server, "");
        config.set_tokens(tokens);
        config
    }

    pub(crate) fn set_tokens(&mut self, tokens: v1::Tokens) {
        self.token = tokens.access_token;
        self.refresh_token = tokens.refresh_token;
        let at = tokens.access_expires_at;
        self.token_expires_at = at.and_then(|at| SystemTime::try_from(at).ok());
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("server", &self.server)
            .field("delivery", &self.delivery)
            .field("viewed", &self.viewed)
            .field("looking", &self.looking)
            .field("device", &self.device)
            .field("positions", &self.positions.len())
            .field("history", &self.history)
            .field("backoff", &self.backoff)
            .field("listen_only", &self.listen_only)
            .field("carrier", &self.carrier)
            .finish_non_exhaustive()
    }
}

/// Full jitter: the n-th wait is anywhere between nothing and `base × 2ⁿ`, never above `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait's upper end: 0.5 s by default.
    pub base: Duration,
    /// No wait is longer: 60 s by default.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            max: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The upper end of the wait after `failures` failures.
    #[must_use]
    pub fn ceiling(&self, failures: u32) -> Duration {
        self.base
            .saturating_mul(2_u32.saturating_pow(failures.min(31)))
            .min(self.max)
    }
}

/// What may go with a message.
#[derive(Clone, Debug, Default)]
pub struct SendOptions {
    /// The message of the same channel that this one answers; 0 for none.
    pub reply_to: i64,
    /// A UUID as text that names the message over all its repeats; made if absent.
    pub nonce: Option<String>,
    /// What the integrator attaches: at most 16 keys, 4 KiB in all.
    pub metadata: HashMap<String, String>,
}

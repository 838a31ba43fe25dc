//! The settings of a node: compiled-in defaults, a TOML file, the environment, flags.
//!
//! `config.default.toml` holds every key with its default and its meaning for operators. A value
//! is looked up in the overrides given to [`Config::load`], then in environment variables
//! (`CHIRM__SECTION__KEY`), then in the file, then in the defaults. An unknown key anywhere is an
//! error that names it, so that a misspelt limit is never silently the default.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chirm_bridge_ws::Origins;
use serde::{Deserialize, Serialize};

mod check;
mod durations;
mod hooks;
mod lists;
mod stack;
#[cfg(test)]
mod tests;
mod traces;
mod webhooks;

pub use hooks::{HookFailure, Hooks, PreSend};

pub use chirm_net::{Net, Tls};
pub use stack::{Cql, Nats, Postgres, Redis};
pub use traces::Tracing;
pub use webhooks::Webhooks;

use chirm_net::millis;
use durations::seconds;

/// The file of defaults, with each key's meaning.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Why the settings could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source could not be read or parsed, has an unknown key, or a value of the wrong kind.
    #[error("configuration: {0}")]
    Source(#[from] ::config::ConfigError),
    /// A value is of the right kind but makes no sense.
    #[error("configuration: {key}: {problem}")]
    Value {
        /// The key, with its section.
        key: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
}

/// Everything that an operator can set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The folder of the embedded store.
    pub data: PathBuf,
    /// What tells this cluster's state apart from others' in the same servers: a schema of
    /// Postgres, a keyspace of CQL, a prefix of Redis's keys and of NATS's subjects.
    pub namespace: String,
    /// Users, servers, channels, members.
    pub postgres: Postgres,
    /// Messages.
    pub cql: Cql,
    /// Topics, presence, reservations.
    pub redis: Redis,
    /// The way of topics' events between nodes, if not by Redis.
    pub nats: Nats,
    /// Trying things out: [`Limits::enabled`] is false then, whatever else was said.
    pub dev: bool,
    /// Where AdminService listens; `chirm serve` has a default of its own. In cleartext on
    /// loopback, by TLS elsewhere.
    pub admin_listen: Option<SocketAddr>,
    /// How much of everything clients may ask for.
    pub limits: Limits,
    /// Times of gateway streams.
    pub gateway: Gateway,
    /// Whose pages may connect.
    pub browsers: Browsers,
    /// Accounts and tokens.
    pub auth: Auth,
    /// Services that are asked.
    #[serde(default)]
    pub hooks: Hooks,
    /// Certificate and key; none: cleartext.
    pub tls: Option<Tls>,
    /// What webhooks may do.
    pub webhooks: Webhooks,
    /// Times and buffers of connections.
    pub net: Net,
    /// What is logged, and how.
    pub log: Log,
    /// Traces of sends.
    pub tracing: Tracing,
}

/// How much of everything clients may ask for. Sizes are bytes, the rest counts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// False switches off what limits *rates and counts*: frames, sends, connections, and the
    /// numbers of servers, channels, members and sessions. Sizes of input hold all the same.
    pub enabled: bool,
    /// Characters of a message's content.
    pub content_chars_max: usize,
    /// Bytes of a message's content.
    pub content_bytes_max: usize,
    /// Characters of a name.
    pub name_chars_max: usize,
    /// Keys of a metadata map.
    pub metadata_keys_max: usize,
    /// Bytes of a metadata map, keys and values together.
    pub metadata_bytes_max: usize,
    /// Bytes of a custom event's payload.
    pub custom_event_bytes_max: usize,
    /// Bytes of a request or client frame.
    pub request_bytes_max: usize,
    /// Bytes of a stream's first frame.
    pub identify_bytes_max: usize,
    /// Positions that an `identify` may present.
    pub positions_max: usize,
    /// Bytes of all header fields of a request.
    pub header_bytes_max: u32,
    /// Concurrent HTTP/2 streams of a connection.
    pub streams_per_connection: u32,
    /// Requests of a connection that are answered at once, the gateway's streams aside. Those
    /// beyond wait until an answer was taken.
    pub requests_per_connection: usize,
    /// Unary calls that the node answers at once; those beyond are refused. Holds even with the
    /// limits off.
    pub calls: usize,
    /// Resets of a connection's streams for the client's own errors, before it is closed.
    pub local_error_resets: usize,
    /// Streams reset before they were accepted, before the connection is closed.
    pub pending_resets: usize,
    /// HTTP/2 flow control window of a stream.
    pub stream_window_bytes: u32,
    /// HTTP/2 flow control window of a connection.
    pub connection_window_bytes: u32,
    /// Events waiting for one session.
    pub outbound_queue_events: usize,
    /// Bytes waiting for one session.
    pub outbound_queue_bytes: usize,
    /// Frames of a client on a stream in a minute.
    pub client_frames_per_minute: u32,
    /// Sends of a user to a channel in [`Limits::send_window`].
    pub sends_per_window: u32,
    /// The window of [`Limits::sends_per_window`].
    #[serde(rename = "send_window_ms", with = "millis")]
    pub send_window: Duration,
    /// Unary calls of a user in a minute.
    pub calls_per_minute: u32,
    /// What a user makes and joins in a minute: servers, channels, invitations, bots, reports.
    pub creates_per_minute: u32,
    /// Service accounts may do so many times the rates.
    pub service_factor: u32,
    /// Servers that a user may be in.
    pub servers_per_user: u32,
    /// Channels of a server.
    pub channels_per_server: u32,
    /// Members of a server.
    pub members_per_server: u32,
    /// Direct channels that a user may make; [`Limits::service_factor`] times that for services.
    pub direct_channels_per_user: u32,
    /// Sessions of a user.
    pub sessions_per_user: u32,
    /// Bots of a user; [`Limits::service_factor`] times that of a service key.
    pub bots_per_user: u32,
    /// Reports of a server that are open.
    pub open_reports_per_server: u32,
    /// Those of one user among them; [`Limits::service_factor`] times that for services.
    pub open_reports_per_user: u32,
    /// Days that entries of audit logs, and closed reports, are kept.
    pub audit_days: u32,
    /// Connections of one address.
    pub connections_per_address: usize,
    /// Connections in all; holds even with the limits off.
    pub connections: usize,
    /// Events in a topic's ring.
    pub ring_events: usize,
    /// Bytes in a topic's ring.
    pub ring_bytes: usize,
    /// How long an event stays in a topic's ring.
    #[serde(rename = "ring_age_ms", with = "millis")]
    pub ring_age: Duration,
}

/// Times of gateway streams.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// How often a client sends a heartbeat.
    #[serde(rename = "heartbeat_ms", with = "millis")]
    pub heartbeat: Duration,
    /// A client silent for so long is closed.
    #[serde(rename = "deadline_ms", with = "millis")]
    pub deadline: Duration,
    /// How long after its last session a user is shown offline.
    #[serde(rename = "grace_ms", with = "millis")]
    pub grace: Duration,
    /// From accept to the first request; from a stream's start to its `identify`.
    #[serde(rename = "identify_deadline_ms", with = "millis")]
    pub identify_deadline: Duration,
    /// Over how long the goodbyes of a drain are spread.
    #[serde(rename = "drain_ms", with = "millis")]
    pub drain: Duration,
}

/// Whose pages may connect: by WebSocket, gRPC-Web and REST.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Browsers {
    /// Origins, as `https://app.example.com`, or `*` for all. Pages that came from this server may
    /// always; with [`Config::dev`] all may. In the environment separated by commas.
    #[serde(deserialize_with = "lists::names")]
    pub allowed_origins: Vec<String>,
    /// Whether the page to try a server with is served at `/`.
    pub page: bool,
}

/// Accounts and tokens.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Who may register.
    pub registration: Registration,
    /// Life of an access token.
    #[serde(rename = "access_ttl_s", with = "seconds")]
    pub access_ttl: Duration,
    /// Life of a refresh token.
    #[serde(rename = "refresh_ttl_s", with = "seconds")]
    pub refresh_ttl: Duration,
    /// Tokens that an integrator signed.
    pub jwt: Jwt,
}

/// Who may register an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Anyone.
    Open,
    /// Whoever holds an invite to a server.
    Invite,
    /// No one; accounts are made by operators and by ExchangeToken.
    Closed,
}

/// Tokens that an integrator signed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// Keys named one by one.
    #[serde(default)]
    pub keys: Vec<JwtKey>,
    /// A JSON Web Key Set.
    pub jwks_file: Option<PathBuf>,
    /// The required `aud` claim; not empty when [`Jwt::is_enabled`].
    pub audience: String,
    /// The required `iss` claim; empty: any.
    pub issuer: String,
    /// How far the clocks may be apart.
    #[serde(rename = "leeway_s", with = "seconds")]
    pub leeway: Duration,
}

impl Jwt {
    /// Whether there is any key to check a token with.
    pub fn is_enabled(&self) -> bool {
        !self.keys.is_empty() || self.jwks_file.is_some()
    }
}

/// A key that an integrator signs with.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JwtKey {
    /// Names the key in a token's header; unique.
    pub kid: String,
    /// The only algorithm that the key is used with.
    pub algorithm: JwtAlgorithm,
    /// PEM of the public key, or HS256's secret. Either this or [`JwtKey::key_file`] is set.
    pub key: Option<Secret>,
    /// A file that holds it.
    pub key_file: Option<PathBuf>,
}

/// How an integrator signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum JwtAlgorithm {
    /// ECDSA on P-256.
    ES256,
    /// Ed25519.
    EdDSA,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RS256,
    /// HMAC with SHA-256: the integrator and the server share the key.
    HS256,
}

/// A text that is never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[secret]")
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level or filter directives, as `tracing_subscriber::EnvFilter` reads them.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Whose pages may connect.
    ///
    /// # Errors
    /// An entry is no origin.
    pub fn origins(&self) -> Result<Origins, Error> {
        if self.dev {
            return Ok(Origins::any());
        }
        Origins::new(&self.browsers.allowed_origins).map_err(|problem| Error::Value {
            key: "browsers.allowed_origins",
            problem,
        })
    }

    /// How a listener treats its connections; with `tls` by the certificate, if there is one, which
    /// is read: a bad one is an error before anything listens.
    ///
    /// # Errors
    /// See [`chirm_net::Options::with_tls`].
    pub fn listener(&self, tls: bool) -> Result<chirm_net::Options, chirm_net::Error> {
        let limits = &self.limits;
        let limits = chirm_net::Limits {
            connections: limits.connections,
            connections_per_address: limits.enabled.then_some(limits.connections_per_address),
            requests_per_connection: limits.requests_per_connection,
            header_bytes_max: limits.header_bytes_max,
            streams_per_connection: limits.streams_per_connection,
            local_error_resets: limits.local_error_resets,
            pending_resets: limits.pending_resets,
            stream_window_bytes: limits.stream_window_bytes,
            connection_window_bytes: limits.connection_window_bytes,
        };
        let first_request = self.gateway.identify_deadline;
        let options = chirm_net::Options::new(self.net.clone(), limits, first_request);
        match self.tls.clone().filter(|_| tls) {
            Some(files) => options.with_tls(files),
            None => Ok(options),
        }
    }

    /// Loads the settings: defaults, then `file`, then the environment, then `overrides` (pairs of
    /// a key with its section and a value, as `("gateway.heartbeat_ms", "5000")`).
    pub fn load(file: Option<&Path>, overrides: &[(&str, &str)]) -> Result<Config, Error> {
        Config::from_sources(file, None, overrides)
    }

    /// As [`Config::load`]; `environment` stands in for the process's own when given.
    fn from_sources(
        file: Option<&Path>,
        environment: Option<HashMap<String, String>>,
        overrides: &[(&str, &str)],
    ) -> Result<Config, Error> {
        use ::config::{Environment, File, FileFormat};
        let mut builder =
            ::config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(path) = file {
            builder = builder.add_source(File::from(path).format(FileFormat::Toml));
        }
        let environment = Environment::with_prefix("CHIRM")
            .prefix_separator("__")
            .separator("__")
            .ignore_empty(true)
            .source(environment);
        builder = builder.add_source(environment);
        for (key, value) in overrides {
            builder = builder.set_override(*key, *value)?;
        }
        let mut config: Config = builder.build()?.try_deserialize()?;
        if config.dev {
            config.limits.enabled = false;
        }
        config.check()?;
        Ok(config)
    }
}

impl Config {
    /// Whether the listener for operators speaks TLS when it is at `at`: not where this machine
    /// alone reaches it.
    pub fn admin_has_tls(&self, at: IpAddr) -> bool {
        self.tls.is_some() && !at.to_canonical().is_loopback()
    }
}

impl Default for Config {
    /// The compiled-in defaults alone.
    fn default() -> Config {
        Config::from_sources(None, Some(HashMap::new()), &[])
            .expect("the compiled-in defaults are valid: a test loads them")
    }
}

//! How a listener treats its connections: times, buffers, limits, the certificate.

use super::tls::{Certificate, Error};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How a listener treats its connections.
#[derive(Clone, Debug)]
pub struct Options {
    /// Times and buffers.
    pub net: Net,
    /// How much of everything a client may make it hold.
    pub limits: Limits,
    /// From accept to the first request.
    pub first_request: Duration,
    /// The paths whose answers last as long as the client stays: they are not among the requests
    /// that a connection may have answered at once.
    pub streams: &'static [&'static str],
    pub(super) certificate: Option<Certificate>,
}

/// How much of everything a listener's clients may make it hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address; `None`: as many as there may be in all.
    pub connections_per_address: Option<usize>,
    /// Requests of a connection that are answered at once; those beyond wait.
    pub requests_per_connection: usize,
    /// Bytes of all header fields of a request.
    pub header_bytes_max: u32,
    /// Concurrent HTTP/2 streams of a connection.
    pub streams_per_connection: u32,
    /// Resets of a connection's streams for the client's own errors, before it is closed.
    pub local_error_resets: usize,
    /// Streams reset before they were accepted, before the connection is closed.
    pub pending_resets: usize,
    /// HTTP/2 flow control window of a stream, in bytes.
    pub stream_window_bytes: u32,
    /// HTTP/2 flow control window of a connection, in bytes.
    pub connection_window_bytes: u32,
}

impl Options {
    /// In cleartext, without streams.
    #[must_use]
    pub fn new(net: Net, limits: Limits, first_request: Duration) -> Self {
        Self {
            net,
            limits,
            first_request,
            streams: &[],
            certificate: None,
        }
    }

    /// By TLS. Reads the certificate, so a bad one is an error before anything listens.
    ///
    /// # Errors
    /// The files can't be read, or aren't a certificate and its key.
    pub fn with_tls(self, files: Tls) -> Result<Self, Error> {
        let certificate = Some(Certificate::load(files)?);
        Ok(Self {
            certificate,
            ..self
        })
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.net.trusted_proxies.contains(&address.to_canonical())
    }
}

/// Files of the certificate, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, followed by its chain.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// Times and buffers of connections.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Net {
    /// From accept to the first bytes.
    #[serde(rename = "detect_timeout_ms", with = "millis")]
    pub detect_timeout: Duration,
    /// From accept to the end of the TLS handshake.
    #[serde(rename = "handshake_timeout_ms", with = "millis")]
    pub handshake_timeout: Duration,
    /// From the end of an HTTP/1 answer, or the start, to the end of the next request's headers; or
    /// to the end of a request that was answered before, where that ends the connection.
    #[serde(rename = "header_timeout_ms", with = "millis")]
    pub header_timeout: Duration,
    /// From a request's headers to the start of its answer; the gateway's streams have their own.
    #[serde(rename = "request_timeout_ms", with = "millis")]
    pub request_timeout: Duration,
    /// A client that takes next to nothing of an answer for so long loses it: over HTTP/2 the
    /// stream is reset, and where the socket takes nothing at all the connection is closed.
    #[serde(rename = "answer_timeout_ms", with = "millis")]
    pub answer_timeout: Duration,
    /// An HTTP/2 connection without a request in progress is closed after so long.
    #[serde(rename = "idle_timeout_ms", with = "millis")]
    pub idle_timeout: Duration,
    /// A silent HTTP/2 connection is pinged so often.
    #[serde(rename = "keepalive_ms", with = "millis")]
    pub keepalive: Duration,
    /// And closed when a ping is not answered for so long.
    #[serde(rename = "keepalive_timeout_ms", with = "millis")]
    pub keepalive_timeout: Duration,
    /// The kernel's send buffer of a connection; 0 leaves it to the kernel.
    pub socket_send_buffer_bytes: u32,
    /// What HTTP/2 holds of a stream that the socket did not take.
    pub stream_send_buffer_bytes: usize,
    /// How often the certificate's files are looked at.
    #[serde(rename = "tls_reload_ms", with = "millis")]
    pub tls_reload: Duration,
    /// How long requests in progress have at shutdown.
    #[serde(rename = "drain_ms", with = "millis")]
    pub drain: Duration,
    /// Reverse proxies: no cap of their connections, and their `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

impl Default for Net {
    fn default() -> Self {
        Self {
            detect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(40),
            idle_timeout: Duration::from_secs(300),
            keepalive: Duration::from_secs(25),
            keepalive_timeout: Duration::from_secs(10),
            socket_send_buffer_bytes: 64 << 10,
            stream_send_buffer_bytes: 16 << 10,
            tls_reload: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 15_000,
            connections_per_address: Some(50),
            requests_per_connection: 32,
            header_bytes_max: 8 << 10,
            streams_per_connection: 128,
            local_error_resets: 64,
            pending_resets: 20,
            stream_window_bytes: 64 << 10,
            connection_window_bytes: 128 << 10,
        }
    }
}

/// `…_ms`: milliseconds.
pub mod millis {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::time::Duration;

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }

    /// Writes it.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

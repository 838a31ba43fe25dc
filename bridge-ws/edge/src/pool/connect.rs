//! A new connection to a gateway: TCP, TLS where asked for, HTTP/2.

use crate::Body;
use crate::args::{Args, Target};
use anyhow::Context as _;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// HTTP/2's window of a stream: what a browser that doesn't read makes the bridge hold.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// What is held of a stream that the gateway didn't take.
const SEND_BUFFER_BYTES: usize = 16 << 10;
/// Bytes of an answer's header fields.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// A gateway that says nothing for so long is pinged, and given up after so long again.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How connections to gateways are made. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: Option<TlsConnector>,
    streams: u32,
}

impl Connector {
    /// Reads the certificates that gateways are checked by, if any speaks TLS.
    pub(crate) fn new(args: &Args) -> anyhow::Result<Self> {
        let tls = if args.upstream.iter().any(|target| target.tls) {
            Some(tls(args.upstream_ca.as_deref())?)
        } else {
            None
        };
        let streams = args.streams_per_connection;
        Ok(Self { tls, streams })
    }

    pub(crate) async fn connect(&self, target: &Target) -> io::Result<SendRequest<Body>> {
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = self.tls.as_ref().filter(|_| target.tls) else {
            return self.speak(stream).await;
        };
        let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
        let stream = tls.connect(name, stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("it doesn't speak HTTP/2 (by ALPN)"));
        }
        self.speak(stream).await
    }

    async fn speak<S>(&self, stream: S) -> io::Result<SendRequest<Body>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // Streams that nobody reads fill their own windows, never the connection's: it has room
        // for all of them.
        let window = self.streams.saturating_add(1) * STREAM_WINDOW_BYTES;
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(window)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(HEADER_BYTES_MAX)
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a gateway ended");
            }
        });
        Ok(sender)
    }
}

fn tls(ca: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca {
        let named = || format!("--upstream-ca {}", path.display());
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(named)?;
        anyhow::ensure!(
            !certificates.is_empty(),
            "{}: has no PEM certificate",
            named()
        );
        for certificate in certificates {
            roots.add(certificate).with_context(named)?;
        }
    }
    anyhow::ensure!(
        !roots.is_empty(),
        "an https --upstream needs certificates to be checked by: this system has none, so give \
         --upstream-ca"
    );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

//! Connections: a name is resolved once, every address of the answer is checked, and one of those
//! that were checked is connected to.

use super::target::{Rules, Target};
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Addresses of one name that are tried, in their order.
const ADDRESSES_TRIED: usize = 4;

/// Looks names up.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name.
    fn resolve(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await?;
            Ok(found.collect())
        })
    }
}

/// Why a connection failed. It names no secret: hosts and addresses alone.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{host} doesn't resolve: {source}")]
    Unresolved { host: String, source: io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("{host} resolves to {address}, which isn't public")]
    Forbidden { host: String, address: IpAddr },
    #[error("no connection to {host}: {source}")]
    Refused { host: String, source: io::Error },
    #[error("no TLS with {host}: {source}")]
    Tls { host: String, source: io::Error },
    #[error("not a URL that can be connected to")]
    Target,
}

/// Why certificates can't be checked.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of further authorities can't be read or isn't PEM.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// TLS can't be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Whose certificates are believed: the system's authorities, and those of a file.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The system's authorities, and those of a PEM file if there is one. A system without any is
    /// no error: no certificate is believed then, and each request says so.
    ///
    /// # Errors
    /// The file can't be used.
    pub fn load(file: Option<&Path>) -> Result<Trust, TrustError> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        let (_, ignored) = roots.add_parsable_certificates(native.certs);
        if ignored > 0 || !native.errors.is_empty() {
            let errors = native.errors.len();
            tracing::debug!(
                ignored,
                errors,
                "some of the system's authorities aren't read"
            );
        }
        if let Some(path) = file {
            let fail = |problem: String| TrustError::File {
                path: path.to_owned(),
                problem,
            };
            let read = CertificateDer::pem_file_iter(path).map_err(|e| fail(e.to_string()))?;
            for certificate in read {
                let certificate = certificate.map_err(|error| fail(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| fail(error.to_string()))?;
            }
        }
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Trust(Arc::new(config)))
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Trust")
    }
}

/// Makes connections; hyper's client asks it for each that its pool doesn't have.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) rules: Arc<Rules>,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) trust: Trust,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Stream, ConnectError> {
        let target = Target::of(uri).map_err(|_| ConnectError::Target)?;
        let addresses = self.addresses(&target).await?;
        let tcp = first_of(&target, &addresses).await?;
        if !target.is_secure() {
            return Ok(Stream::Plain(TokioIo::new(tcp)));
        }
        let host = target.host().to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| ConnectError::Target)?;
        let tls = TlsConnector::from(self.trust.0).connect(name, tcp).await;
        match tls {
            Ok(tls) => Ok(Stream::Tls(TokioIo::new(Box::new(tls)))),
            Err(source) => Err(ConnectError::Tls { host, source }),
        }
    }

    /// The addresses of the host. If one of them isn't allowed none is: nobody who means well has a
    /// name that stands for both.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
        let host = || target.host().to_owned();
        let found = match target.address() {
            Some(address) => vec![SocketAddr::new(address, target.port())],
            None => {
                let resolved = self.resolver.resolve(host(), target.port()).await;
                resolved.map_err(|source| ConnectError::Unresolved {
                    host: host(),
                    source,
                })?
            }
        };
        let forbidden = |found: &&SocketAddr| !self.rules.allow(found.ip());
        if let Some(address) = found.iter().find(forbidden) {
            return Err(ConnectError::Forbidden {
                host: host(),
                address: address.ip(),
            });
        }
        if found.is_empty() {
            return Err(ConnectError::NoAddress { host: host() });
        }
        Ok(found)
    }
}

/// A connection to the first address that takes one.
async fn first_of(target: &Target, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.iter().take(ADDRESSES_TRIED) {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it a body may wait for the acknowledgement of the headers.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(ConnectError::Refused {
        host: target.host().to_owned(),
        source: failed,
    })
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Stream, ConnectError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection, with or without TLS.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(TokioIo<Box<tokio_rustls::client::TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Plain($inner) => $call,
            Stream::Tls($inner) => $call,
        }
    };
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, inner => Pin::new(inner).poll_read(context, buffer))
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, inner => Pin::new(inner).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => Pin::new(inner).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => Pin::new(inner).poll_shutdown(context))
    }
}

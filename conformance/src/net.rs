//! Connections: where to, from which address, by TLS or not, through a proxy with faults or not.

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

/// A connection takes no longer than this to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// What bytes go through.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where a carrier is served: `http://host:port/path`, `https`, `ws` or `wss`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) secure: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl std::str::FromStr for Origin {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let uri: http::Uri = text
            .parse()
            .with_context(|| format!("no address: {text}"))?;
        let secure = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => bail!("an address begins with http, https, ws or wss: {text}"),
        };
        Ok(Self {
            secure,
            host: uri.host().context("an address has a host")?.to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl Origin {
    /// As a `Host` header says it.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// As browsers name the origin of a page of this server's.
    pub(crate) fn page(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// By plain HTTP on a port of this machine.
    pub(crate) fn local(address: SocketAddr, path: &str) -> Self {
        Self {
            secure: false,
            host: address.ip().to_string(),
            port: address.port(),
            path: path.to_owned(),
        }
    }

    /// The address of the host; the first that there is.
    pub(crate) async fn resolve(&self) -> Result<SocketAddr> {
        let host = self.host.trim_matches(['[', ']']);
        let mut found = tokio::net::lookup_host((host, self.port))
            .await
            .with_context(|| format!("{host} has no address"))?;
        found
            .next()
            .with_context(|| format!("{host} has no address"))
    }
}

/// How connections of one run are made.
#[derive(Clone)]
pub(crate) struct Dialer {
    tls: tokio_rustls::TlsConnector,
    /// Servers limit the connections of an address; on loopback each run has its own.
    from: Ipv4Addr,
}

impl Dialer {
    /// `ca` names authorities (PEM) that are believed beside the system's.
    pub(crate) fn new(ca: Option<&Path>) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca {
            for certificate in CertificateDer::pem_file_iter(path)? {
                roots.add(certificate?)?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(config).into(),
            from: Ipv4Addr::LOCALHOST,
        })
    }

    /// The same from another address of loopback, where the server is there.
    pub(crate) fn for_run(&self, number: u32) -> Self {
        let [_, a, b, c] = number.saturating_add(256).to_be_bytes();
        Self {
            from: Ipv4Addr::new(127, a, b, c.max(1)),
            ..self.clone()
        }
    }

    /// A TCP connection.
    pub(crate) async fn tcp(&self, address: SocketAddr) -> Result<TcpStream> {
        let connect = async {
            if address.ip().is_loopback() && address.is_ipv4() {
                let socket = TcpSocket::new_v4()?;
                socket.bind((IpAddr::V4(self.from), 0).into())?;
                socket.connect(address).await
            } else {
                TcpStream::connect(address).await
            }
        };
        let stream = tokio::time::timeout(CONNECT, connect).await;
        let stream = stream.with_context(|| format!("{address} takes no connection"))?;
        let stream = stream.with_context(|| format!("can't connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A connection to an origin, or in its place to `through`, which leads there.
    pub(crate) async fn connect(
        &self,
        to: &Origin,
        through: Option<SocketAddr>,
    ) -> Result<Box<dyn Io>> {
        let address = match through {
            Some(address) => address,
            None => to.resolve().await?,
        };
        let stream = self.tcp(address).await?;
        if !to.secure {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(to.host.clone())?;
        let handshake = tokio::time::timeout(CONNECT, self.tls.connect(name, stream));
        Ok(Box::new(handshake.await.context("TLS takes too long")??))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        let origin: Origin = "ws://localhost:7300/gateway".parse().expect("an address");
        assert_eq!(origin.authority(), "localhost:7300");
        assert_eq!(origin.path, "/gateway");
        let origin: Origin = "https://chat.example.com/".parse().expect("an address");
        assert!(origin.secure);
        assert_eq!((origin.port, origin.path.as_str()), (443, ""));
        assert!("localhost:7300".parse::<Origin>().is_err());
    }
}

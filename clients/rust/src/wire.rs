//! Connections of our own making, so that one can be cut as a network would.

use crate::{config::Config, error::Error};
use futures::task::AtomicWaker;
use hyper_util::rt::TokioIo;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 pings: they find a peer that vanished where no heartbeats run.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where to connect to, from a server's URL.
pub(crate) fn endpoint(server: &str, ca_pem: Option<&str>) -> Result<Endpoint, Error> {
    let mut endpoint = Endpoint::from_shared(server.to_owned())
        .map_err(|e| Error::config(format!("{server} is not a server's URL: {e}")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let uri = endpoint.uri();
    if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(Error::config(format!(
            "{server} is not http://host:port or https://host:port"
        )));
    }
    if uri.scheme_str() == Some("https") {
        let tls = ClientTlsConfig::new();
        let tls = match ca_pem {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_native_roots(),
        };
        endpoint = endpoint.tls_config(tls).map_err(Error::config)?;
    }
    Ok(endpoint)
}

/// A connection that [`Cutter::cut`] ends without a goodbye.
pub(crate) async fn connect(config: &Config, cutter: Arc<Cutter>) -> Result<Channel, Error> {
    let endpoint = endpoint(&config.server, config.ca_pem.as_deref())?;
    let connector = tower::service_fn(move |uri: Uri| {
        let cutter = cutter.clone();
        async move {
            // A channel of tonic's would quietly connect anew; here that is the client's decision.
            cutter.check()?;
            Ok::<_, io::Error>(TokioIo::new(Wire::open(&uri, cutter).await?))
        }
    });
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|e| Error::connection(source(&e)))
}

/// The innermost cause says the most: tonic's own text is "transport error".
fn source(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

/// Ends one connection: a socket, or two where the stream has one of its own.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    cut: AtomicBool,
    readers: Mutex<Vec<Arc<AtomicWaker>>>,
}

impl Cutter {
    /// From now on every read and write fails.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.iter().for_each(|reader| reader.wake());
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::Acquire) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the connection was cut",
            ));
        }
        Ok(())
    }
}

/// A socket under a [`Cutter`].
pub(crate) struct Wire {
    stream: TcpStream,
    cutter: Arc<Cutter>,
    reader: Arc<AtomicWaker>,
}

impl Wire {
    /// Connects to a URL's host.
    pub(crate) async fn open(uri: &Uri, cutter: Arc<Cutter>) -> io::Result<Self> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let default = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let to = (host, uri.port_u16().unwrap_or(default));
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let reader = Arc::new(AtomicWaker::new());
        let mut readers = cutter
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        readers.push(reader.clone());
        drop(readers);
        Ok(Self {
            stream,
            cutter,
            reader,
        })
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Registered before the flag is read, so that no cut falls in between.
        self.reader.register(context.waker());
        self.cutter.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.cutter.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.cutter.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cutter.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// hyper's client asks for it.
#[cfg(feature = "grpc-web")]
impl hyper_util::client::legacy::connect::Connection for Wire {
    fn connected(&self) -> hyper_util::client::legacy::connect::Connected {
        hyper_util::client::legacy::connect::Connected::new()
    }
}

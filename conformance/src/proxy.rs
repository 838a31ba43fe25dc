//! A TCP proxy on loopback that does to a connection what networks do.

use crate::net::Dialer;
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the network does; nothing, unless said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Network {
    /// The connection is cut (both ways, with a FIN) after so many bytes from the server, counted
    /// from when this was said.
    pub(crate) drop_after: Option<u64>,
    /// The connection is reset (RST) at once.
    pub(crate) reset: bool,
    /// Bytes stay where they are, in both directions, and nothing says so.
    pub(crate) black_hole: bool,
    /// Nothing is read from the server any more: it sees a client that takes nothing.
    pub(crate) stalled: bool,
    /// Each piece waits so long.
    pub(crate) delay_ms: Option<u64>,
    /// So many bytes a second at most, in each direction.
    pub(crate) bytes_per_second: Option<u64>,
    /// Pieces of at most so many bytes, each written by itself.
    pub(crate) split: Option<usize>,
    /// What comes within so long is written together.
    pub(crate) merge_ms: Option<u64>,
}

/// A proxy; it ends when this is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    network: watch::Sender<Network>,
    /// Bytes from the server that went through, of all connections.
    passed: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(to: SocketAddr, network: Network, dialer: Dialer) -> Result<Self> {
        // A small window, so that a client that takes nothing is felt by the server soon.
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(16)?;
        let address = listener.local_addr()?;
        let (sender, receiver) = watch::channel(network);
        let passed = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, to, receiver, passed.clone(), dialer));
        Ok(Self {
            address,
            network: sender,
            passed,
            _tasks: tasks,
        })
    }

    /// From now on the network does this.
    pub(crate) fn set(&self, network: Network) {
        self.passed.store(0, Ordering::Relaxed);
        self.network.send_replace(network);
    }
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    network: watch::Receiver<Network>,
    passed: Arc<AtomicU64>,
    dialer: Dialer,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (network, passed, dialer) = (network.clone(), passed.clone(), dialer.clone());
        connections.spawn(async move {
            if let Ok(server) = dialer.tcp(to).await {
                carry(client, server, network, passed).await;
            }
        });
    }
}

/// Carries bytes until either side ends, or the network says so.
async fn carry(
    client: TcpStream,
    server: TcpStream,
    mut network: watch::Receiver<Network>,
    passed: Arc<AtomicU64>,
) {
    let _ = client.set_nodelay(true);
    let reset = [
        socket2::SockRef::from(&client).try_clone(),
        socket2::SockRef::from(&server).try_clone(),
    ];
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = pump(from_client, to_server, network.clone(), None);
    let down = pump(from_server, to_client, network.clone(), Some(passed));
    let cut = async {
        let _ = network.wait_for(|network| network.reset).await;
        for socket in reset.iter().flatten() {
            // Closed with this set, a connection ends by RST.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
        () = cut => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    passed: Option<Arc<AtomicU64>>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let is_down = passed.is_some();
        let open = |network: &Network| !(network.black_hole || is_down && network.stalled);
        if network.wait_for(open).await.is_err() {
            return;
        }
        let now = network.borrow_and_update().clone();
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = network.changed() => continue,
        };
        let Ok(mut count @ 1..) = read else { return };
        if let Some(wait) = now.merge_ms {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            if let Ok(more) = from.try_read(&mut buffer[count..]) {
                count += more;
            }
        }
        if let Some(wait) = now.delay_ms {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        // What was read while the network fell silent stays here until it speaks again.
        let silent = |network: &Network| !network.black_hole;
        if network.wait_for(silent).await.is_err() {
            return;
        }
        let mut left = u64::MAX;
        if let Some(passed) = &passed {
            let before = passed.fetch_add(count as u64, Ordering::Relaxed);
            if let Some(limit) = now.drop_after {
                left = limit.saturating_sub(before);
            }
        }
        let whole = buffer.get(..count.min(usize::try_from(left).unwrap_or(usize::MAX)));
        let whole = whole.unwrap_or_default();
        let pieces = now.split.unwrap_or(whole.len()).max(1);
        for piece in whole.chunks(pieces) {
            if to.write_all(piece).await.is_err() {
                return;
            }
            if now.split.is_some() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if let Some(rate) = now.bytes_per_second {
                let wait = piece.len() as f64 / rate.max(1) as f64;
                tokio::time::sleep(Duration::from_secs_f64(wait)).await;
            }
        }
        if left < count as u64 {
            return;
        }
    }
}

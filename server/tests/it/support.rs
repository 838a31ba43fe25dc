//! A real node on a loopback port, and clients that speak the protocol by hand, so that they can
//! also speak it wrongly.

use bytes::{Buf, BufMut, Bytes};
use chirm_proto::v1::{self, client_frame, server_frame};
use chirm_server::config::Config;
use chirm_server::node::{self, Node};
use chirm_server::telemetry;
use futures::StreamExt as _;
use prost::Message as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// How long a test waits for what must come. Never asserted on; only ends a hanging test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

fn metrics() -> telemetry::Metrics {
    // One recorder a process: all nodes of the test binary share it.
    static METRICS: OnceLock<telemetry::Metrics> = OnceLock::new();
    METRICS
        .get_or_init(|| telemetry::metrics().expect("the first recorder"))
        .clone()
}

/// A running node.
pub(crate) struct TestNode {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) key: String,
    pub(crate) dir: Arc<TempDir>,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl TestNode {
    /// Starts one on a new folder. `overrides` are keys of the configuration.
    pub(crate) async fn start(overrides: &[(&str, &str)]) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a folder"));
        Self::start_in(dir, overrides).await
    }

    /// Starts one on a folder that was used before, or not.
    pub(crate) async fn start_in(dir: Arc<TempDir>, overrides: &[(&str, &str)]) -> Self {
        let config = config(dir.path(), overrides);
        let key = {
            let node = Node::open(Arc::new(config.clone())).await.expect("opens");
            let made = node
                .domain
                .create_key("tests", true, None)
                .await
                .expect("a key");
            node.store.close().await;
            made.token
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let operators = config.admin_listen.unwrap_or(any_port);
        let operators = TcpListener::bind(operators).await.expect("a port");
        let admin = operators.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let running = node::run(
            config,
            listener,
            Some(operators),
            metrics(),
            shutdown.clone(),
        );
        let task = tokio::spawn(running);
        Self {
            address,
            admin,
            key,
            dir,
            shutdown,
            task,
        }
    }

    /// Stops it as SIGTERM does, and waits.
    pub(crate) async fn stop(self) -> Arc<TempDir> {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("a clean end");
        self.dir
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) async fn channel(&self) -> Channel {
        connect(self.address).await
    }

    /// A connection to the listener for operators.
    pub(crate) async fn admin_channel(&self) -> Channel {
        connect(self.admin).await
    }
}

async fn connect(to: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{to}")).expect("a URL");
    endpoint.connect().await.expect("connects")
}

fn config(data: &Path, overrides: &[(&str, &str)]) -> Config {
    let stack = stack_of(data);
    let data = data.display().to_string();
    let mut all = vec![("data", data.as_str())];
    all.extend(stack.iter().map(|(key, value)| (*key, value.as_str())));
    all.extend_from_slice(overrides);
    Config::load(None, &all).expect("a configuration")
}

/// Whether nodes keep their state in real servers.
pub(crate) fn on_servers() -> bool {
    std::env::var_os("CHIRM_TEST_ON").is_some()
}

/// What makes a node keep its state in real servers, in place of a data folder: nothing, unless the
/// tests were asked to run on them (`CHIRM_TEST_ON`: `redis`, `redis-cluster`, or `nats` for one
/// Redis and NATS). Each folder has a namespace of its own.
pub(crate) fn stack_of(data: &Path) -> Vec<(&'static str, String)> {
    let Ok(on) = std::env::var("CHIRM_TEST_ON") else {
        return Vec::new();
    };
    let address = |of: &str| {
        let name = format!("CHIRM_TEST_{of}");
        std::env::var(&name).unwrap_or_else(|_| panic!("{name} isn't set: make stack-up"))
    };
    let redis = match on.as_str() {
        "redis" | "nats" => address("REDIS"),
        "redis-cluster" => address("REDIS_CLUSTER"),
        other => panic!("CHIRM_TEST_ON={other}: it is redis, redis-cluster or nats"),
    };
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(&std::path::absolute(data).expect("a path"), &mut hasher);
    let mut settings = vec![
        (
            "namespace",
            format!("it_{:016x}", std::hash::Hasher::finish(&hasher)),
        ),
        ("postgres.url", address("POSTGRES")),
        ("cql.nodes", address("CQL")),
        ("cql.keyspace", "chirm_it".to_owned()),
        ("redis.urls", redis),
        ("redis.cluster", (on == "redis-cluster").to_string()),
    ];
    if on == "nats" {
        settings.push(("nats.urls", address("NATS")));
    }
    settings
}

impl TestNode {
    /// A connection whose streams take 64 KiB before they are read.
    pub(crate) async fn narrow_channel(&self) -> Channel {
        let endpoint = Channel::from_shared(self.url()).expect("a URL");
        let window = 65_535;
        let endpoint = endpoint.initial_stream_window_size(window);
        endpoint
            .initial_connection_window_size(window)
            .connect()
            .await
            .expect("connects")
    }
}

/// Encodes bytes as they are, so that a test can send what no client would.
pub(crate) struct Raw<M>(std::marker::PhantomData<M>);

impl<M> Default for Raw<M> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<M: prost::Message + Default + 'static> Codec for Raw<M> {
    type Encode = Bytes;
    type Decode = M;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<M> Encoder for Raw<M> {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put(item);
        Ok(())
    }
}

impl<M: prost::Message + Default> Decoder for Raw<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        let bytes = src.copy_to_bytes(src.remaining());
        M::decode(bytes)
            .map(Some)
            .map_err(|e| Status::internal(e.to_string()))
    }
}

/// A gateway stream, frame by frame.
pub(crate) struct Stream {
    frames: mpsc::Sender<Bytes>,
    answers: tonic::Streaming<v1::ServerFrame>,
}

impl Stream {
    /// A session.
    pub(crate) async fn open(channel: Channel) -> Self {
        Self::open_at(chirm_server::rpc::gateway::SESSION, channel).await
    }

    /// One way: its only frame is an `Identify`.
    pub(crate) async fn listen(channel: Channel) -> Self {
        Self::open_at(chirm_server::rpc::gateway::LISTEN, channel).await
    }

    async fn open_at(path: &'static str, channel: Channel) -> Self {
        let (frames, queue) = mpsc::channel(256);
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.expect("ready");
        let path = http::uri::PathAndQuery::from_static(path);
        let queue = tokio_stream::wrappers::ReceiverStream::new(queue);
        let codec = Raw::<v1::ServerFrame>::default();
        let answered = grpc.streaming(Request::new(queue), path, codec).await;
        Self {
            frames,
            answers: answered.expect("a stream").into_inner(),
        }
    }

    /// Sends bytes as a frame.
    pub(crate) async fn send_bytes(&self, bytes: impl Into<Bytes>) {
        // The server may have ended the stream; the answers tell.
        let _ = self.frames.send(bytes.into()).await;
    }

    pub(crate) async fn send(&self, frame: client_frame::Frame) {
        self.call(0, frame).await;
    }

    pub(crate) async fn call(&self, call_id: u32, frame: client_frame::Frame) {
        let frame = v1::ClientFrame {
            call_id,
            frame: Some(frame),
        };
        self.send_bytes(frame.encode_to_vec()).await;
    }

    pub(crate) async fn identify(&self, identify: v1::Identify) {
        self.send(client_frame::Frame::Identify(identify)).await;
    }

    /// The next frame; None after the end.
    pub(crate) async fn next(&mut self) -> Option<server_frame::Frame> {
        let next = tokio::time::timeout(PATIENCE, self.answers.next());
        let frame = next.await.expect("a frame or the end must come")?;
        Some(frame.ok()?.frame.expect("a known frame"))
    }

    /// Frames up to and including the first that `wanted` takes; what it made of it.
    pub(crate) async fn until<T>(
        &mut self,
        mut wanted: impl FnMut(&server_frame::Frame) -> Option<T>,
    ) -> T {
        let mut seen = Vec::new();
        while let Some(frame) = self.next().await {
            if let Some(found) = wanted(&frame) {
                return found;
            }
            seen.push(frame);
        }
        panic!("the stream ended before the wanted frame; seen: {seen:#?}");
    }

    /// Reads to the end; the `Closing` frame, which must be the last.
    pub(crate) async fn closing(&mut self) -> v1::Closing {
        let mut last = None;
        while let Some(frame) = self.next().await {
            last = Some(frame);
        }
        match last {
            Some(server_frame::Frame::Closing(closing)) => closing,
            other => panic!("the last frame was not Closing: {other:?}"),
        }
    }

    /// Reads to `Ready`; all frames before it.
    pub(crate) async fn ready(&mut self) -> Vec<server_frame::Frame> {
        let mut frames = Vec::new();
        self.until(|frame| {
            if let server_frame::Frame::Closing(closing) = frame {
                panic!("closed before Ready: {closing:?}");
            }
            frames.push(frame.clone());
            matches!(frame, server_frame::Frame::Ready(_)).then_some(())
        })
        .await;
        frames
    }

    /// The answer to a call.
    pub(crate) async fn result(&mut self, call_id: u32) -> v1::result::Result {
        self.until(|frame| match frame {
            server_frame::Frame::Result(result) if result.call_id == call_id => {
                result.result.clone()
            }
            _ => None,
        })
        .await
    }
}

/// `ErrorInfo.reason` of a status.
pub(crate) fn reason(status: &Status) -> String {
    chirm_server::rpc::status::Failure::from_status(status)
        .reason
        .into_owned()
}

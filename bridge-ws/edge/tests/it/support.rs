//! A server in this process, bridges as processes of their own, and a wire between that can be cut.

use chirm_proto::v1::auth_service_client::AuthServiceClient;
use chirm_proto::v1::message_service_client::MessageServiceClient;
use chirm_proto::v1::server_service_client::ServerServiceClient;
use chirm_proto::v1::{self, mint_session_request::Subject};
use chirm_server::config::Config;
use chirm_server::node::{self, Node};
use chirm_server::telemetry;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

/// How long a test waits for what must come. Never asserted on; only ends a hanging test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Tries until it gives something.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let tried = timeout(PATIENCE, async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            sleep(PAUSE).await;
        }
    });
    tried.await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    _running: AbortOnDropHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
    _dir: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().display().to_string();
        let settings = [("data", data.as_str()), ("limits.enabled", "false")];
        let mut config = Config::load(None, &settings).expect("a configuration");
        config.net.trusted_proxies = vec![[127, 0, 0, 1].into()];
        change(&mut config);
        let node = Node::open(Arc::new(config.clone())).await.expect("opens");
        let made = node.domain.create_key("tests", true, None).await;
        let key = made.expect("a key").token;
        node.store.close().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let metrics = telemetry::metrics().expect("metrics");
        let shutdown = CancellationToken::new();
        let running = node::run(config, listener, None, metrics, shutdown.clone());
        Self {
            address,
            key,
            _running: AbortOnDropHandle::new(tokio::spawn(running)),
            shutdown,
            _dir: dir,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// As SIGTERM does; goes on in the background.
    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// A user of this name.
    pub(crate) async fn user(&self, name: &str) -> User {
        let channel = channel(self.address).await;
        let request = v1::MintSessionRequest {
            subject: Some(Subject::ExternalId(name.to_owned())),
            display_name: name.to_owned(),
            device: String::new(),
        };
        let mut auth = AuthServiceClient::new(channel.clone());
        let minted = auth.mint_session(with_token(&self.key, request)).await;
        let tokens = minted.expect("mints").into_inner().tokens;
        let token = tokens.expect("tokens").access_token;
        User { token, channel }
    }
}

pub(crate) async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("a URL");
    endpoint.connect().await.expect("connects")
}

fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = MetadataValue::try_from(format!("Bearer {token}")).expect("a header value");
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// A user that is signed in, who speaks to the server itself.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) token: String,
    pub(crate) channel: Channel,
}

impl User {
    /// A new server's first channel.
    pub(crate) async fn create_channel(&self) -> i64 {
        let request = v1::CreateServerRequest {
            name: "place".to_owned(),
            open: true,
            ..Default::default()
        };
        let mut servers = ServerServiceClient::new(self.channel.clone());
        let made = servers
            .create_server(with_token(&self.token, request))
            .await;
        made.expect("creates").into_inner().general_channel_id
    }

    pub(crate) async fn send(&self, channel_id: i64, content: &str) {
        let request = v1::SendMessageRequest {
            channel_id,
            content: content.to_owned(),
            ..Default::default()
        };
        let mut messages = MessageServiceClient::new(self.channel.clone());
        let sent = messages
            .send_message(with_token(&self.token, request))
            .await;
        sent.expect("sends");
    }
}

/// A running bridge. Killed when it is dropped.
pub(crate) struct Bridge {
    pub(crate) address: SocketAddr,
    process: Child,
}

impl Bridge {
    /// Starts one; `more` are flags.
    pub(crate) async fn start(upstreams: &[&str], more: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", upstreams, more).await
    }

    pub(crate) async fn start_at(listen: &str, upstreams: &[&str], more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chirm-bridge-ws"));
        command.args(["--listen", listen, "--log-level", "warn"]);
        for upstream in upstreams {
            command.args(["--upstream", upstream]);
        }
        command.args(more).kill_on_drop(true).stdout(Stdio::piped());
        let mut process = command.spawn().expect("starts");
        let stdout = process.stdout.take().expect("is piped");
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        let read = stdout.read_line(&mut line);
        timeout(PATIENCE, read)
            .await
            .expect("a line")
            .expect("a line");
        let (_, address) = line.trim().split_once("ready on ").expect("it is ready");
        let (_, address) = address.split_once("://").expect("a URL");
        let address = address.parse().expect("an address");
        Self { address, process }
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&self) {
        eventually("ready", async || {
            (self.get("/readyz").await.0 == 200).then_some(())
        })
        .await;
    }

    /// The status and body of a GET.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.request(&format!("GET {path} HTTP/1.1"), &[], "").await;
        (answer.status, answer.body)
    }

    pub(crate) async fn request(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let stream = TcpStream::connect(self.address).await.expect("connects");
        request(stream, line, headers, body).await
    }

    /// The value of a metric, with its labels; `None` if it isn't there.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200);
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a number"))
    }

    /// Sends SIGTERM.
    pub(crate) async fn terminate(&self) {
        let id = self.process.id().expect("it runs").to_string();
        let mut kill = Command::new("kill");
        let sent = kill.args(["-TERM", &id]).status().await.expect("kill runs");
        assert!(sent.success());
    }

    /// Its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let ended = timeout(PATIENCE, self.process.wait()).await;
        ended.expect("it ends").expect("its status").code()
    }

    /// As a power cut does.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.expect("it is killed");
    }
}

/// What a request got.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// One request, by HTTP/1.1 with nothing but what is said.
pub(crate) async fn request(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    line: &str,
    headers: &[&str],
    body: &str,
) -> Answer {
    let mut text = format!("{line}\r\nhost: bridge\r\nconnection: close\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    if !body.is_empty() {
        text += &format!("content-length: {}\r\n", body.len());
    }
    text += &format!("\r\n{body}");
    stream.write_all(text.as_bytes()).await.expect("is sent");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    timeout(PATIENCE, read)
        .await
        .expect("an answer")
        .expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    Answer {
        status: status.parse().expect("a status"),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

/// A wire to a server, as a gateway's machine that can be switched off.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    _carrying: AbortOnDropHandle<()>,
}

impl Wire {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), server).await
    }

    pub(crate) async fn at(address: SocketAddr, server: SocketAddr) -> Self {
        let listener = eventually("the port is free", async || {
            TcpListener::bind(address).await.ok()
        })
        .await;
        let address = listener.local_addr().expect("an address");
        let carrying = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (mut from, _) = listener.accept().await.expect("accepts");
                open.spawn(async move {
                    let mut to = TcpStream::connect(server).await.expect("connects");
                    // It fails when either side is gone.
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        });
        Self {
            address,
            _carrying: AbortOnDropHandle::new(carrying),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

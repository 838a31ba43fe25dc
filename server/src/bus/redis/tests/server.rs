//! A Redis that a test may do anything to, and a link that it may cut.

use super::secret;
use crate::bus::redis::RedisSettings;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Waiting for anything ends in a failure after so long.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// A server of the test's own.
pub(super) struct Process {
    child: Child,
    pub(super) port: u16,
    command: Box<dyn Fn(u16) -> Command + Send + Sync>,
}

impl Process {
    /// Starts it at a free port; `command` makes what starts it there.
    pub(super) async fn start(command: impl Fn(u16) -> Command + Send + Sync + 'static) -> Process {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        Process {
            child: launch(command(port)),
            port,
            command: Box::new(command),
        }
    }

    /// Ends it without a word.
    pub(super) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn start_again(&mut self) {
        self.child = launch((self.command)(self.port));
    }

    /// Sends it a signal, by name.
    pub(super) fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args([format!("-{name}"), self.child.id().to_string()]);
        assert!(kill.status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let started = command.spawn();
    started.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()))
}

/// A redis-server of the test's own.
pub(super) struct Own {
    process: Process,
    pub(super) port: u16,
}

impl Own {
    pub(super) async fn start(options: &[&str]) -> Own {
        let folder = tempfile::tempdir().unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).into()).collect();
        let process = Process::start(move |port| redis_server(port, &folder, &options)).await;
        let own = Own {
            port: process.port,
            process,
        };
        own.ready().await;
        own
    }

    async fn ready(&self) {
        let answers = async {
            while self.try_run::<String>(&["PING"]).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, answers)
            .await
            .expect("redis-server doesn't start");
    }

    /// Ends it without a word, and starts it again with what it had saved.
    pub(super) async fn restart(&mut self) {
        self.process.stop();
        self.process.start_again();
        self.ready().await;
    }

    async fn try_run<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut ask = redis::cmd(command[0]);
        for argument in &command[1..] {
            ask.arg(argument);
        }
        ask.query_async(&mut connection).await
    }

    pub(super) async fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_run(command).await.unwrap()
    }
}

fn redis_server(port: u16, folder: &TempDir, options: &[String]) -> Command {
    let mut command = Command::new("redis-server");
    command
        .arg("--port")
        .arg(port.to_string())
        .arg("--dir")
        .arg(folder.path());
    command.args([
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--maxmemory-policy",
        "noeviction",
    ]);
    command.args(options);
    command
}

/// A Redis without users at a port.
pub(super) fn settings_at(port: u16) -> RedisSettings {
    RedisSettings {
        urls: vec![secret(&format!("redis://127.0.0.1:{port}"))],
        ..RedisSettings::default()
    }
}

/// What a link does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    /// Connections stay, and nothing comes through.
    Frozen,
    /// Connections end, and new ones end at once.
    Cut,
}

/// A link to a server.
pub(super) struct Link {
    pub(super) port: u16,
    way: watch::Sender<Way>,
    _tasks: JoinSet<()>,
}

impl Link {
    pub(super) async fn to(port: u16) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (way, ways) = watch::channel(Way::Open);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                links.spawn(pass(socket, ([127, 0, 0, 1], port).into(), ways.clone()));
            }
        });
        Link {
            port: own,
            way,
            _tasks: tasks,
        }
    }

    pub(super) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn pass(mut from: TcpStream, to: SocketAddr, mut way: watch::Receiver<Way>) {
    let mut cut = way.clone();
    let copy = async {
        let Ok(mut to) = TcpStream::connect(to).await else {
            return;
        };
        let (mut a, mut b) = (from.split(), to.split());
        loop {
            let _ = way.wait_for(|way| *way != Way::Frozen).await;
            let both = async {
                tokio::select! {
                    end = tokio::io::copy(&mut a.0, &mut b.1) => end,
                    end = tokio::io::copy(&mut b.0, &mut a.1) => end,
                }
            };
            tokio::select! {
                _ = both => return,
                _ = way.wait_for(|way| *way == Way::Frozen) => {}
            }
        }
    };
    tokio::select! {
        () = copy => {}
        _ = cut.wait_for(|way| *way == Way::Cut) => {}
    }
}

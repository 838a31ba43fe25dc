//! A NATS that a test may do anything to.

use super::server::DEADLINE;
use super::{NatsSettings, secret};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// A nats-server of the test's own.
pub(super) struct Own {
    child: Child,
    pub(super) port: u16,
    options: Vec<String>,
}

impl Own {
    pub(super) async fn start(options: &[&str]) -> Own {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let options: Vec<String> = options.iter().map(|option| (*option).into()).collect();
        let child = launch(port, &options);
        let own = Own {
            child,
            port,
            options,
        };
        own.ready().await;
        own
    }

    async fn ready(&self) {
        let answers = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let ready = timeout(DEADLINE, answers).await;
        ready.expect("nats-server doesn't start");
    }

    pub(super) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) async fn start_again(&mut self) {
        self.child = launch(self.port, &self.options);
        self.ready().await;
    }

    /// Sends it a signal, by name.
    pub(super) fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args([format!("-{name}"), self.child.id().to_string()]);
        assert!(kill.status().unwrap().success());
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(port: u16, options: &[String]) -> Child {
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    command
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("nats-server is installed")
}

/// A NATS without users at a port.
pub(super) fn nats_at(port: u16) -> NatsSettings {
    NatsSettings {
        urls: vec![secret(&format!("nats://127.0.0.1:{port}"))],
        prefix: "chirm.".into(),
        ..NatsSettings::default()
    }
}

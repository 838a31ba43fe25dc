//! A NATS that a test may do anything to.

use super::server::{DEADLINE, Process};
use super::{NatsSettings, secret};
use std::process::Command;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// A nats-server of the test's own.
pub(super) struct Own {
    process: Process,
    pub(super) port: u16,
}

impl Own {
    pub(super) async fn start(options: &[&str]) -> Own {
        let options: Vec<String> = options.iter().map(|option| (*option).into()).collect();
        let process = Process::start(move |port| nats_server(port, &options)).await;
        let own = Own {
            port: process.port,
            process,
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
        self.process.stop();
    }

    pub(super) async fn start_again(&mut self) {
        self.process.start_again();
        self.ready().await;
    }

    /// Sends it a signal, by name.
    pub(super) fn signal(&self, name: &str) {
        self.process.signal(name);
    }
}

fn nats_server(port: u16, options: &[String]) -> Command {
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    command.args(options);
    command
}

/// A NATS without users at a port.
pub(super) fn nats_at(port: u16) -> NatsSettings {
    NatsSettings {
        urls: vec![secret(&format!("nats://127.0.0.1:{port}"))],
        prefix: "chirm.".into(),
        ..NatsSettings::default()
    }
}

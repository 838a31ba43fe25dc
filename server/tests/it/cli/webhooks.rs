//! Webhooks by the command line, and what a killed server owes them.

use super::{Machine, Server, printed, text, utf8};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// Far more than any of this takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver in threads of its own: it answers every request with the status of the moment.
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<(u16, Value)>>>,
}

impl Receiver {
    fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let receiver = Receiver {
            url: format!("http://{}/", listener.local_addr().expect("an address")),
            status: Arc::new(AtomicU16::new(503)),
            got: Arc::default(),
        };
        let (status, got) = (receiver.status.clone(), receiver.got.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (status, got) = (status.clone(), got.clone());
                std::thread::spawn(move || take(&stream, &status, &got));
            }
        });
        receiver
    }

    fn got(&self) -> MutexGuard<'_, Vec<(u16, Value)>> {
        self.got.lock().expect("whole")
    }

    /// Waits until so many different events were taken.
    fn until_taken(&self, number: usize) {
        let start = Instant::now();
        while self.taken().len() < number {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.taken());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The contents that were taken, by channel, in their order; repeats right behind each other
    /// count once.
    fn taken(&self) -> Vec<(String, String)> {
        let got = self.got();
        let taken = got.iter().filter(|(status, _)| *status == 200);
        let told = taken.map(|(_, event)| {
            let message = &event["message"];
            (
                text(&message["channelId"]).to_owned(),
                text(&message["content"]).to_owned(),
            )
        });
        let mut by_channel: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (channel, content) in told {
            let contents = by_channel.entry(channel).or_default();
            if contents.last() != Some(&content) {
                contents.push(content);
            }
        }
        let flat = by_channel.into_iter();
        flat.flat_map(|(channel, all)| all.into_iter().map(move |one| (channel.clone(), one)))
            .collect()
    }
}

fn take(stream: &TcpStream, status: &AtomicU16, got: &Mutex<Vec<(u16, Value)>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let status = status.load(Ordering::SeqCst);
        let event = serde_json::from_slice(&body).expect("JSON");
        got.lock().expect("whole").push((status, event));
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
        let mut writer = stream;
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A machine whose server may send to this one, and a key of the admin scope.
fn machine() -> (Machine, String) {
    let machine = Machine::new();
    let settings = "[webhooks]\nallow_private = true\nretry_wait_max_s = 1\n";
    std::fs::write(machine.path("chirm.toml"), settings).expect("written");
    let data = machine.data();
    let key = machine.ok(&["key", "create", "--data", &data, "--scope", "admin"]);
    (machine, key.trim().to_owned())
}

fn serve(machine: &Machine) -> Server {
    machine.serve_with(&["--config", utf8(&machine.path("chirm.toml"))])
}

fn run(machine: &Machine, server: &Server, key: &str, arguments: &[&str]) -> String {
    let output = machine
        .bounded(&[arguments, &["--server", server.url.as_str()]].concat())
        .env("CHIRM_TOKEN", key)
        .output()
        .expect("the binary runs");
    printed(arguments, output)
}

fn json(machine: &Machine, server: &Server, key: &str, arguments: &[&str]) -> Value {
    let text = run(machine, server, key, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_killed_server_tells_what_it_had_not_told_yet() {
    let (machine, key) = machine();
    let receiver = Receiver::start();
    let server = serve(&machine);
    let call = |server: &Server, arguments: &[&str]| run(&machine, server, &key, arguments);
    let create = [
        "webhook",
        "create",
        &receiver.url,
        "--event",
        "message.created",
    ];
    let secret = call(&server, &create);
    assert!(secret.starts_with("whsec_"), "{secret}");
    let place = json(&machine, &server, &key, &["server", "create", "place"]);
    let (id, general) = (
        text(&place["server"]["id"]),
        text(&place["generalChannelId"]),
    );
    let other = ["channel", "create", id, "other"];
    let other = json(&machine, &server, &key, &other);
    let other = text(&other["channel"]["id"]);
    let mut expected = Vec::new();
    for number in 0..4 {
        for channel in [general, other] {
            let content = format!("{number}");
            call(&server, &["send", channel, &content]);
            expected.push((channel.to_owned(), content));
        }
    }
    expected.sort();

    // Killed while nothing is taken; then again as soon as something is.
    drop(server);
    assert!(receiver.got().iter().all(|(status, _)| *status == 503));
    let server = serve(&machine);
    receiver.status.store(200, Ordering::SeqCst);
    receiver.until_taken(1);
    drop(server);
    let server = serve(&machine);
    receiver.until_taken(expected.len());
    assert_eq!(receiver.taken(), expected);
    call(&server, &["send", general, "after"]);
    receiver.until_taken(expected.len() + 1);
}

#[test]
fn webhooks_are_managed_by_the_command_line() {
    let (machine, key) = machine();
    let receiver = Receiver::start();
    receiver.status.store(410, Ordering::SeqCst);
    let server = serve(&machine);
    let call = |arguments: &[&str]| run(&machine, &server, &key, arguments);
    assert!(call(&["webhook", "list"]).contains("no webhooks yet"));
    let create = [
        "webhook",
        "create",
        &receiver.url,
        "--event",
        "message.created",
    ];
    let made = json(&machine, &server, &key, &create);
    let id = text(&made["webhook"]["id"]);
    assert!(call(&["webhook", "list"]).contains(id));
    let place = json(&machine, &server, &key, &["server", "create", "place"]);
    call(&["send", text(&place["generalChannelId"]), "hello"]);
    let start = Instant::now();
    while !call(&["webhook", "dead", id]).contains("HTTP 410") {
        assert!(start.elapsed() < PATIENCE, "it doesn't die");
    }
    assert!(call(&["webhook", "list"]).contains("410 Gone"));
    receiver.status.store(200, Ordering::SeqCst);
    assert_eq!(call(&["webhook", "enable", id]).trim(), "on");
    assert_eq!(call(&["webhook", "retry", id]).trim(), "1 queued");
    receiver.until_taken(1);
    let letters = call(&["webhook", "dead", id]);
    assert!(letters.contains("it took everything"), "{letters}");
    assert!(call(&["webhook", "rotate", id]).starts_with("whsec_"));
    assert_eq!(call(&["webhook", "enable", id, "--off"]).trim(), "off");
    assert_eq!(call(&["webhook", "delete", id]).trim(), "deleted");
    assert!(call(&["webhook", "list"]).contains("no webhooks yet"));
}

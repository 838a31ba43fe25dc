//! A disk that is full, and a folder that isn't the server's.

use super::{Machine, Server, text, utf8};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How often a test asks for what must come: for a minute.
const TRIES_MAX: usize = 1_200;

/// A call by HTTP; its status and what came.
pub(super) fn call(server: &Server, call: &str, token: &str, body: &Value) -> (u16, String) {
    let address = server.url.strip_prefix("http://").expect("cleartext");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let length = body.len();
    let request = format!(
        "{call} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let mut socket = TcpStream::connect(address).expect("connects");
    socket.write_all(request.as_bytes()).expect("asks");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), body.to_owned())
}

fn parsed(answer: (u16, String)) -> (u16, Value) {
    let json = serde_json::from_str(&answer.1);
    (
        answer.0,
        json.unwrap_or_else(|e| panic!("{e}: {}", answer.1)),
    )
}

fn ready(server: &Server) -> u16 {
    call(server, "GET /readyz", "", &Value::Null).0
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..TRIES_MAX {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("never {what}");
}

/// No file of the server's may grow beyond so many bytes; none: as it likes.
fn bound_files(server: &Server, bytes: Option<u64>) {
    let bytes = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let set = Command::new("prlimit")
        .args(["--pid", &server.child.id().to_string()])
        .arg(format!("--fsize={bytes}:"))
        .status();
    assert!(set.expect("prlimit runs").success());
}

fn largest_file(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).expect("a folder");
    let sizes = files.map(|file| file.and_then(|file| file.metadata()));
    sizes
        .map(|file| file.expect("a file").len())
        .max()
        .unwrap_or(0)
}

/// Files that may not grow stand in for a full disk: the writes fail at the same places.
#[test]
fn a_full_disk_is_told_and_over_when_there_is_room() {
    let machine = Machine::new();
    let made = machine.json(&["key", "create", "--json", "--data", &machine.data()]);
    let key = text(&made["token"]).to_owned();
    // A write beyond the bound would end a process that doesn't ignore this signal.
    let ignoring = ["bash", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
    let server = machine.serve_by(&ignoring, &["--dev"]);
    let (_, made) = parsed(call(
        &server,
        "POST /v1/servers",
        &key,
        &json!({ "name": "s" }),
    ));
    let channel = text(&made["generalChannelId"]);
    let messages = format!("/v1/channels/{channel}/messages");
    let body = json!({ "content": "x".repeat(4_000) });
    let send = || parsed(call(&server, &format!("POST {messages}"), &key, &body));
    assert_eq!((send().0, ready(&server)), (200, 200));

    let room = largest_file(&machine.path("data")) + (256 << 10);
    bound_files(&server, Some(room));
    let mut acknowledged = Vec::new();
    let error = loop {
        let (status, answer) = send();
        if status != 200 {
            break (status, answer);
        }
        acknowledged.push(text(&answer["message"]["id"]).to_owned());
        assert!(acknowledged.len() < 10_000, "the disk never fills");
    };
    assert_eq!(error.0, 503, "{error:?}");
    let details = &error.1["error"]["details"];
    assert_eq!(error.1["error"]["status"], "UNAVAILABLE");
    assert_eq!(details[0]["reason"], "STORE_UNAVAILABLE");
    assert!(details[1]["retryDelay"].is_string(), "{error:?}");
    eventually("unready", || ready(&server) == 503);

    bound_files(&server, None);
    eventually("ready again", || ready(&server) == 200);
    assert_eq!(send().0, 200);
    for id in acknowledged {
        let get = format!("GET {messages}/{id}");
        assert_eq!(
            call(&server, &get, &key, &Value::Null).0,
            200,
            "{id} is lost"
        );
    }
}

fn set_mode(path: &Path, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("the folder is the test's");
}

/// What starts a program that folders' permissions hold for: for the superuser they don't.
fn held_to_permissions(folder: &Path) -> Option<Vec<&'static str>> {
    let without = vec!["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    [vec![], without].into_iter().find(|starters| {
        let words = [starters.as_slice(), &["touch"]].concat();
        let mut touch = Command::new(words[0]);
        let touched = touch.args(&words[1..]).arg(folder.join("touched")).output();
        touched.is_ok_and(|output| !output.status.success())
    })
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let machine = Machine::new();
    machine.ok(&["key", "create", "--data", &machine.data()]);
    let folder = machine.path("data");
    set_mode(&folder, 0o555);
    let Some(starters) = held_to_permissions(&folder) else {
        eprintln!("SKIPPED: nothing here is held to the permissions of folders");
        set_mode(&folder, 0o755);
        return;
    };
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", utf8(&folder)];
    let error = machine.error_by(&starters, &arguments);
    set_mode(&folder, 0o755);
    assert!(error.contains(utf8(&folder)), "{error}");
    assert!(
        error.contains("permission") || error.contains("written"),
        "{error}"
    );
}

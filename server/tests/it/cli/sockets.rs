//! More WebSockets than a process may open files at first, none of which says who it is.

use super::disk::call;
use super::{Machine, text, utf8};
use crate::browsers::sockets::raw;
use crate::support::PATIENCE;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// As many as there are, where a process may open twice as many files.
const SOCKETS: usize = 10_000;
/// Handshakes at once.
const AT_ONCE: usize = 64;
/// From a handshake to the first frame: longer than all handshakes take.
const CONFIG: &str = "[gateway]\nidentify_deadline_ms = 20000\n\n\
                      [limits]\nconnections_per_address = 20000\n";

/// What a socket is told at its end.
async fn last_words(mut socket: TcpStream) -> std::io::Result<String> {
    let mut said = Vec::new();
    // The answer to the server's goodbye: 4005, masked with zeros.
    let goodbye = [0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa5];
    let end = async {
        while socket.read_buf(&mut said).await? > 0 {
            if said.ends_with(&goodbye[6..]) {
                socket.write_all(&goodbye).await?;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    tokio::time::timeout(2 * PATIENCE, end)
        .await
        .expect("the end must come")?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_sockets_that_never_identify_are_let_go_and_disturb_nobody() {
    let machine = Machine::new();
    let made = machine.json(&["key", "create", "--json", "--data", &machine.data()]);
    let config = machine.path("chirm.toml");
    std::fs::write(&config, CONFIG).expect("writes");
    // As systems start programs: with few files, and leave to have more.
    let few_files = ["bash", "-c", "ulimit -Sn 256; exec \"$0\" \"$@\""];
    let server = machine.serve_by(&few_files, &["--config", utf8(&config)]);
    let may = chirm_net::raise_open_files(SOCKETS);
    let count = SOCKETS.min(may / 2);
    assert!(count > 256, "too few files may be open here: {may}");

    let address = server.url.strip_prefix("http://").expect("cleartext");
    let address = address.parse().expect("an address");
    let sockets: Vec<TcpStream> = stream::iter(0..count)
        .map(|_| raw(address))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    // A back end is served as ever while all of them are there.
    let key = text(&made["token"]).to_owned();
    let body = json!({ "name": "s" });
    let (status, _) =
        tokio::task::block_in_place(|| call(&server, "POST /v1/servers", &key, &body));
    assert_eq!(status, 200);
    let mut ends = stream::iter(sockets)
        .map(last_words)
        .buffer_unordered(count);
    while let Some(said) = ends.try_next().await.expect("an end in words") {
        assert!(said.contains("IDENTIFY_TIMEOUT"), "{said}");
        assert!(said.ends_with("\u{f}\u{fffd}"), "the close code: {said:?}");
    }
    // There is room again.
    drop(raw(address).await);
}

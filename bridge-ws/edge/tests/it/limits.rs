//! Who is kept out, and when.

use crate::browser::Browser;
use crate::support::{Bridge, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_are_refused() {
    let server = Server::start().await;
    let allowed = ["--allowed-origin", "https://app.example.com"];
    let bridge = Bridge::start(&[&server.url()], &allowed).await;
    let open = async |origin| {
        let stream = TcpStream::connect(bridge.address).await.unwrap();
        Browser::open(stream, bridge.address, "chirm.v1.proto", origin).await
    };
    assert!(open(None).await.is_ok());
    assert!(open(Some("https://app.example.com")).await.is_ok());
    let own = format!("http://{}", bridge.address);
    assert!(open(Some(own.as_str())).await.is_ok());
    let Err((status, body)) = open(Some("https://evil.test")).await else {
        panic!("it was let in");
    };
    assert!(
        status == 403 && body.contains("ORIGIN_REFUSED"),
        "{status} {body}"
    );
    let refused = "chirm_bridge_handshakes_refused_total{reason=\"ORIGIN_REFUSED\"}";
    assert_eq!(bridge.metric(refused).await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_its_share_of_connections() {
    let server = Server::start().await;
    let bridge = Bridge::start(&[&server.url()], &["--connections-per-address", "2"]).await;
    let _held = [
        Browser::connect(&bridge).await,
        Browser::connect(&bridge).await,
    ];
    let mut third = TcpStream::connect(bridge.address).await.unwrap();
    // It may be closed before it is written to.
    let _ = third
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    let _ = third.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

/// A trusted proxy's connections are many clients', and its word on them counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_may_have_more() {
    let server = Server::start().await;
    let flags = [
        "--connections-per-address",
        "1",
        "--trusted-proxy",
        "127.0.0.1",
    ];
    let bridge = Bridge::start(&[&server.url()], &flags).await;
    let _held = [
        Browser::connect(&bridge).await,
        Browser::connect(&bridge).await,
    ];
    assert_eq!(bridge.get("/healthz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_browser_is_let_go_and_costs_no_gateway_anything() {
    let server = Server::start().await;
    let bridge = Bridge::start(&[&server.url()], &[]).await;
    let mut browser = Browser::connect(&bridge).await;
    let (frames, closing) = browser.end().await;
    assert!(frames.is_empty());
    assert_eq!((closing.code, browser.code), (4005, Some(4005)));
    let sessions = format!("chirm_bridge_sessions{{upstream=\"{}\"}}", server.url());
    assert_eq!(bridge.metric(&sessions).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_flag_ends_the_start_with_its_name() {
    let run = async |flags: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_chirm-bridge-ws"));
        let output = command.args(flags).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = run(&[]).await;
    assert!(code == Some(2) && said.contains("--upstream"), "{said}");
    let upstream = ["--upstream", "http://127.0.0.1:1"];
    for (flag, value) in [
        ("--listen", "192.0.2.1:80"),
        ("--allowed-origin", "app.example.com"),
        ("--log-level", "loud=very=much"),
    ] {
        let (code, said) = run(&[&upstream[..], &[flag, value]].concat()).await;
        assert!(code == Some(1) && said.contains(flag), "{flag}: {said}");
    }
}

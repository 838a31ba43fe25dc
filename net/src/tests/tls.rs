//! TLS: both protocols, handshakes that stop, certificates that change.

use std::path::Path;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::Tls;

struct Pair {
    cert: CertificateDer<'static>,
    cert_pem: String,
    key_pem: String,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Pair {
        cert: made.cert.der().clone(),
        cert_pem: made.cert.pem(),
        key_pem: made.signing_key.serialize_pem(),
    }
}

fn files(folder: &Path) -> Tls {
    Tls {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    }
}

async fn start(folder: &Path, pair: &Pair, change: impl FnOnce(&mut Options)) -> Port {
    let files = files(folder);
    std::fs::write(&files.cert, &pair.cert_pem).unwrap();
    std::fs::write(&files.key, &pair.key_pem).unwrap();
    let mut options = options().with_tls(files).unwrap();
    change(&mut options);
    Port::with(options).await
}

async fn connect(port: &Port, roots: &[&Pair], alpn: &[&[u8]]) -> TlsStream<TcpStream> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.cert.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, port.connect().await)
        .await
        .unwrap()
}

/// The certificate that new connections get.
async fn shown(port: &Port, roots: &[&Pair]) -> CertificateDer<'static> {
    let stream = connect(port, roots, &[b"h2"]).await;
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

#[tokio::test]
async fn both_protocols_are_spoken() {
    let (folder, pair) = (tempfile::tempdir().unwrap(), pair());
    let port = start(folder.path(), &pair, |_| ()).await;
    let stream = connect(&port, &[&pair], &[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, _connection) = h2_client(stream).await;
    let response = h2_get(&client, "/").await.unwrap();
    assert_eq!(h2_text(response).await.unwrap(), "127.0.0.1 tls=true");
    // Without ALPN the first bytes tell.
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        let mut stream = connect(&port, &[&pair], alpn).await;
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        assert!(rest(&mut stream).await.ends_with(b"127.0.0.1 tls=true"));
    }
    let (client, _connection) = h2_client(connect(&port, &[&pair], &[]).await).await;
    let response = h2_get(&client, "/").await.unwrap();
    assert_eq!(h2_text(response).await.unwrap(), "127.0.0.1 tls=true");
}

#[tokio::test]
async fn handshakes_that_stop_or_fail_are_closed() {
    let (folder, pair) = (tempfile::tempdir().unwrap(), pair());
    let port = start(folder.path(), &pair, |config| {
        config.net.handshake_timeout = SHORT * 5
    })
    .await;
    for bytes in [
        &b""[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let answer = rest(&mut port.say(bytes).await).await;
        assert!(!answer.starts_with(b"HTTP"));
    }
}

#[tokio::test]
async fn a_new_pair_is_used_and_a_bad_one_is_not() {
    let (folder, old, new) = (tempfile::tempdir().unwrap(), pair(), pair());
    let roots = [&old, &new];
    let port = start(folder.path(), &old, |config| {
        config.net.tls_reload = SHORT / 10
    })
    .await;
    assert_eq!(shown(&port, &roots).await, old.cert);
    let files = files(folder.path());
    // A connection from before goes on.
    let (client, _connection) = h2_client(connect(&port, &roots, &[b"h2"]).await).await;
    for half in [new.cert_pem.as_str(), "nonsense"] {
        std::fs::write(&files.cert, half).unwrap();
        tokio::time::sleep(SHORT).await;
        assert_eq!(shown(&port, &roots).await, old.cert);
    }
    std::fs::write(&files.cert, &new.cert_pem).unwrap();
    std::fs::write(&files.key, &new.key_pem).unwrap();
    while shown(&port, &roots).await != new.cert {
        tokio::time::sleep(SHORT / 10).await;
    }
    let response = h2_get(&client, "/").await.unwrap();
    assert_eq!(h2_text(response).await.unwrap(), "127.0.0.1 tls=true");
}

#[tokio::test]
async fn a_bad_pair_at_start_is_an_error() {
    let (folder, pair, other) = (tempfile::tempdir().unwrap(), pair(), pair());
    let files = files(folder.path());
    let error = || options().with_tls(files.clone()).unwrap_err().to_string();
    assert!(error().contains("cert.pem"));
    std::fs::write(&files.cert, "").unwrap();
    std::fs::write(&files.key, &other.key_pem).unwrap();
    assert!(error().contains("no PEM certificate"));
    std::fs::write(&files.cert, &pair.cert_pem).unwrap();
    assert!(error().contains("certificate and key"));
    std::fs::write(&files.key, &pair.cert_pem).unwrap();
    assert!(error().contains("key.pem"));
}

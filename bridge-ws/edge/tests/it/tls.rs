//! TLS on both sides.

use crate::support::{Bridge, Server, request};
use chirm_server::config::Tls;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A certificate for `localhost` and its key, in files of a folder.
fn certificate(dir: &Path) -> (Tls, rcgen::CertifiedKey<rcgen::KeyPair>) {
    let made =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let files = Tls {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    };
    std::fs::write(&files.cert, made.cert.pem()).expect("a certificate");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("a certificate");
    (files, made)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_can_be_encrypted() {
    let dir = tempfile::tempdir().unwrap();
    let (files, made) = certificate(dir.path());
    let server = Server::start_with(|config| config.tls = Some(files.clone())).await;
    let upstream = format!("https://localhost:{}", server.address.port());
    let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
    let tls = ["--tls-cert", cert, "--tls-key", key, "--upstream-ca", cert];
    let bridge = Bridge::start(&[&upstream], &tls).await;

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(bridge.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    let answer = request(stream, "GET /v1/users/@me HTTP/1.1", &[], "").await;
    assert_eq!(answer.status, 401, "{}", answer.body);
    assert!(answer.body.contains("TOKEN_MISSING"), "{}", answer.body);
}

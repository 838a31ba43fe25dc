//! Against real sockets on loopback: what is sent, what is refused, what is given up.

use super::*;
use bytes::Bytes;
use futures::future::BoxFuture;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Long enough for whatever ends by itself.
const LONG: Duration = Duration::from_secs(30);
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn local() -> Rules {
    Rules {
        private: true,
        ..Rules::default()
    }
}

fn client(rules: Rules) -> Client {
    Client::new(rules, Arc::new(SystemResolver), Trust::load(None).unwrap())
}

async fn post(client: &Client, url: &str, within: Duration) -> Result<Answer, Failure> {
    let target = Target::parse(url, &local()).unwrap();
    let key = SigningKey::parse(SECRET).unwrap();
    let post = Post {
        target: &target,
        id: ID,
        timestamp: 1_614_265_330,
        keys: &[&key],
        body: Bytes::from_static(BODY),
        within,
    };
    client.post(post).await
}

/// Reads a request with [`BODY`], answers its head.
async fn take<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    let mut read = Vec::new();
    while !read.ends_with(BODY) {
        if stream.read_buf(&mut read).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8(read).unwrap().to_lowercase()
}

/// A receiver that answers each request, of a connection of its own, with these bytes, and then
/// says no more. Its URL, and the requests that it got.
async fn receiver(answer: Vec<u8>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?key=a", listener.local_addr().unwrap());
    let got = Arc::new(Mutex::new(Vec::new()));
    let requests = got.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let request = take(&mut stream).await;
            requests.lock().unwrap().push(request);
            // Who stops reading half-way resets.
            let _ = stream.write_all(&answer).await;
            open.push(stream);
        }
    });
    (url, got)
}

#[tokio::test]
async fn a_signed_body_is_posted_and_the_answer_comes_back() {
    let answer = "HTTP/1.1 202 Accepted\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nfine";
    let (url, got) = receiver(answer.into()).await;
    let answer = post(&client(local()), &url, LONG).await.unwrap();
    assert_eq!(answer.status, 202);
    assert_eq!((answer.body.as_ref(), answer.whole), (&b"fine"[..], true));
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    let requests = got.lock().unwrap().clone();
    let request = requests[0].as_str();
    assert!(
        request.starts_with("post /hook?key=a http/1.1\r\n"),
        "{request}"
    );
    for header in [
        "content-type: application/json\r\n",
        "webhook-id: msg_p5jxn8aqm9lwm0d4lokwxjek\r\n",
        "webhook-timestamp: 1614265330\r\n",
        "webhook-signature: v1,",
    ] {
        assert!(request.contains(header), "no {header} in {request}");
    }
}

/// The signature that the reference implementation of Standard Webhooks (`standardwebhooks` for
/// Python) makes of the same.
#[test]
fn a_signature_is_that_of_standard_webhooks() {
    let key = SigningKey::parse(SECRET).unwrap();
    let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(key.sign(ID, 1_614_265_330, BODY), expected);
    assert_ne!(key.sign(ID, 1_614_265_331, BODY), expected);
    assert_eq!(key.expose(), SECRET);
    let new = SigningKey::generate();
    assert_eq!(
        SigningKey::parse(&new.expose()).unwrap().bytes(),
        new.bytes()
    );
    assert_eq!(format!("{new:?}"), "SigningKey");
    for wrong in ["", "whsec_", "whsec_AAAA", "whsec_%%%%", &SECRET[6..]] {
        assert!(SigningKey::parse(wrong).is_none(), "{wrong}");
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nno";
    for answer in ["", "HTTP/1.1 200", half] {
        let (url, _) = receiver(answer.into()).await;
        let failure = post(&client(local()), &url, Duration::from_millis(100)).await;
        assert!(matches!(failure, Err(Failure::TimedOut(_))), "{failure:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_read_up_to_the_bound() {
    let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    answer.resize(answer.len() + 4 * ANSWER_BYTES_MAX, b'a');
    let (url, _) = receiver(answer).await;
    let answer = post(&client(local()), &url, LONG).await.unwrap();
    assert_eq!((answer.body.len(), answer.whole), (ANSWER_BYTES_MAX, false));
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let mut answer = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    answer.resize(1024 * 1024, b'a');
    let (url, _) = receiver(answer).await;
    let failure = post(&client(local()), &url, LONG).await;
    assert!(matches!(failure, Err(Failure::Broken(_))), "{failure:?}");
}

#[tokio::test]
async fn what_is_not_http_is_a_failure_and_so_is_silence() {
    for answer in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    ] {
        let (url, _) = receiver(answer.into()).await;
        let failure = post(&client(local()), &url, LONG).await;
        assert!(matches!(failure, Err(Failure::Broken(_))), "{failure:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}/secret", listener.local_addr().unwrap());
    drop(listener);
    let failure = post(&client(local()), &nobody, LONG).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    assert!(!failure.to_string().contains("secret"), "{failure}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (elsewhere, got) = receiver(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into()).await;
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n"
    );
    let (url, _) = receiver(answer.into_bytes()).await;
    let answer = post(&client(local()), &url, LONG).await.unwrap();
    assert_eq!(answer.status, 307);
    assert!(got.lock().unwrap().is_empty(), "the redirect was followed");
}

/// Answers each question with the next of these; the last one for ever.
struct Answers {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Resolve for Answers {
    fn resolve(&self, _host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = &self.answers[asked.min(self.answers.len() - 1)];
        let found = answer.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        Box::pin(async move { Ok(found) })
    }
}

/// 127.0.0.1 stands for the public internet, 127.0.0.2 for what is within.
#[tokio::test]
async fn a_name_that_is_bound_to_another_address_later_is_not_followed_there() {
    const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const WITHIN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let (url, got) = receiver(answer.into()).await;
    let port = url.parse::<http::Uri>().unwrap().port_u16().unwrap();
    let secret = TcpListener::bind((WITHIN, port)).await.unwrap();
    let rules = Rules {
        http: true,
        addresses: vec![OUTSIDE],
        ..Rules::default()
    };
    let resolver = Arc::new(Answers {
        answers: vec![vec![OUTSIDE], vec![WITHIN], vec![OUTSIDE, WITHIN], vec![]],
        asked: AtomicUsize::new(0),
    });
    let client = Client::new(rules, resolver.clone(), Trust::load(None).unwrap());
    let url = format!("http://rebinding.example:{port}/");
    // What was checked is what is connected to: the name is asked for once.
    assert_eq!(post(&client, &url, LONG).await.unwrap().status, 200);
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
    for _ in 0..2 {
        let failure = post(&client, &url, LONG).await;
        assert!(matches!(failure, Err(Failure::Forbidden(_))), "{failure:?}");
    }
    let failure = post(&client, &url, LONG).await;
    assert!(
        matches!(failure, Err(Failure::Unreachable(_))),
        "{failure:?}"
    );
    assert_eq!(got.lock().unwrap().len(), 1);
    let reached = tokio::time::timeout(Duration::from_millis(50), secret.accept()).await;
    assert!(reached.is_err(), "what is within was connected to");
}

#[tokio::test]
async fn names_and_spellings_of_loopback_are_refused_once_resolved() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = client(Rules {
        http: true,
        ..Rules::default()
    });
    for host in [
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
    ] {
        let failure = post(&client, &format!("http://{host}:{port}/"), LONG).await;
        assert!(
            matches!(failure, Err(Failure::Forbidden(_))),
            "{host} {failure:?}"
        );
    }
    let reached = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(reached.is_err(), "loopback was connected to");
}

/// A receiver by TLS as `localhost`: its URL, and the file with its certificate.
async fn secure(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("ca.pem"), made.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who doesn't believe the certificate ends the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            take(&mut stream).await;
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    format!("https://localhost:{port}/")
}

#[tokio::test]
async fn only_believed_certificates_are_sent_to() {
    let folder = tempfile::tempdir().unwrap();
    let url = secure(folder.path()).await;
    let ca = folder.path().join("ca.pem");
    let trust = Trust::load(Some(&ca)).unwrap();
    let believing = Client::new(local(), Arc::new(SystemResolver), trust);
    assert_eq!(post(&believing, &url, LONG).await.unwrap().status, 204);
    let failure = post(&client(local()), &url, LONG).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    assert!(failure.to_string().contains("TLS"), "{failure}");
    let other_name = url.replace("localhost", "127.0.0.1");
    let failure = post(&believing, &other_name, LONG).await.unwrap_err();
    assert!(failure.to_string().contains("TLS"), "{failure}");
    let absent = Trust::load(Some(&folder.path().join("absent.pem")));
    assert!(absent.unwrap_err().to_string().contains("absent.pem"));
}

#[test]
fn urls_are_checked_before_anything_is_sent() {
    let strict = Rules::default();
    let parse = |url: &str| Target::parse(url, &strict);
    for good in [
        "https://example.com/a?b=c",
        "https://example.com:8443",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
    ] {
        assert!(parse(good).is_ok(), "{good}");
    }
    for (wrong, why) in [
        ("", TargetError::Malformed),
        ("/path", TargetError::Malformed),
        ("https://", TargetError::Malformed),
        ("https://example.com/#part", TargetError::Malformed),
        ("https://exa mple.com/", TargetError::Malformed),
        ("example.com", TargetError::Scheme),
        ("http://example.com/", TargetError::Scheme),
        ("ftp://example.com/", TargetError::Scheme),
        ("https://user@example.com/", TargetError::Credentials),
        (
            "https://user:password@example.com/",
            TargetError::Credentials,
        ),
        ("https://example.com:22/", TargetError::Port),
        ("https://example.com:0/", TargetError::Port),
        ("https://example.com:65536/", TargetError::Port),
        ("https://127.0.0.1/", TargetError::Address),
        ("https://[::1]/", TargetError::Address),
        ("https://[::ffff:10.0.0.1]/", TargetError::Address),
    ] {
        assert_eq!(parse(wrong).unwrap_err(), why, "{wrong}");
    }
    let long = format!("https://example.com/{}", "a".repeat(URL_BYTES_MAX));
    assert_eq!(parse(&long).unwrap_err(), TargetError::Long);
    let http = Rules {
        http: true,
        ..Rules::default()
    };
    assert!(Target::parse("http://example.com/", &http).is_ok());
    assert!(Target::parse("http://10.0.0.1/", &http).is_err());
    assert!(Target::parse("http://10.0.0.1:22/", &local()).is_ok());
    let shown = format!("{:?}", parse("https://example.com/secret").unwrap());
    assert_eq!(shown, "Target(example.com:443)");
}

#[test]
fn only_public_addresses_are_public() {
    for address in [
        "8.8.8.8",
        "100.128.0.1",
        "172.32.0.1",
        "2606:4700::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "223.255.255.255",
    ] {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(!is_public(address.parse().unwrap()), "{address}");
    }
}

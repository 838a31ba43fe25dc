//! The hook before a send, against a service on loopback.

use super::*;
use crate::config::{HookFailure, Hooks, PreSend};
use crate::model::Message;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const NONCE: &str = "0190163d-8694-739b-aea5-966c26f8ad91";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What the service got: each request as it came, head and body.
type Requests = Arc<Mutex<Vec<(String, serde_json::Value)>>>;

/// A service that refuses "bad", makes "***" of "curse", says nothing that can be understood to
/// "odd", too much to "long", nothing at all to "hang", and allows the rest.
async fn service() -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/review", listener.local_addr().unwrap());
    let requests = Requests::default();
    let got = requests.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, got.clone()));
        }
    });
    (url, requests)
}

async fn answer(mut stream: TcpStream, got: Requests) {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        let Ok(draft) = serde_json::from_str::<serde_json::Value>(body) else {
            match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        let content = draft["content"].as_str().unwrap_or_default().to_owned();
        got.lock().unwrap().push((head.to_lowercase(), draft));
        let say = match content.as_str() {
            "bad" => r#"{"action":"reject","reason":"No."}"#.to_owned(),
            "curse" => r#"{"action":"rewrite","content":"*** <@7>"}"#.to_owned(),
            "odd" => "what?".to_owned(),
            "long" => {
                let long = "x".repeat(4_001);
                format!(r#"{{"action":"rewrite","content":"{long}"}}"#)
            }
            "hang" => return std::future::pending().await,
            _ => r#"{"action":"allow"}"#.to_owned(),
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", say.len());
        let _ = stream.write_all((head + &say).as_bytes()).await;
        read.clear();
    }
}

async fn reviewed(url: &str, fail: HookFailure) -> (World, Caller, Id) {
    let fail = match fail {
        HookFailure::Open => "open",
        HookFailure::Closed => "closed",
    };
    let hook = serde_json::json!({
        "url": url, "secret": SECRET, "timeout_ms": 500, "fail": fail, "concurrency": 4,
    });
    let hook: PreSend = serde_json::from_value(hook).unwrap();
    let world = World::with(|config| {
        config.hooks = Hooks {
            pre_send: Some(hook),
        };
    });
    let world = world.await;
    world.domain.open_hooks().unwrap();
    let owner = world.user("owner").await;
    let (_, general) = world.server(&owner, &[]).await;
    (world, owner, general)
}

async fn send(world: &World, by: &Caller, channel: Id, text: &str) -> Result<Message, Error> {
    let send = SendMessage {
        channel_id: channel,
        content: text.into(),
        nonce: NONCE.into(),
        ..SendMessage::default()
    };
    world.domain.send_message(by, send).await
}

#[tokio::test]
async fn a_message_is_allowed_refused_or_rewritten() {
    let (url, requests) = service().await;
    let (world, owner, general) = reviewed(&url, HookFailure::Closed).await;
    world.send(&owner, general, "good").await.unwrap();
    let refused = world.send(&owner, general, "bad").await.unwrap_err();
    assert_eq!(refused.reason, Reason::RejectedByHook);
    assert_eq!(refused.message, "No.");
    let curse = world.send(&owner, general, "curse").await.unwrap();
    let stored = world
        .domain
        .get_message(&owner, general, curse)
        .await
        .unwrap();
    assert_eq!(
        (stored.content.as_str(), stored.mentions),
        ("*** <@7>", vec![7])
    );
    let edit = |text: &str| {
        let domain = world.domain.clone();
        let (owner, text) = (owner.clone(), text.to_owned());
        async move { domain.edit_message(&owner, general, curse, text).await }
    };
    assert_eq!(why(edit("bad").await), Reason::RejectedByHook);
    assert_eq!(edit("curse").await.unwrap().content, "*** <@7>");
    assert_eq!(edit("fine").await.unwrap().content, "fine");
    let (head, draft) = requests.lock().unwrap()[0].clone();
    assert!(head.starts_with("post /review http/1.1\r\n"), "{head}");
    for header in [
        "webhook-id: hook_",
        "webhook-timestamp: ",
        "webhook-signature: v1,",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert_eq!(draft["event"], "message.create");
    assert_eq!(draft["channel_id"], general.to_string());
    assert_eq!(draft["author_id"], owner.user_id.to_string());
    let (_, draft) = requests.lock().unwrap()[3].clone();
    assert_eq!(draft["event"], "message.update");
    assert_eq!(draft["message_id"], curse.to_string());
    let told = world.told(TopicKey::channel(general)).await;
    assert_eq!(told.len(), 4, "two messages, two edits: {told:?}");
}

#[tokio::test]
async fn what_the_service_does_not_say_is_open_or_closed() {
    let (url, _requests) = service().await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    for (url, texts) in [(&url, &["odd", "long", "hang"][..]), (&gone, &["good"][..])] {
        let (open, owner, general) = reviewed(url, HookFailure::Open).await;
        let (closed, other, room) = reviewed(url, HookFailure::Closed).await;
        for text in texts {
            let sent = open.send(&owner, general, text).await.unwrap();
            let stored = open.domain.get_message(&owner, general, sent).await;
            assert_eq!(stored.unwrap().content, *text);
            let refused = closed.send(&other, room, text).await.unwrap_err();
            assert_eq!(refused.reason, Reason::HookUnavailable, "{text}");
            assert!(refused.retry_after.is_some());
        }
    }
}

#[tokio::test]
async fn a_nonce_stands_for_what_was_sent_whatever_became_of_it() {
    let (url, requests) = service().await;
    let (world, owner, general) = reviewed(&url, HookFailure::Closed).await;
    let first = send(&world, &owner, general, "curse").await.unwrap();
    assert_eq!(first.content, "*** <@7>");
    let asked = requests.lock().unwrap().len();
    assert_eq!(send(&world, &owner, general, "curse").await.unwrap(), first);
    let other = send(&world, &owner, general, "*** <@7>").await;
    assert_eq!(why(other), Reason::NonceReused);
    // After a restart only the store knows.
    let world = world.restart().await;
    world.domain.open_hooks().unwrap();
    assert_eq!(send(&world, &owner, general, "curse").await.unwrap(), first);
    let other = send(&world, &owner, general, "*** <@7>").await;
    assert_eq!(why(other), Reason::NonceReused);
    assert_eq!(
        requests.lock().unwrap().len(),
        asked,
        "a repeat isn't reviewed anew"
    );
}

#[tokio::test]
async fn settings_of_a_hook_that_can_not_work_are_told() {
    let with = async |change: fn(&mut PreSend)| {
        let mut hook = PreSend {
            url: "https://example.com/review".to_owned(),
            secret: None,
            secret_file: Some("/no/such/file".into()),
            ca_file: None,
            timeout: Duration::from_millis(100),
            fail: HookFailure::Open,
            concurrency: 1,
        };
        change(&mut hook);
        let world = World::with(|config| config.hooks.pre_send = Some(hook)).await;
        world.domain.open_hooks().unwrap_err()
    };
    let told = with(|hook| hook.url = "ftp://example.com".to_owned()).await;
    assert!(told.starts_with("url "), "{told}");
    let told = with(|_| {}).await;
    assert!(told.starts_with("secret_file /no/such/file"), "{told}");
    let told = with(|hook| hook.secret_file = Some("Cargo.toml".into())).await;
    assert!(told.starts_with("secret must"), "{told}");
}

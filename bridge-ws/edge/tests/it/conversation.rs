//! What people notice of a bridge: nothing.

use crate::browser::{Browser, content};
use crate::support::{Bridge, Server};
use chirm_proto::v1::{self, client_frame, server_frame};
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_through() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let channel = ann.create_channel().await;
    let bridge = Bridge::start(&[&server.url()], &[]).await;
    bridge.ready().await;

    let mut browser = Browser::connect(&bridge).await;
    let before = browser.identify(&ann, vec![]).await;
    assert!(matches!(before[0], server_frame::Frame::Hello(_)));
    ann.send(channel, "from elsewhere").await;
    assert_eq!(browser.contents(channel, 1).await, ["from elsewhere"]);
    let send = v1::SendMessageRequest {
        channel_id: channel,
        content: "from the browser".to_owned(),
        ..Default::default()
    };
    browser.send(client_frame::Frame::SendMessage(send)).await;
    assert_eq!(browser.contents(channel, 1).await, ["from the browser"]);

    let stream = TcpStream::connect(bridge.address).await.unwrap();
    let other = Browser::open(stream, bridge.address, "chirm.v1.json", None).await;
    let mut other = other.unwrap().socket;
    let identify = serde_json::json!({ "identify": { "token": ann.token } });
    let identify = Message::Text(identify.to_string().into());
    other.send(identify).await.unwrap();
    let first = other.next().await.unwrap().unwrap();
    assert!(
        first.to_text().unwrap().starts_with("{\"hello\":"),
        "{first}"
    );

    let upstream = format!("{{upstream=\"{}\"}}", server.url());
    let sessions = format!("chirm_bridge_sessions{upstream}");
    assert_eq!(bridge.metric(&sessions).await, Some(2.0));
    assert_eq!(bridge.metric("chirm_websockets").await, Some(2.0));
    let frames = bridge.metric("chirm_bridge_frames_total{direction=\"in\"}");
    assert_eq!(frames.await, Some(3.0));
}

/// The bridge keeps nothing: what a client holds is enough for another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_bridge_loses_nothing() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let channel = ann.create_channel().await;
    let bridge = Bridge::start(&[&server.url()], &[]).await;
    let mut browser = Browser::connect(&bridge).await;
    browser.identify(&ann, vec![]).await;
    ann.send(channel, "one").await;
    let held = loop {
        let frame = browser.next().await.expect("a message");
        if let Some((_, position)) = content(&frame, channel) {
            break position;
        }
    };

    let address = bridge.address.to_string();
    bridge.kill().await;
    while browser.next().await.is_some() {}
    ann.send(channel, "two").await;
    ann.send(channel, "three").await;
    let bridge = Bridge::start_at(&address, &[&server.url()], &[]).await;
    let mut browser = Browser::connect(&bridge).await;
    let replayed = browser.identify(&ann, vec![held]).await;
    let missed: Vec<_> = replayed
        .iter()
        .filter_map(|frame| content(frame, channel))
        .map(|(content, _)| content)
        .collect();
    assert_eq!(missed, ["two", "three"]);
    ann.send(channel, "four").await;
    assert_eq!(browser.contents(channel, 1).await, ["four"]);
}

/// All share one connection to the gateway. Those who don't read are many windows' worth behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_does_not_read_holds_up_nobody() {
    const MESSAGES: usize = 600;
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let channel = ann.create_channel().await;
    let one = ["--warm-connections", "1", "--upstream-connections", "1"];
    let bridge = Bridge::start(&[&server.url()], &one).await;
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut browser = Browser::narrow(&bridge).await;
        browser.identify(&ann, vec![]).await;
        slow.push(browser);
    }
    let mut reader = Browser::connect(&bridge).await;
    reader.identify(&ann, vec![]).await;

    let content = "x".repeat(3_900);
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            ann.send(channel, &format!("{number} {content}")).await;
        }
    });
    let contents = reader.contents(channel, MESSAGES).await;
    for (number, content) in contents.iter().enumerate() {
        assert!(content.starts_with(&format!("{number} ")), "{number}");
    }
    sending.await.unwrap();

    let upstream = format!("{{upstream=\"{}\"}}", server.url());
    let connections = format!("chirm_bridge_upstream_connections{upstream}");
    assert_eq!(bridge.metric(&connections).await, Some(1.0));
    for mut browser in slow {
        let (frames, closing) = browser.end().await;
        assert_eq!((closing.code, browser.code), (4021, Some(4021)));
        let read = frames
            .iter()
            .filter(|f| matches!(f, server_frame::Frame::Event(_)));
        assert!(read.count() < MESSAGES, "it was not behind");
    }
}

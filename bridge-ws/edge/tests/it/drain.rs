//! SIGTERM.

use crate::browser::Browser;
use crate::support::{Bridge, Server, eventually};
use chirm_proto::v1::{Advice, server_frame};

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_asked_to_go_before_the_end() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let mut bridge = Bridge::start(&[&server.url()], &["--drain-ms", "1000"]).await;
    bridge.ready().await;
    let mut browsers = Vec::new();
    for _ in 0..4 {
        let mut browser = Browser::connect(&bridge).await;
        browser.identify(&ann, vec![]).await;
        browsers.push(browser);
    }
    // One that hasn't said anything yet; and as nobody reads it, the drain waits for it.
    let mut silent = Browser::connect(&bridge).await;
    bridge.terminate().await;
    eventually("not ready", async || {
        (bridge.get("/readyz").await == (503, "draining\n".to_owned())).then_some(())
    })
    .await;
    let mut late = Browser::connect(&bridge).await;
    assert_eq!(late.end().await.1.code, 4030);

    for mut browser in browsers {
        let (frames, closing) = browser.end().await;
        assert_eq!((closing.code, closing.advice()), (4030, Advice::Resume));
        assert_eq!(browser.code, Some(4030));
        let asked = |frame: &server_frame::Frame| match frame {
            server_frame::Frame::Reconnect(reconnect) => reconnect.after.is_some(),
            _ => false,
        };
        assert!(frames.last().is_some_and(asked), "{frames:?}");
    }
    assert_eq!(silent.end().await.1.code, 4030);
    assert_eq!(bridge.ended().await, Some(0));
}

/// A gateway's own drain reaches its browsers as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_goodbye_is_handed_on() {
    let server = Server::start_with(|config| {
        config.gateway.drain = std::time::Duration::from_millis(100);
    })
    .await;
    let ann = server.user("ann").await;
    let bridge = Bridge::start(&[&server.url()], &[]).await;
    let mut browser = Browser::connect(&bridge).await;
    browser.identify(&ann, vec![]).await;
    server.shut_down();
    let (frames, closing) = browser.end().await;
    assert_eq!((closing.code, browser.code), (4030, Some(4030)));
    let last = frames.last();
    assert!(
        matches!(last, Some(server_frame::Frame::Reconnect(_))),
        "{last:?}"
    );
}

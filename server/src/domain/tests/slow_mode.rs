//! Slow mode.

use super::moderation::Home;
use super::*;
use crate::model::ChannelType;

const NONCE: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

#[tokio::test]
async fn a_slow_channel_takes_one_message_an_interval() {
    let mut home = Home::new().await;
    home.slow(60).await;
    let minute = Duration::from_secs(60);
    home.send_with(&home.member, "").await.unwrap();
    home.world.clock.advance(Duration::from_secs(20));
    let early = home.send_with(&home.member, "").await.unwrap_err();
    assert_eq!(early.reason, Reason::SlowMode);
    assert_eq!(early.retry_after, Some(Duration::from_secs(40)));
    for _ in 0..2 {
        home.send_with(&home.moderator, "").await.unwrap();
    }
    // After a restart the store remembers.
    home.world = home.world.restart().await;
    let early = home.send_with(&home.member, "").await.unwrap_err();
    assert_eq!(early.reason, Reason::SlowMode);
    let left = early.retry_after.unwrap();
    assert!(
        left <= Duration::from_secs(41) && left > Duration::from_secs(39),
        "{left:?}"
    );
    home.world.clock.advance(Duration::from_secs(41));
    home.send_with(&home.member, "").await.unwrap();
    home.world.clock.advance(minute);
    // Of two at once one is early.
    let both = futures::join!(
        home.send_with(&home.member, ""),
        home.send_with(&home.member, "")
    );
    assert_eq!(usize::from(both.0.is_ok()) + usize::from(both.1.is_ok()), 1);
    home.slow(0).await;
    for _ in 0..2 {
        home.send_with(&home.member, "").await.unwrap();
    }
    // What was written without it counts when it begins.
    home.slow(60).await;
    assert_eq!(
        why(home.send_with(&home.member, "").await),
        Reason::SlowMode
    );
}

#[tokio::test]
async fn a_repeat_in_a_slow_channel_is_the_original() {
    let mut home = Home::new().await;
    home.slow(60).await;
    let first = home.send_with(&home.member, NONCE).await.unwrap();
    assert_eq!(home.send_with(&home.member, NONCE).await.unwrap(), first);
    home.world = home.world.restart().await;
    assert_eq!(home.send_with(&home.member, NONCE).await.unwrap(), first);
    assert_eq!(
        why(home.send_with(&home.member, "").await),
        Reason::SlowMode
    );
    // A repeat after the interval takes no turn.
    home.world.clock.advance(Duration::from_secs(61));
    assert_eq!(home.send_with(&home.member, NONCE).await.unwrap(), first);
    // Nor does a message that is refused.
    let lost = SendMessage {
        channel_id: home.general,
        content: "other".into(),
        nonce: NONCE.into(),
        ..SendMessage::default()
    };
    let reused = home.domain().send_message(&home.member, lost).await;
    assert_eq!(why(reused), Reason::NonceReused);
    home.send_with(&home.member, "").await.unwrap();
}

#[tokio::test]
async fn slow_modes_are_bounded() {
    let home = Home::new().await;
    for seconds in [-1, 21_601] {
        let changes = ChannelChanges {
            slow_mode_s: Some(seconds),
            ..ChannelChanges::default()
        };
        let update = home
            .domain()
            .update_channel(&home.owner, home.general, changes);
        let refused = update.await.unwrap_err();
        assert_eq!(refused.fields[0].path, "channel.slow_mode_seconds");
        let new = NewChannel {
            slow_mode_s: seconds,
            ..new_channel(home.server, ChannelType::Text, "slow")
        };
        let refused = home.domain().create_channel(&home.owner, new).await;
        assert_eq!(refused.unwrap_err().fields[0].path, "slow_mode_seconds");
    }
    let new = NewChannel {
        slow_mode_s: 21_600,
        ..new_channel(home.server, ChannelType::Text, "slow")
    };
    let made = home
        .domain()
        .create_channel(&home.owner, new)
        .await
        .unwrap();
    assert_eq!(made.slow_mode_s, 21_600);
}

//! Moderation over real sockets.

use crate::support::{TestNode, reason};
use crate::world::{User, channel_topic};
use chirm_proto::v1::{
    self, channel_service_client::ChannelServiceClient, event::Event,
    moderation_service_client::ModerationServiceClient, server_frame::Frame,
};
use chirm_server::clock::{Clock as _, SystemClock};
use chirm_server::rpc::status::Failure;
use std::time::Duration;
use tonic::Code;
use tonic::transport::Channel;

/// A server of ann's with her moderator mod and the member bob.
struct Home {
    node: TestNode,
    ann: User,
    moderator: User,
    bob: User,
    server: i64,
    channel: i64,
}

impl Home {
    async fn new() -> Self {
        let node = TestNode::start(&[]).await;
        let ann = User::mint(&node, "ann").await;
        let moderator = User::mint(&node, "mod").await;
        let bob = User::mint(&node, "bob").await;
        let (server, channel) = ann.create_server("s").await;
        moderator.join(server).await;
        bob.join(server).await;
        let role = v1::UpdateMemberRequest {
            server_id: server,
            user_id: moderator.id,
            role: v1::Role::Moderator.into(),
        };
        let updated = ann.servers().update_member(ann.request(role)).await;
        updated.expect("a moderator");
        Self {
            node,
            ann,
            moderator,
            bob,
            server,
            channel,
        }
    }

    async fn moderation(&self) -> ModerationServiceClient<Channel> {
        ModerationServiceClient::new(self.node.channel().await)
    }

    async fn time_out(&self, until: Option<prost_types::Timestamp>) -> v1::Member {
        let request = v1::TimeOutMemberRequest {
            server_id: self.server,
            user_id: self.bob.id,
            until,
            reason: "Spam".to_owned(),
        };
        let request = self.moderator.request(request);
        let set = self.moderation().await.time_out_member(request).await;
        set.expect("timed out").into_inner().member.expect("it")
    }

    async fn say(&self, user: &User, content: &str) -> Result<v1::Message, Failure> {
        let request = v1::SendMessageRequest {
            channel_id: self.channel,
            content: content.to_owned(),
            ..Default::default()
        };
        let sent = user.try_send(request).await;
        sent.map_err(|status| Failure::from_status(&status))
    }

    async fn log(&self) -> Vec<(v1::AuditAction, i64, i64)> {
        let request = v1::ListAuditLogRequest {
            server_id: self.server,
            ..Default::default()
        };
        let listed = self.moderation().await;
        let mut listed = listed;
        let log = listed.list_audit_log(self.ann.request(request)).await;
        let entries = log.expect("a log").into_inner().entries.into_iter();
        entries
            .map(|entry| (entry.action(), entry.actor_id, entry.target_id))
            .collect()
    }
}

#[tokio::test]
async fn who_is_timed_out_hears_it_and_is_refused_on_every_path() {
    let home = Home::new().await;
    let (mut stream, _) = home.bob.connect(vec![]).await;
    let until_s = SystemClock::default().wall_ms() / 1_000 + 3_600;
    let until = prost_types::Timestamp {
        seconds: until_s,
        nanos: 0,
    };
    let member = home.time_out(Some(until)).await;
    let refused = home.say(&home.bob, "hello").await.unwrap_err();
    assert_eq!(
        (refused.code, &*refused.reason),
        (Code::PermissionDenied, "TIMED_OUT")
    );
    let wait = refused.retry_after.expect("when it ends");
    assert!(wait <= Duration::from_secs(3_600) && wait > Duration::from_secs(3_000));
    let ended = member.timed_out_until.as_ref().expect("its end");
    let millis = until_s * 1_000;
    assert_eq!(ended.seconds, until_s);
    assert_eq!(refused.metadata["until_unix_ms"], millis.to_string());
    let told = stream
        .until(|frame| match frame {
            Frame::Event(event) => match &event.event {
                Some(Event::MemberUpdated(updated)) => updated.member.clone(),
                _ => None,
            },
            _ => None,
        })
        .await;
    assert_eq!(
        (told.user_id, told.timed_out_until),
        (home.bob.id, member.timed_out_until)
    );
    // On the stream, too; and it hears what others say.
    let typing = v1::StartTypingRequest {
        channel_id: home.channel,
    };
    let typing = v1::client_frame::Frame::StartTyping(typing);
    stream.call(7, typing).await;
    let v1::result::Result::Error(error) = stream.result(7).await else {
        panic!("typed")
    };
    assert_eq!(Failure::from_proto(&error).reason, "TIMED_OUT");
    let said = home.say(&home.ann, "quiet").await.expect("sends");
    stream
        .until(|frame| match frame {
            Frame::Event(event) => match &event.event {
                Some(Event::MessageCreated(made)) => {
                    (made.message.as_ref() == Some(&said)).then_some(())
                }
                _ => None,
            },
            _ => None,
        })
        .await;
    assert_eq!(home.time_out(None).await.timed_out_until, None);
    home.say(&home.bob, "thank you").await.expect("sends");
    let timed_out = v1::AuditAction::MemberTimedOut;
    let by = home.moderator.id;
    assert_eq!(home.log().await[..2], [(timed_out, by, home.bob.id); 2]);
    home.node.stop().await;
}

#[tokio::test]
async fn a_slow_channel_says_when_the_next_message_may_come() {
    let home = Home::new().await;
    let slow = v1::UpdateChannelRequest {
        channel_id: home.channel,
        channel: Some(v1::Channel {
            slow_mode_seconds: 600,
            ..Default::default()
        }),
        update_mask: None,
    };
    let mut channels = ChannelServiceClient::new(home.node.channel().await);
    let changed = channels.update_channel(home.ann.request(slow)).await;
    let changed = changed.expect("slow").into_inner().channel.expect("it");
    assert_eq!(changed.slow_mode_seconds, 600);
    home.say(&home.bob, "one").await.expect("sends");
    let early = home.say(&home.bob, "two").await.unwrap_err();
    assert_eq!(
        (early.code, &*early.reason),
        (Code::ResourceExhausted, "SLOW_MODE")
    );
    assert!(early.retry_after.expect("when") > Duration::from_secs(500));
    for text in ["three", "four"] {
        home.say(&home.moderator, text)
            .await
            .expect("it needn't wait");
    }
    let dir = home.node.stop().await;
    let node = TestNode::start_in(dir, &[]).await;
    let bob = User::mint(&node, "bob").await;
    let request = v1::SendMessageRequest {
        channel_id: home.channel,
        content: "five".to_owned(),
        ..Default::default()
    };
    let early = bob.try_send(request).await.unwrap_err();
    assert_eq!(reason(&early), "SLOW_MODE", "after a restart, too");
    node.stop().await;
}

#[tokio::test]
async fn deleted_by_the_hundred_each_is_told() {
    let home = Home::new().await;
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        ids.push(home.say(&home.bob, text).await.expect("sends").id);
    }
    let (mut stream, _) = home.ann.connect(vec![]).await;
    let bulk = v1::BulkDeleteMessagesRequest {
        server_id: home.server,
        channel_id: home.channel,
        message_ids: ids[..2].to_vec(),
        ..Default::default()
    };
    let mut moderation = home.moderation().await;
    let bulk = moderation.bulk_delete_messages(home.moderator.request(bulk));
    let done = bulk.await.expect("deletes").into_inner();
    assert_eq!((done.deleted_count, done.more), (2, false));
    let ban = v1::BanUserRequest {
        server_id: home.server,
        user_id: home.bob.id,
        reason: "Spam".to_owned(),
        delete_message_seconds: 600,
    };
    let mut servers = home.moderator.servers();
    let banned = servers.ban_user(home.moderator.request(ban)).await;
    banned.expect("bans");
    let mut deleted = Vec::new();
    stream
        .until(|frame| {
            if let Frame::Event(event) = frame
                && event.topic == Some(channel_topic(home.channel))
                && let Some(Event::MessageDeleted(gone)) = &event.event
            {
                deleted.push(gone.message.as_ref().expect("it").id);
            }
            (deleted.len() == 3).then_some(())
        })
        .await;
    assert_eq!(deleted, ids);
    let log = home.log().await;
    let bulk = v1::AuditAction::MessagesBulkDeleted;
    let banned = (v1::AuditAction::UserBanned, home.moderator.id, home.bob.id);
    let by = (bulk, home.moderator.id, 0);
    assert_eq!(log[..3], [by, banned, by]);
    home.node.stop().await;
}

#[tokio::test]
async fn a_report_goes_its_way() {
    let home = Home::new().await;
    let rude = home.say(&home.ann, "rude").await.expect("sends");
    let mut moderation = home.moderation().await;
    let report = v1::ReportMessageRequest {
        server_id: home.server,
        channel_id: home.channel,
        message_id: rude.id,
        reason: "Rude".to_owned(),
    };
    let made = moderation.report_message(home.bob.request(report)).await;
    let made = made.expect("reports").into_inner().report.expect("it");
    assert_eq!(
        (made.author_id, made.reporter_id),
        (home.ann.id, home.bob.id)
    );
    let list = || v1::ListReportsRequest {
        server_id: home.server,
        state: v1::ReportState::Open.into(),
        ..Default::default()
    };
    let own = moderation.list_reports(home.bob.request(list())).await;
    assert_eq!(own.unwrap_err().code(), Code::PermissionDenied);
    let open = moderation
        .list_reports(home.moderator.request(list()))
        .await;
    assert_eq!(
        open.expect("a list").into_inner().reports,
        vec![made.clone()]
    );
    let resolve = v1::ResolveReportRequest {
        server_id: home.server,
        report_id: made.id,
        state: v1::ReportState::Dismissed.into(),
        note: "It isn't".to_owned(),
    };
    let closed = moderation.resolve_report(home.moderator.request(resolve));
    let closed = closed.await.expect("closes").into_inner().report;
    let closed = closed.expect("it");
    assert_eq!(closed.state(), v1::ReportState::Dismissed);
    assert_eq!(
        (closed.resolved_by, &*closed.note),
        (home.moderator.id, "It isn't")
    );
    let open = moderation
        .list_reports(home.moderator.request(list()))
        .await;
    assert_eq!(open.expect("a list").into_inner().reports, []);
    home.node.stop().await;
}

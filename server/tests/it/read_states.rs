//! What users have read, over real sockets: the same on all sessions, and after a restart.

use crate::bad_input::send;
use crate::support::{Stream, TestNode, reason};
use crate::world::{User, channel_topic};
use chirm_proto::v1::read_state_service_client::ReadStateServiceClient;
use chirm_proto::v1::user_service_client::UserServiceClient;
use chirm_proto::v1::{
    self, channel_service_client::ChannelServiceClient, client_frame, event::Event,
    result::Result as Answer, server_frame::Frame, snapshot::State,
};

/// What a new stream's snapshot says of a channel's reading.
async fn snapshot(user: &User, channel: i64) -> v1::ReadState {
    let (_stream, before) = user.connect(vec![]).await;
    let states = before.iter().filter_map(|frame| match frame {
        Frame::Snapshot(snapshot) if snapshot.topic == Some(channel_topic(channel)) => {
            match &snapshot.state {
                Some(State::Channel(state)) => state.read_state,
                _ => None,
            }
        }
        _ => None,
    });
    states.last().expect("a read state")
}

async fn unread(node: &TestNode, user: &User) -> Vec<v1::ReadState> {
    let mut reads = ReadStateServiceClient::new(node.channel().await);
    let request = user.request(v1::ListUnreadRequest::default());
    let listed = reads.list_unread(request).await.expect("lists");
    listed.into_inner().read_states
}

async fn changed(stream: &mut Stream) -> v1::ReadState {
    let event = |frame: &Frame| match frame {
        Frame::Event(event) => match &event.event {
            Some(Event::ReadStateChanged(changed)) => changed.read_state,
            _ => None,
        },
        _ => None,
    };
    stream.until(event).await
}

#[tokio::test]
async fn reading_on_one_device_shows_on_the_others_and_after_a_restart() {
    let node = TestNode::start(&[]).await;
    let (ann, bob) = (
        User::mint(&node, "ann").await,
        User::mint(&node, "bob").await,
    );
    let (server, channel) = ann.create_server("s").await;
    bob.join(server).await;
    let (mut phone, _) = bob.connect(vec![]).await;
    let (mut laptop, _) = bob.connect(vec![]).await;
    let first = ann.send(channel, &format!("<@{}>", bob.id)).await;
    let second = ann.send(channel, "<@everyone> <@&owner>").await;
    assert!(second.mention_everyone);
    assert_eq!(second.mention_roles, [v1::Role::Owner as i32]);
    let state = snapshot(&bob, channel).await;
    assert_eq!(state.last_message_id, second.id);
    assert_eq!(state.mention_count, 2);
    assert_eq!(unread(&node, &bob).await, [state]);
    assert_eq!(unread(&node, &ann).await, [], "one's own are read");

    let ack = v1::AckMessageRequest {
        channel_id: channel,
        message_id: first.id,
    };
    phone.call(7, client_frame::Frame::AckMessage(ack)).await;
    let Answer::AckMessage(acked) = phone.result(7).await else {
        panic!("refused")
    };
    let state = acked.read_state.expect("a state");
    assert_eq!((state.last_read_id, state.mention_count), (first.id, 1));
    assert_eq!(changed(&mut laptop).await, state);

    let mut reads = ReadStateServiceClient::new(node.channel().await);
    let forever = bob.request(v1::MuteChannelRequest {
        channel_id: channel,
        until: None,
    });
    let muted = reads.mute_channel(forever).await.expect("mutes");
    let muted = muted.into_inner().read_state.expect("a state");
    assert_eq!((muted.muted, muted.muted_until), (true, None));
    assert_eq!(changed(&mut laptop).await, muted);
    assert_eq!(snapshot(&bob, channel).await, muted);

    let node = TestNode::start_in(node.stop().await, &[]).await;
    let bob = User::mint(&node, "bob").await;
    assert_eq!(snapshot(&bob, channel).await, muted);
    let mut reads = ReadStateServiceClient::new(node.channel().await);
    let request = bob.request(v1::UnmuteChannelRequest {
        channel_id: channel,
    });
    let lifted = reads.unmute_channel(request).await.expect("unmutes");
    assert!(!lifted.into_inner().read_state.expect("a state").muted);
    let ann = User::mint(&node, "ann").await;
    assert_eq!(
        unread(&node, &ann).await,
        [],
        "one's own outlive a clean end"
    );
    node.stop().await;
}

#[tokio::test]
async fn over_rest_it_is_the_same() {
    use crate::bad_input::rest;
    let node = TestNode::start(&[]).await;
    let (ann, bob) = (
        User::mint(&node, "ann").await,
        User::mint(&node, "bob").await,
    );
    let (server, channel) = ann.create_server("s").await;
    bob.join(server).await;
    let sent = ann.send(channel, "x").await;
    let (status, listed) = rest(&bob, &node, "GET /v1/read-states", "").await;
    assert_eq!(status, 200);
    let state = &listed["readStates"][0];
    assert_eq!(state["channelId"], channel.to_string());
    assert_eq!(state["lastMessageId"], sent.id.to_string());
    let path = format!("PUT /v1/read-states/{channel}");
    let body = format!("{{\"messageId\":\"{}\"}}", sent.id);
    let (status, acked) = rest(&bob, &node, &path, &body).await;
    assert_eq!(status, 200);
    assert_eq!(acked["readState"]["lastReadId"], sent.id.to_string());
    let path = format!("PUT /v1/read-states/{channel}/mute");
    let until = "2999-01-01T00:00:00Z";
    let body = format!("{{\"until\":\"{until}\"}}");
    let (_, muted) = rest(&bob, &node, &path, &body).await;
    assert_eq!(muted["readState"]["mutedUntil"], until);
    let path = "GET /v1/read-states?includeMuted=true";
    let (_, listed) = rest(&bob, &node, path, "").await;
    assert_eq!(listed["readStates"][0]["muted"], true);
    let path = format!("DELETE /v1/read-states/{channel}/mute");
    let (status, lifted) = rest(&bob, &node, &path, "").await;
    assert_eq!(
        (status, lifted["readState"]["muted"].as_bool()),
        (200, None)
    );
    let (_, listed) = rest(&bob, &node, "GET /v1/read-states", "").await;
    assert!(listed["readStates"].as_array().is_none_or(Vec::is_empty));
    node.stop().await;
}

#[tokio::test]
async fn who_wants_no_direct_messages_says_so_on_all_its_devices() {
    let node = TestNode::start(&[]).await;
    let (ann, bob) = (
        User::mint(&node, "ann").await,
        User::mint(&node, "bob").await,
    );
    let mut channels = ChannelServiceClient::new(node.channel().await);
    let mut users = UserServiceClient::new(node.channel().await);
    let direct = v1::CreateChannelRequest {
        r#type: v1::ChannelType::Direct.into(),
        member_ids: vec![bob.id],
        ..Default::default()
    };
    let made = channels.create_channel(ann.request(direct.clone())).await;
    let channel = made.expect("made").into_inner().channel.expect("one").id;
    ann.send(channel, "hi").await;
    let (mut laptop, _) = bob.connect(vec![]).await;
    let nobody = v1::UserSettings {
        direct_messages: v1::DirectMessages::Nobody.into(),
    };
    let request = v1::UpdateSettingsRequest {
        settings: Some(nobody),
        update_mask: None,
    };
    let set = users.update_settings(bob.request(request)).await;
    assert_eq!(set.expect("set").into_inner().settings, Some(nobody));
    let told = |frame: &Frame| match frame {
        Frame::Event(event) => match &event.event {
            Some(Event::UserSettingsUpdated(updated)) => updated.settings,
            _ => None,
        },
        _ => None,
    };
    assert_eq!(laptop.until(told).await, nobody);
    let (_, before) = bob.connect(vec![]).await;
    let shown = before.iter().find_map(|frame| match frame {
        Frame::Snapshot(snapshot) => match &snapshot.state {
            Some(State::User(state)) => state.settings,
            _ => None,
        },
        _ => None,
    });
    assert_eq!(shown, Some(nobody));
    let got = users.get_settings(bob.request(v1::GetSettingsRequest {}));
    assert_eq!(got.await.expect("gets").into_inner().settings, Some(nobody));
    let refused = channels.create_channel(ann.request(direct)).await;
    assert_eq!(reason(&refused.unwrap_err()), "DIRECT_REFUSED");
    let refused = ann.try_send(send(channel, "?")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert_eq!(reason(&refused), "DIRECT_REFUSED");
    let block = v1::BlockUserRequest { user_id: ann.id };
    users.block_user(bob.request(block)).await.expect("blocks");
    let listed = users.list_blocks(bob.request(v1::ListBlocksRequest::default()));
    let listed = listed.await.expect("lists").into_inner();
    assert_eq!(listed.users[0].id, ann.id);
    assert_eq!(
        (listed.users.len(), listed.next_page_token),
        (1, String::new())
    );
    node.stop().await;
}

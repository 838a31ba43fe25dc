//! Fields whose values can't be: too long, empty, unknown, used before with something else.

use super::calls::refused;
use super::{send, world};
use crate::support::{TestNode, reason};
use crate::world::User;
use bytes::Bytes;
use chirm_proto::v1::admin_service_client::AdminServiceClient;
use chirm_proto::v1::channel_service_client::ChannelServiceClient;
use chirm_proto::v1::{self, client_frame, result::Result as Answer};
use chirm_server::rpc::status::Failure;
use prost::Message;
use std::collections::HashMap;
use tonic::Code;

fn encoded(message: impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// A message whose other fields, now and later, are empty.
fn with<M: Default>(change: impl FnOnce(&mut M)) -> M {
    let mut message = M::default();
    change(&mut message);
    message
}

fn long(characters: usize) -> String {
    "é".repeat(characters)
}

fn keys(count: usize) -> HashMap<String, String> {
    (0..count).map(|n| (n.to_string(), String::new())).collect()
}

/// Texts of users and devices: method, request, the field that is wrong.
fn of_users() -> Vec<(&'static str, Bytes, &'static str)> {
    const REGISTER: &str = "/chirm.v1.AuthService/Register";
    const MINT: &str = "/chirm.v1.AuthService/MintSession";
    const PROFILE: &str = "/chirm.v1.UserService/UpdateProfile";
    let mut calls = Vec::new();
    let mut register = |field, change: fn(&mut v1::RegisterRequest)| {
        let mut request = v1::RegisterRequest {
            username: "newcomer".to_owned(),
            password: "long enough".to_owned(),
            ..Default::default()
        };
        change(&mut request);
        calls.push((REGISTER, encoded(request), field));
    };
    register("username", |r| r.username.clear());
    register("username", |r| r.username = long(101));
    register("username", |r| r.username = "ab\u{202e}cd".to_owned());
    register("username", |r| r.username = "ab\u{0}cd".to_owned());
    register("password", |r| r.password = "short".to_owned());
    register("password", |r| r.password = long(257));
    register("display_name", |r| r.display_name = long(101));
    register("device", |r| r.device = long(101));
    let mut mint = |field, external_id: &str, display_name: &str, device: &str| {
        use v1::mint_session_request::Subject;
        let request = v1::MintSessionRequest {
            subject: Some(Subject::ExternalId(external_id.to_owned())),
            display_name: display_name.to_owned(),
            device: device.to_owned(),
        };
        calls.push((MINT, encoded(request), field));
    };
    mint("external_id", "", "x", "");
    mint("external_id", &long(129), "x", "");
    mint("display_name", "x", &long(101), "");
    mint("device", "x", "", &long(101));
    let subject = encoded(v1::MintSessionRequest::default());
    calls.push((MINT, subject, "subject"));
    let bot = v1::CreateBotRequest {
        username: long(101),
        ..Default::default()
    };
    calls.push(("/chirm.v1.AuthService/CreateBot", encoded(bot), "username"));
    let mut profile = |field, path: &str, user: v1::User| {
        let paths = vec![path.to_owned()];
        let request = v1::UpdateProfileRequest {
            user: Some(user),
            update_mask: Some(prost_types::FieldMask { paths }),
        };
        calls.push((PROFILE, encoded(request), field));
    };
    let named = |display_name| v1::User {
        display_name,
        ..Default::default()
    };
    profile("user.display_name", "display_name", named(String::new()));
    profile("user.display_name", "display_name", named(long(101)));
    let metadata = v1::User {
        metadata: keys(17),
        ..Default::default()
    };
    profile("metadata", "metadata", metadata);
    profile("update_mask", "username", v1::User::default());
    calls
}

/// Texts of servers, channels and messages.
fn of_places(server: i64, channel: i64) -> Vec<(&'static str, Bytes, &'static str)> {
    const SERVER: &str = "/chirm.v1.ServerService/CreateServer";
    const CHANNEL: &str = "/chirm.v1.ChannelService/CreateChannel";
    const CUSTOM: &str = "/chirm.v1.MessageService/SendCustomEvent";
    let mut calls = Vec::new();
    let mut make = |field, name: String, description: String, keys: HashMap<_, _>| {
        let request = v1::CreateServerRequest {
            name: name.clone(),
            description: description.clone(),
            metadata: keys.clone(),
            ..Default::default()
        };
        calls.push((SERVER, encoded(request), field));
        let request = v1::CreateChannelRequest {
            server_id: server,
            r#type: v1::ChannelType::Text.into(),
            name,
            description,
            metadata: keys,
            ..Default::default()
        };
        calls.push((CHANNEL, encoded(request), field));
    };
    make("name", String::new(), String::new(), keys(0));
    make("name", "  ".to_owned(), String::new(), keys(0));
    make("name", long(101), String::new(), keys(0));
    make("description", "x".to_owned(), long(1_025), keys(0));
    make("metadata", "x".to_owned(), String::new(), keys(17));
    let heavy = [("k".to_owned(), "v".repeat(4_096))].into();
    make("metadata", "x".to_owned(), String::new(), heavy);
    let nameless = [(String::new(), "v".to_owned())].into();
    make("metadata", "x".to_owned(), String::new(), nameless);
    for (name, data, field) in [
        (String::new(), 0, "name"),
        (long(65), 0, "name"),
        ("x".to_owned(), 4_097, "data"),
    ] {
        let request = v1::SendCustomEventRequest {
            channel_id: channel,
            name,
            data: vec![0; data].into(),
        };
        calls.push((CUSTOM, encoded(request), field));
    }
    let ban = v1::BanUserRequest {
        server_id: server,
        user_id: i64::MAX,
        reason: long(513),
        delete_message_seconds: 0,
    };
    calls.push(("/chirm.v1.ServerService/BanUser", encoded(ban), "reason"));
    calls
}

#[tokio::test]
async fn texts_too_long_or_empty_are_named() {
    let node = TestNode::start(&[("limits.enabled", "false")]).await;
    let ann = User::mint(&node, "ann").await;
    let (server, channel) = ann.create_server("s").await;
    let mut calls = of_users();
    calls.extend(of_places(server, channel));
    for (path, request, field) in calls {
        // The key may mint; all else is the user's.
        let by_key = path.ends_with("MintSession");
        let token = if by_key { &node.key } else { &ann.token };
        let status = refused(&node, path, token, vec![request]).await;
        let failure = Failure::from_status(&status);
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{path} {field}: {status:?}"
        );
        assert_eq!(failure.reason, "FIELD_INVALID", "{path} {field}");
        let named = failure.violations.first().map(|wrong| wrong.field.as_str());
        assert_eq!(named, Some(field), "{path}: {failure:?}");
    }
    let sent = ann.send(channel, "x").await;
    for content in [String::new(), long(4_001)] {
        let edit = v1::EditMessageRequest {
            channel_id: channel,
            message_id: sent.id,
            content,
        };
        let path = "/chirm.v1.MessageService/EditMessage";
        let status = refused(&node, path, &ann.token, vec![encoded(edit)]).await;
        assert_eq!(reason(&status), "FIELD_INVALID");
    }
    node.stop().await;
}

#[tokio::test]
async fn unknown_values_of_enums_are_refused() {
    let (node, ann, _) = world().await;
    let bob = User::mint(&node, "bob").await;
    let (server, _) = ann.create_server("s").await;
    bob.join(server).await;
    for number in [77, -1, 0] {
        let role = v1::UpdateMemberRequest {
            server_id: server,
            user_id: bob.id,
            role: number,
        };
        let refused = ann.servers().update_member(ann.request(role)).await;
        is_wrong(&refused.unwrap_err(), "role");
        let channel = v1::CreateChannelRequest {
            server_id: server,
            r#type: number,
            name: "x".to_owned(),
            ..Default::default()
        };
        let mut channels = ChannelServiceClient::new(node.channel().await);
        let refused = channels.create_channel(ann.request(channel)).await;
        is_wrong(&refused.unwrap_err(), "type");
    }
    for number in [77, -1] {
        let key = with(|key: &mut v1::CreateKeyRequest| {
            key.name = "x".to_owned();
            key.scope = number;
        });
        let mut operators = AdminServiceClient::new(node.admin_channel().await);
        let refused = operators.create_key(crate::world::with_token(&node.key, key));
        is_wrong(&refused.await.unwrap_err(), "scope");
    }
    node.stop().await;
}

fn is_wrong(status: &tonic::Status, field: &str) {
    let failure = Failure::from_status(status);
    assert_eq!(failure.reason, "FIELD_INVALID", "{failure:?}");
    assert_eq!(failure.violations[0].field, field);
}

#[tokio::test]
async fn a_nonce_is_of_one_content_on_every_path() {
    let (node, ann, channel) = world().await;
    let with_nonce = |content: &str| v1::SendMessageRequest {
        nonce: "0198c9a0-0000-7000-8000-000000000001".to_owned(),
        ..send(channel, content)
    };
    let first = ann.try_send(with_nonce("one")).await.expect("sent");
    let other = ann.try_send(with_nonce("another")).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    assert_eq!(reason(&other), "NONCE_REUSED");
    let (mut stream, _) = ann.connect(vec![]).await;
    let frame = client_frame::Frame::SendMessage(with_nonce("another"));
    stream.call(1, frame).await;
    let Answer::Error(error) = stream.result(1).await else {
        panic!("taken")
    };
    assert_eq!(Failure::from_proto(&error).reason, "NONCE_REUSED");
    let again = ann.try_send(with_nonce("one")).await.expect("a repeat");
    assert_eq!(again, first);
    node.stop().await;
}

#[tokio::test]
async fn a_request_id_is_of_one_request() {
    let (node, ann, _) = world().await;
    let server = |name: &str| v1::CreateServerRequest {
        name: name.to_owned(),
        request_id: "0198c9a0-0000-7000-8000-000000000002".to_owned(),
        ..Default::default()
    };
    let mut servers = ann.servers();
    let first = servers.create_server(ann.request(server("one"))).await;
    let again = servers.create_server(ann.request(server("one"))).await;
    assert_eq!(first.unwrap().into_inner(), again.unwrap().into_inner());
    let other = servers.create_server(ann.request(server("another"))).await;
    assert_eq!(reason(&other.unwrap_err()), "NONCE_REUSED");
    let malformed = v1::CreateServerRequest {
        request_id: "short".to_owned(),
        ..server("one")
    };
    let malformed = servers.create_server(ann.request(malformed)).await;
    is_wrong(&malformed.unwrap_err(), "request_id");
    node.stop().await;
}

use axum::body::Body;
use serde_json::json;

use super::{BODY_BYTES_MAX, Peer, asked, record, refused, request};

#[tokio::test]
async fn the_body_and_the_path_become_the_request() {
    let body = r#"{"content": "hi", "replyTo": "9007199254740993", "attempt": 1e0,
                   "metadata": {"aB_c": "x"}, "unknown": {"deep": [1]}}"#;
    let (name, got) = asked("POST", "/v1/channels/7/messages", body).await;
    assert_eq!(name, "SendMessage");
    assert_eq!(
        got,
        json!({
            "channelId": "7", "content": "hi", "replyTo": "9007199254740993", "attempt": 1,
            "metadata": { "aB_c": "x" },
        })
    );
}

#[tokio::test]
async fn proto_names_work_and_the_path_wins() {
    let body = r#"{"channel_id": 8, "reply_to": 3, "content": null}"#;
    let (_, got) = asked("POST", "/v1/channels/7/messages", body).await;
    assert_eq!(got, json!({ "channelId": "7", "replyTo": "3" }));
}

#[tokio::test]
async fn the_query_holds_what_path_and_body_do_not() {
    let (_, got) = asked(
        "GET",
        "/v1/channels/7/messages?limit=5&before=12&x=1&channel_id=9",
        "",
    )
    .await;
    assert_eq!(got, json!({ "channelId": "7", "limit": 5, "before": "12" }));
    let (_, got) = asked(
        "GET",
        "/v1/users:batchGet?user_ids=1&userIds=2&user_ids=3",
        "",
    )
    .await;
    assert_eq!(got, json!({ "userIds": ["1", "2", "3"] }));
    let (_, got) = asked(
        "GET",
        "/v1/servers/1/members?pageToken=a%2Bb+c&&page_size=0",
        "",
    )
    .await;
    assert_eq!(got, json!({ "serverId": "1", "pageToken": "a+b c" }));
}

#[tokio::test]
async fn presence_and_enums_by_name_or_number() {
    let body = r#"{"status": "PRESENCE_STATUS_IDLE", "text": ""}"#;
    let (_, got) = asked("PUT", "/v1/presence/@me", body).await;
    assert_eq!(got, json!({ "status": "PRESENCE_STATUS_IDLE", "text": "" }));
    let (_, got) = asked("PUT", "/v1/presence/@me", r#"{"status": 3}"#).await;
    assert_eq!(got, json!({ "status": "PRESENCE_STATUS_ONLINE" }));
}

#[tokio::test]
async fn masks_and_nested_messages() {
    let body = r#"{"user": {"displayName": "N", "nope": 1}, "updateMask": "displayName,metadata"}"#;
    let (_, got) = asked("PATCH", "/v1/users/@me", body).await;
    let user = json!({ "displayName": "N" });
    assert_eq!(
        got,
        json!({ "user": user, "updateMask": "displayName,metadata" })
    );
}

#[tokio::test]
async fn a_call_without_a_body_takes_none_or_an_empty_object() {
    assert_eq!(
        asked("POST", "/v1/servers/1:leave", "{}").await.0,
        "LeaveServer"
    );
    let answer = refused("POST", "/v1/servers/1:leave", r#"{"a": 1}"#).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (400, "MALFORMED")
    );
}

#[tokio::test]
async fn wrong_values_are_named() {
    for (method, uri, body, field) in [
        ("GET", "/v1/users/abc", "", "user_id"),
        ("GET", "/v1/users/9223372036854775808", "", "user_id"),
        ("GET", "/v1/channels/7/messages?limit=x", "", "limit"),
        ("GET", "/v1/channels/7/messages?limit=", "", "limit"),
        (
            "GET",
            "/v1/channels/7/messages?limit=1&limit=2",
            "",
            "limit",
        ),
        (
            "GET",
            "/v1/users:batchGet?user_ids=1&user_ids=two",
            "",
            "user_ids[1]",
        ),
        (
            "PUT",
            "/v1/presence/@me",
            r#"{"status": "PRESENCE_STATUS_ASLEEP"}"#,
            "status",
        ),
        (
            "PATCH",
            "/v1/users/@me",
            r#"{"user": {"displayName": 5}}"#,
            "user.display_name",
        ),
        (
            "POST",
            "/v1/channels",
            r#"{"memberIds": ["1", true]}"#,
            "member_ids[1]",
        ),
        ("POST", "/v1/channels", r#"{"rank": 2147483648}"#, "rank"),
        ("POST", "/v1/channels", r#"{"rank": 1.5}"#, "rank"),
        (
            "POST",
            "/v1/channels",
            r#"{"metadata": {"k": 1}}"#,
            "metadata.k",
        ),
        (
            "POST",
            "/v1/channels/7/custom-events",
            r#"{"data": "?"}"#,
            "data",
        ),
        (
            "PATCH",
            "/v1/users/@me",
            r#"{"updateMask": 1}"#,
            "update_mask",
        ),
    ] {
        let answer = refused(method, uri, body).await;
        assert_eq!(answer.status, 400, "{uri} {body}");
        assert_eq!(
            answer.reason(),
            "FIELD_INVALID",
            "{uri} {body}: {}",
            answer.text
        );
        assert_eq!(answer.field(), field, "{uri} {body}: {}", answer.text);
    }
}

#[tokio::test]
async fn one_of_means_one() {
    for (method, uri, body, field, others) in [
        (
            "GET",
            "/v1/channels/7/messages?before=1&after=2",
            "",
            "after",
            "before, after, around",
        ),
        (
            "POST",
            "/v1/servers:join",
            r#"{"inviteCode": "a", "serverId": "0"}"#,
            "server_id",
            "invite_code, server_id",
        ),
    ] {
        let answer = refused(method, uri, body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (400, "FIELD_INVALID")
        );
        assert_eq!(answer.field(), field);
        assert!(answer.text.contains(others), "{}", answer.text);
    }
    let body = r#"{"inviteCode": "a", "serverId": null}"#;
    assert_eq!(
        asked("POST", "/v1/servers:join", body).await.1,
        json!({ "inviteCode": "a" })
    );
}

#[tokio::test]
async fn malformed_json_is_refused_with_its_place() {
    let deep = "[".repeat(40);
    for (body, place) in [
        ("{\"content\": \"a\",\n}", "line 2 column 1"),
        ("{\"content\"", "line 1 column 10"),
        (
            "{\"content\": \"a\", \"content\": \"b\"}",
            "\"content\" stands twice at line 1",
        ),
        ("{\"replyTo\": 1, \"reply_to\": 2}", "stands twice"),
        ("[]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ("{} x", "trailing characters at line 1 column 4"),
        (deep.as_str(), "nested too deeply at line 1 column 33"),
    ] {
        let answer = refused("POST", "/v1/channels/7/messages", body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (400, "MALFORMED")
        );
        let message = answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains(place), "{body}: {message}");
    }
}

#[tokio::test]
async fn a_body_has_its_limit_to_the_byte() {
    let fitting = |length: usize| format!("{{\"content\":\"{}\"}}", "a".repeat(length - 14));
    let (name, _) = asked("POST", "/v1/channels/7/messages", &fitting(BODY_BYTES_MAX)).await;
    assert_eq!(name, "SendMessage");
    let answer = refused(
        "POST",
        "/v1/channels/7/messages",
        &fitting(BODY_BYTES_MAX + 1),
    )
    .await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (413, "REQUEST_TOO_LARGE")
    );
    let metadata = &answer.json()["error"]["details"][0]["metadata"];
    assert_eq!(metadata, &json!({ "limit": "4096", "size": "4097" }));
}

#[tokio::test]
async fn only_json_is_taken() {
    for (name, value, status) in [
        ("content-type", "application/x-www-form-urlencoded", 415),
        ("content-type", "application/json; charset=latin1", 415),
        ("content-type", "", 415),
        ("content-type", "Application/JSON; charset=\"UTF-8\"", 200),
        ("content-encoding", "gzip", 415),
    ] {
        let mut call = request("POST", "/v1/channels/7/messages", "{}");
        call.headers_mut().insert(name, value.parse().unwrap());
        let (answer, _) = record(call).await;
        assert_eq!(answer.status, status, "{name}: {value}");
    }
    let mut call = request("POST", "/v1/auth/logout", "");
    call.headers_mut().remove("content-type");
    assert_eq!(record(call).await.0.status, 200);
}

#[tokio::test]
async fn credentials_and_the_peer_go_along_and_other_headers_stay() {
    let mut call = request("GET", "/v1/users/7?access_token=t", "");
    call.extensions_mut().insert(Peer("10.0.0.1"));
    call.headers_mut().insert("cookie", "a=b".parse().unwrap());
    let asked = record(call).await.1.unwrap();
    assert_eq!(asked.path, "/chirm.v1.UserService/GetUser");
    assert_eq!(asked.peer, Some(Peer("10.0.0.1")));
    assert_eq!(asked.headers["authorization"], "Bearer v1.1.secret");
    assert_eq!(asked.headers["content-type"], "application/grpc");
    assert_eq!(asked.headers["te"], "trailers");
    assert!(!asked.headers.contains_key("cookie"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let broken = futures::stream::iter([
        Ok::<_, std::io::Error>("{\"content\""),
        Err(std::io::ErrorKind::ConnectionReset.into()),
    ]);
    let mut call = request("POST", "/v1/channels/7/messages", "{}");
    *call.body_mut() = Body::from_stream(broken);
    let (answer, asked) = record(call).await;
    assert!(asked.is_none());
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (400, "MALFORMED")
    );
}

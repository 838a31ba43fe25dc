use http::Method;
use serde_json::json;

use super::{as_served, asked, record_by, refused, request, transcoder};
use crate::rpc::rest::annotation::{Segment, rule_of};

#[tokio::test]
async fn every_annotation_has_a_route_that_reaches_its_method() {
    let pool = chirm_proto::pool();
    let extension = pool.get_extension_by_name("google.api.http").unwrap();
    let mut annotated = 0;
    for service in pool.services() {
        for method in service.methods() {
            let Some(rule) = rule_of(&method, &extension).unwrap() else {
                continue;
            };
            annotated += 1 + rule.additional_bindings.len();
        }
    }
    let transcoder = transcoder();
    let bindings: Vec<_> = transcoder.table.bindings().collect();
    assert!(annotated > 50, "the annotations are lost: {annotated}");
    assert_eq!(bindings.len(), annotated);
    for binding in bindings {
        let segments = binding
            .pattern
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => text.clone(),
                Segment::Variable(_) => "7".to_owned(),
            });
        let mut path = segments.fold(String::new(), |path, segment| path + "/" + &segment);
        if let Some(verb) = &binding.pattern.verb {
            path = format!("{path}:{verb}");
        }
        let (name, request) = asked(binding.http_method.as_str(), &path, "").await;
        assert_eq!(
            name,
            binding.method.name(),
            "{} {path}",
            binding.http_method
        );
        let variables = binding
            .pattern
            .segments
            .iter()
            .filter_map(Segment::variable)
            .count();
        assert_eq!(
            request.as_object().unwrap().len(),
            variables,
            "{path}: {request}"
        );
    }
}

/// What the protocol has and the server doesn't is told from what there never was.
#[tokio::test]
async fn what_is_served_is_reached_and_the_rest_is_not_implemented() {
    let document = as_served().openapi();
    let (mut served, mut unserved) = (0, 0);
    for binding in transcoder().table.bindings() {
        let path = binding.pattern.text.replace(['{', '}'], "");
        let method = binding.http_method.as_str();
        let call = request(method, &path, "");
        let (answer, asked) = record_by(as_served(), call).await;
        let service = binding.method.parent_service();
        let verbs = &document["paths"][&binding.pattern.text];
        let described = verbs.get(method.to_lowercase()).is_some();
        if crate::rpc::PUBLIC.contains(&service.full_name()) {
            assert!(described, "{method} {path}");
            assert_ne!(answer.status, 501, "{method} {path}");
            served += 1;
        } else {
            assert!(asked.is_none() && !described, "{method} {path}");
            assert_eq!(answer.status, 501, "{method} {path}");
            assert_eq!(answer.reason(), "NOT_IMPLEMENTED");
            unserved += 1;
        }
    }
    assert!(served > 40 && unserved == 0, "{served}, {unserved}");
}

#[tokio::test]
async fn literals_win_over_variables() {
    assert_eq!(asked("GET", "/v1/users/@me", "").await.0, "GetSelf");
    assert_eq!(asked("GET", "/v1/users/%40me", "").await.0, "GetSelf");
    let got = asked("GET", "/v1/users/7", "").await;
    assert_eq!(got, ("GetUser".to_owned(), json!({ "userId": "7" })));
}

#[tokio::test]
async fn verbs_are_told_from_values() {
    let got = asked("POST", "/v1/servers/12:leave", "").await;
    assert_eq!(got, ("LeaveServer".to_owned(), json!({ "serverId": "12" })));
    let got = asked("POST", "/v1/servers:join", r#"{"inviteCode": "abc"}"#).await;
    assert_eq!(
        got,
        ("JoinServer".to_owned(), json!({ "inviteCode": "abc" }))
    );
    // A colon that is no verb, or that is encoded, belongs to the value.
    let got = asked("DELETE", "/v1/servers/1/invites/a%3Aleave", "").await;
    assert_eq!(got.1, json!({ "serverId": "1", "code": "a:leave" }));
    let got = asked("DELETE", "/v1/servers/1/invites/a:b", "").await;
    assert_eq!(got.1, json!({ "serverId": "1", "code": "a:b" }));
}

#[tokio::test]
async fn additional_bindings_work() {
    let got = asked("GET", "/v1/channels", "").await;
    assert_eq!(got, ("ListChannels".to_owned(), json!({})));
    let got = asked("GET", "/v1/servers/5/channels", "").await;
    assert_eq!(got, ("ListChannels".to_owned(), json!({ "serverId": "5" })));
}

#[tokio::test]
async fn segments_are_decoded() {
    let got = asked("DELETE", "/v1/servers/1/invites/a%2Fb%20%C3%A4+", "").await;
    assert_eq!(got.1, json!({ "serverId": "1", "code": "a/b ä+" }));
    let answer = refused("DELETE", "/v1/servers/1/invites/%FF", "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (400, "MALFORMED")
    );
}

#[tokio::test]
async fn unknown_paths_are_json_too() {
    for path in [
        "/",
        "/v1",
        "/v1/users/",
        "/v1/users/7/",
        "//v1/users",
        "/v2/users/7",
        "/v1/x:y",
    ] {
        let answer = refused("GET", path, "").await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.reason(), "PATH_NOT_FOUND", "{path}");
        assert_eq!(answer.json()["error"]["status"], "NOT_FOUND");
        assert_eq!(answer.headers["content-type"], "application/json");
    }
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    for (method, path, allow) in [
        ("DELETE", "/v1/users/@me", "GET, HEAD, PATCH"),
        ("PUT", "/v1/users/7", "GET, HEAD"),
        ("GET", "/v1/servers/12:leave", "POST"),
        (
            "TRACE",
            "/v1/channels/1/messages/2",
            "DELETE, GET, HEAD, PATCH",
        ),
        ("OPTIONS", "/v1/auth/login", "POST"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ] {
        let answer = refused(method, path, "").await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.headers["allow"], allow, "{method} {path}");
        assert_eq!(answer.reason(), "METHOD_NOT_ALLOWED");
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let (answer, asked) = super::record(super::request("HEAD", "/v1/users/7", "")).await;
    assert_eq!(asked.unwrap().path, "/chirm.v1.UserService/GetUser");
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
}

#[test]
fn the_most_literal_route_comes_first() {
    let transcoder = transcoder();
    let find = |path| transcoder.table.find(&Method::PUT, path).unwrap();
    assert_eq!(
        find("/v1/users/@me/blocks/1").binding.method.name(),
        "BlockUser"
    );
    assert_eq!(
        find("/v1/presence/@me").binding.method.name(),
        "SetPresence"
    );
}

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{record, request, transcoder};

/// The value that a `$ref` leads to.
fn resolve<'a>(document: &'a Value, reference: &str) -> Option<&'a Value> {
    document.pointer(reference.strip_prefix('#')?)
}

fn each<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
    visit(value);
    match value {
        Value::Object(object) => object.values().for_each(|value| each(value, visit)),
        Value::Array(items) => items.iter().for_each(|value| each(value, visit)),
        _ => {}
    }
}

#[tokio::test]
async fn it_is_served() {
    let (answer, asked) = record(request("GET", "/openapi.json", "")).await;
    assert!(asked.is_none());
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.json(), transcoder().openapi());
    assert_eq!(answer.json()["openapi"], "3.1.0");
}

#[test]
fn every_binding_is_in_it_with_its_comment() {
    let transcoder = transcoder();
    let document = transcoder.openapi();
    let mut ids = BTreeSet::new();
    for binding in transcoder.table.bindings() {
        let method = binding.http_method.as_str().to_lowercase();
        let operation = &document["paths"][&binding.pattern.text][method];
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{id} stands twice");
        assert!(
            !operation["description"].as_str().unwrap().is_empty(),
            "{id} has no comment"
        );
    }
    assert_eq!(ids.len(), transcoder.table.bindings().count());
}

#[test]
fn every_reference_resolves_and_every_field_is_described() {
    let document = transcoder().openapi();
    each(&document, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            assert!(resolve(&document, reference).is_some(), "{reference}");
        }
    });
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        if name == "Error" {
            continue;
        }
        assert!(schema["description"].is_string(), "{name}");
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            assert!(schema["description"].is_string(), "{name}.{field}");
        }
    }
}

#[test]
fn requests_are_exact() {
    let document = transcoder().openapi();
    let send = &document["paths"]["/v1/channels/{channel_id}/messages"]["post"];
    let body = &send["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["required"], json!(["content"]));
    assert!(
        body["properties"].get("channelId").is_none(),
        "the path holds it"
    );
    assert_eq!(body["properties"]["content"]["maxLength"], 4_000);
    assert_eq!(send["parameters"][0]["name"], "channel_id");
    assert_eq!(send["parameters"][0]["in"], "path");
    let list = &document["paths"]["/v1/channels/{channel_id}/messages"]["get"];
    let names: Vec<_> = list["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(names, ["channel_id", "limit", "before", "after", "around"]);
    assert_eq!(list["parameters"][1]["schema"]["maximum"], 100);
    let leave = &document["paths"]["/v1/servers/{server_id}:leave"]["post"];
    assert!(leave.get("requestBody").is_none());
    assert_eq!(
        document["paths"]["/v1/auth/login"]["post"]["security"],
        json!([])
    );
    assert!(send.get("security").is_none());
}

#[test]
fn methods_without_a_token_exist() {
    let transcoder = transcoder();
    for name in crate::rpc::rest::openapi::WITHOUT_TOKEN {
        assert!(
            transcoder
                .table
                .bindings()
                .any(|b| b.method.full_name() == name),
            "{name}"
        );
    }
}

//! Calls by REST, as the protocol's HTTP annotations say.

use super::{Answer, Calling, Failure, exchange, request};
use crate::api::{self, Route};
use crate::net::{Dialer, Origin};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

pub(super) async fn call(
    dialer: &Dialer,
    origin: &Origin,
    call: Calling<'_>,
) -> Result<Result<Value, Failure>> {
    let route = api::route(call.method)?;
    let mut fields = api::to_json(call.request)?;
    let path = path(&route, call.method.input(), &mut fields)?;
    let mut request = request(origin, route.verb, &path);
    if let Some(token) = call.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = if route.body {
        request = request.header("content-type", "application/json");
        fields.to_string()
    } else {
        String::new()
    };
    let request = request.body(Full::new(Bytes::from(body)))?;
    let answer = exchange(dialer, origin, request).await?;
    if !answer.status.is_success() {
        return Ok(Err(refusal(&answer)?));
    }
    let json = json(&answer)?;
    let kind = call.method.output();
    api::check_json(&kind, &json)?;
    Ok(Ok(api::to_case(&api::from_json(&kind, &json)?)?))
}

/// The path with its fields, which leave the rest; without a body the rest is the query.
fn path(
    route: &Route,
    input: prost_reflect::MessageDescriptor,
    fields: &mut Value,
) -> Result<String> {
    let map = fields.as_object_mut().context("a request is an object")?;
    let mut path = String::new();
    let mut rest = route.path.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').context("a path's field ends")?;
        let field = input
            .get_field_by_name(name)
            .context("a path names fields")?;
        // Absent: its default, which an id can't be. The server has to say so.
        let value = map.remove(field.json_name()).unwrap_or(Value::from("0"));
        path.push_str(before);
        let value = crate::vars::plain(&value);
        path.extend(utf8_percent_encode(&value, NON_ALPHANUMERIC));
        rest = after;
    }
    path.push_str(rest);
    if !route.body {
        let mut query = Vec::new();
        flatten("", &Value::Object(std::mem::take(map)), &mut query);
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
    }
    Ok(path)
}

/// Fields as parameters: nested ones with dots, repeated ones again and again.
fn flatten(name: &str, value: &Value, query: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(&name, value, query);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| flatten(name, value, query)),
        value => {
            let value = crate::vars::plain(value);
            let value = utf8_percent_encode(&value, NON_ALPHANUMERIC);
            query.push(format!("{name}={value}"));
        }
    }
}

fn json(answer: &Answer) -> Result<Value> {
    let kind = answer.headers.get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    ensure!(
        kind.starts_with("application/json"),
        "REST answers with JSON, not {kind:?}"
    );
    let text = String::from_utf8_lossy(&answer.body);
    serde_json::from_slice(&answer.body).with_context(|| format!("no JSON: {text}"))
}

/// A refusal of REST, or of anything that answers like it.
pub(crate) fn refusal(answer: &Answer) -> Result<Failure> {
    let json = json(answer)?;
    let error = &json["error"];
    let at = answer.status.as_u16();
    ensure!(
        error["code"] == at,
        "the status {at} and the body's code differ: {json}"
    );
    let mut failure = Failure::new(0, &error["message"], &error["details"])?;
    failure.code = error["status"].as_str().unwrap_or_default().to_owned();
    Ok(failure)
}

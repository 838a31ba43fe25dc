//! Makes the request message of a path, a query and a body.
//!
//! All three become one JSON object in proto names, which prost-reflect then reads as proto3 JSON:
//! so a timestamp, an enum or a 64-bit number is read by the same rules wherever it stands.

use axum::body::Body;
use chirm_proto::json;
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::{
    JSON_DEPTH_MAX,
    annotation::{Binding, BodyRule, FieldPath, Segment, is_textual},
    refusal::Refusal,
    route::Matched,
};
use crate::rpc::status::Failure;

/// So many times the limit is read of a body that is too large.
const READ_ON_TIMES: usize = 4;

const NOT_JSON: &str = "Send the body as content-type: application/json, UTF-8, not compressed.";

/// Reads a body of at most `bytes_max` as JSON; `None` if it is empty.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Option<Value>, Refusal> {
    let bytes = collect(body, bytes_max).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json(headers) {
        return Err(Refusal::unsupported_media_type(NOT_JSON));
    }
    json::parse(&bytes, JSON_DEPTH_MAX)
        .map(Some)
        .map_err(|error| Refusal::malformed(format!("The body isn't usable JSON: {error}.")))
}

/// The whole body. What is beyond the limit is read on for a while, and dropped: over HTTP/1.1 an
/// answer that comes before the request's end is lost with the connection.
async fn collect(mut body: Body, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let declared = body.size_hint().exact();
    let (mut bytes, mut size) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::malformed("The body ended early."))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        size += data.len();
        if size <= bytes_max {
            bytes.extend_from_slice(&data);
        } else if size > bytes_max.saturating_mul(READ_ON_TIMES) {
            break;
        }
    }
    if size > bytes_max {
        return Err(Failure::too_large(declared, bytes_max).into());
    }
    Ok(bytes)
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let mut parts = text(header::CONTENT_TYPE).split(';').map(str::trim);
    let json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    let encoding = text(header::CONTENT_ENCODING);
    json && utf8 && (encoding.is_empty() || encoding.eq_ignore_ascii_case("identity"))
}

/// The request message. The path wins over the body, the body's field over the query.
pub(super) fn message(
    matched: &Matched<'_>,
    query: &str,
    body: Option<Value>,
) -> Result<DynamicMessage, Refusal> {
    let binding = matched.binding;
    let input = binding.method.input();
    let mut object = from_body(binding, &input, body)?;
    if !matches!(binding.body, BodyRule::Whole) {
        for (path, text) in query_fields(binding, &input, query)? {
            set(&mut object, &path, &text)?;
        }
    }
    let variables = binding
        .pattern
        .segments
        .iter()
        .filter_map(Segment::variable);
    for (path, text) in variables.zip(&matched.variables) {
        remove(&mut object, path);
        set(&mut object, path, text)?;
    }
    Ok(json::decode(&input, object)?)
}

fn from_body(
    binding: &Binding,
    input: &MessageDescriptor,
    body: Option<Value>,
) -> Result<Map<String, Value>, Refusal> {
    let Some(body) = body else {
        return Ok(Map::new());
    };
    match (&binding.body, body) {
        (BodyRule::Whole, Value::Object(object)) => {
            json::known(input, object).map_err(Refusal::from)
        }
        (BodyRule::Whole, _) => Err(Refusal::malformed("The body must be a JSON object.")),
        (BodyRule::Field(field), value) => Ok(Map::from_iter([(
            field.name().to_owned(),
            json::known_value(field, value)?,
        )])),
        // Many clients send {} with every POST.
        (BodyRule::None, Value::Object(object)) if object.is_empty() => Ok(Map::new()),
        (BodyRule::None, _) => Err(Refusal::malformed("This call takes no body.")),
    }
}

/// The query's parameters that name fields which neither path nor body hold; others are ignored.
fn query_fields(
    binding: &Binding,
    input: &MessageDescriptor,
    query: &str,
) -> Result<Vec<(FieldPath, String)>, Refusal> {
    let bound: Vec<String> = bound_names(binding).collect();
    let mut fields = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (unescape(key)?, unescape(value)?);
        let Some(path) = FieldPath::resolve(input, &key) else {
            continue;
        };
        let name = path.name();
        let is_bound = |bound: &String| {
            name.strip_prefix(bound.as_str())
                .is_some_and(|n| n.is_empty() || n.starts_with('.'))
        };
        if bound.iter().any(is_bound) {
            continue;
        }
        if !is_textual(path.last()) {
            return Err(Refusal::field(name, "can't be given as a query parameter"));
        }
        fields.push((path, value));
    }
    Ok(fields)
}

/// The fields that path and body hold, in proto names.
pub(super) fn bound_names(binding: &Binding) -> impl Iterator<Item = String> {
    let body = match &binding.body {
        BodyRule::Field(field) => Some(field.name().to_owned()),
        BodyRule::None | BodyRule::Whole => None,
    };
    let variables = binding
        .pattern
        .segments
        .iter()
        .filter_map(Segment::variable);
    variables.map(FieldPath::name).chain(body)
}

fn unescape(text: &str) -> Result<String, Refusal> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().map(String::from);
    decoded.map_err(|_| Refusal::malformed("The query isn't UTF-8."))
}

/// Puts a text where the path says; a list's texts are appended.
fn set(object: &mut Map<String, Value>, path: &FieldPath, text: &str) -> Result<(), Refusal> {
    let (last, parents) = path
        .0
        .split_last()
        .expect("a field path has at least one field");
    let mut object = object;
    for parent in parents {
        let inner = object
            .entry(parent.name())
            .or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(inner) = inner else {
            return Err(Refusal::field(
                path.name(),
                "its message is given in another way, too",
            ));
        };
        object = inner;
    }
    let value = scalar(last, text);
    if !last.is_list() {
        return match object.insert(last.name().to_owned(), value) {
            Some(_) => Err(Refusal::field(path.name(), "stands more than once")),
            None => Ok(()),
        };
    }
    match object
        .entry(last.name())
        .or_insert_with(|| Value::Array(Vec::new()))
    {
        Value::Array(items) => items.push(value),
        _ => return Err(Refusal::field(path.name(), "is given in another way, too")),
    }
    Ok(())
}

fn remove(object: &mut Map<String, Value>, path: &FieldPath) {
    let (last, parents) = path
        .0
        .split_last()
        .expect("a field path has at least one field");
    let mut object = object;
    for parent in parents {
        let Some(Value::Object(inner)) = object.get_mut(parent.name()) else {
            return;
        };
        object = inner;
    }
    object.remove(last.name());
}

/// Text as the JSON value that proto3 JSON wants: all but booleans and enums' numbers may be
/// strings.
fn scalar(field: &FieldDescriptor, text: &str) -> Value {
    match field.kind() {
        Kind::Bool if text == "true" => Value::Bool(true),
        Kind::Bool if text == "false" => Value::Bool(false),
        Kind::Enum(_) => text
            .parse::<i32>()
            .map_or_else(|_| text.into(), Value::from),
        _ => text.into(),
    }
}

impl Segment {
    pub(super) fn variable(&self) -> Option<&FieldPath> {
        match self {
            Self::Literal(_) => None,
            Self::Variable(path) => Some(path),
        }
    }
}

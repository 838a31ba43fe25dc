//! The protocol, as its descriptors tell it.

use anyhow::{Context as _, Result, bail, ensure};
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor,
    SerializeOptions,
};
use serde::de::DeserializeSeed as _;
use serde_json::Value;
use std::sync::LazyLock;

static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(DESCRIPTORS).expect("the build wrote these descriptors")
});

/// A message's descriptor by its name in `chirm.v1`.
pub(crate) fn message(name: &str) -> MessageDescriptor {
    let full = format!("chirm.v1.{name}");
    let found = POOL.get_message_by_name(&full);
    found.unwrap_or_else(|| panic!("the protocol has no {full}"))
}

/// `google.rpc.Status`.
pub(crate) fn status() -> MessageDescriptor {
    let found = POOL.get_message_by_name("google.rpc.Status");
    found.expect("the protocol's errors are of this type")
}

/// A method by its name, which no two services have: `SendMessage`.
pub(crate) fn method(name: &str) -> Result<MethodDescriptor> {
    let methods = POOL.services().flat_map(|service| {
        let methods: Vec<_> = service.methods().collect();
        methods
    });
    let mut found = methods.filter(|method| method.name() == name);
    let method = found
        .next()
        .with_context(|| format!("the protocol has no method {name}"))?;
    ensure!(found.next().is_none(), "two services have a method {name}");
    Ok(method)
}

/// A message from what a case says, with fields by their proto names.
pub(crate) fn from_case(descriptor: &MessageDescriptor, value: &Value) -> Result<DynamicMessage> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(descriptor.clone(), value.clone(), &options)
        .with_context(|| format!("not a {}: {value}", descriptor.name()))
}

/// A message from JSON that a server wrote: unknown fields are skipped, as they must be.
pub(crate) fn from_json(descriptor: &MessageDescriptor, value: &Value) -> Result<DynamicMessage> {
    descriptor
        .clone()
        .deserialize(value.clone())
        .with_context(|| format!("not a {}", descriptor.name()))
}

/// A message from its bytes.
pub(crate) fn from_bytes(descriptor: &MessageDescriptor, bytes: &[u8]) -> Result<DynamicMessage> {
    DynamicMessage::decode(descriptor.clone(), bytes)
        .with_context(|| format!("these {} bytes aren't a {}", bytes.len(), descriptor.name()))
}

/// A message as cases see it: fields by their proto names, with their defaults.
pub(crate) fn to_case(message: &DynamicMessage) -> Result<Value> {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// A message as proto3 JSON.
pub(crate) fn to_json(message: &DynamicMessage) -> Result<Value> {
    Ok(serde_json::to_value(message)?)
}

/// Where a method stands in REST.
pub(crate) struct Route {
    pub(crate) verb: http::Method,
    pub(crate) path: String,
    /// Whether the request is the body; else what the path doesn't name is the query.
    pub(crate) body: bool,
}

/// By the method's `google.api.http` annotation.
pub(crate) fn route(method: &MethodDescriptor) -> Result<Route> {
    let extension = POOL
        .get_extension_by_name("google.api.http")
        .context("no HTTP annotations among the descriptors")?;
    let options = method.options();
    ensure!(
        options.has_extension(&extension),
        "{} has no path in REST",
        method.name()
    );
    let rule = options.get_extension(&extension);
    let rule = rule.as_message().context("an annotation is a message")?;
    let rule = to_case(rule)?;
    for verb in ["get", "put", "post", "delete", "patch"] {
        if let Some(path) = rule[verb].as_str().filter(|path| !path.is_empty()) {
            return Ok(Route {
                verb: http::Method::from_bytes(verb.to_uppercase().as_bytes())?,
                path: path.to_owned(),
                body: rule["body"] == "*",
            });
        }
    }
    bail!("{} has an annotation without a path", method.name())
}

/// Checks the form of JSON that a server wrote: 64-bit numbers are strings, times end in `Z`,
/// enums are names, fields have their lowerCamelCase names. What the protocol doesn't know is
/// passed over.
pub(crate) fn check_json(descriptor: &MessageDescriptor, value: &Value) -> Result<()> {
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            let text = value.as_str().context("a time is a string")?;
            ensure!(text.ends_with('Z'), "a time that doesn't end in Z: {text}");
            return Ok(());
        }
        "google.protobuf.Duration" => {
            let text = value.as_str().context("a duration is a string")?;
            ensure!(text.ends_with('s'), "a duration without an s: {text}");
            return Ok(());
        }
        name if name.starts_with("google.protobuf.") => return Ok(()),
        _ => {}
    }
    let object = value.as_object().context("a message is an object")?;
    for field in descriptor.fields() {
        if field.name() != field.json_name() && object.contains_key(field.name()) {
            bail!("{} isn't written {}", field.full_name(), field.json_name());
        }
        let Some(value) = object.get(field.json_name()).filter(|v| !v.is_null()) else {
            continue;
        };
        let kind = field.kind();
        let at = || format!("in {}", field.full_name());
        if field.is_map() {
            let map = value.as_object().context("a map is an object");
            map.with_context(at)?;
        } else if field.is_list() {
            let list = value.as_array().context("a repeated field is a list");
            for value in list.with_context(at)? {
                check_value(&kind, value).with_context(at)?;
            }
        } else {
            check_value(&kind, value).with_context(at)?;
        }
    }
    Ok(())
}

fn check_value(kind: &Kind, value: &Value) -> Result<()> {
    match kind {
        Kind::Int64
        | Kind::Uint64
        | Kind::Sint64
        | Kind::Fixed64
        | Kind::Sfixed64
        | Kind::String
        | Kind::Bytes => ensure!(value.is_string(), "no string: {value}"),
        Kind::Bool => ensure!(value.is_boolean(), "no boolean: {value}"),
        Kind::Enum(of) => {
            let name = value.as_str();
            let known = name.is_some_and(|name| of.get_value_by_name(name).is_some());
            // A value that the writer knows no name of is a number.
            let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
            let nameless = number.is_some_and(|number| of.get_value(number).is_none());
            ensure!(known || nameless, "no name of {}: {value}", of.name());
        }
        Kind::Message(of) => check_json(of, value)?,
        _ => ensure!(value.is_number(), "no number: {value}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The golden vectors were written by another implementation.
    #[test]
    fn golden_vectors_hold_both_ways() {
        for file in ["client_frames", "server_frames"] {
            for entry in crate::case::vectors(file).expect("a file") {
                let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                let kind = POOL
                    .get_message_by_name(&text("message"))
                    .expect("a message");
                let bytes = crate::hex::decode(&text("hex")).expect("bytes");
                let decoded = from_bytes(&kind, &bytes).expect("a message");
                let read = from_json(&kind, &entry["json"]).expect("a message");
                assert_eq!(
                    to_json(&decoded).expect("JSON"),
                    entry["json"],
                    "{}",
                    entry["name"]
                );
                assert_eq!(read, decoded, "{}", entry["name"]);
                check_json(&kind, &entry["json"]).expect("the form of proto3 JSON");
            }
        }
    }

    #[test]
    fn json_of_another_form_is_noticed() {
        let frame = message("ServerFrame");
        let wrong = [
            json!({"event": {"topic": {"id": 7}}}),
            json!({"event": {"topic": {"kind": 1}}}),
            json!({"channel_activity": {}}),
            json!({"typingStarted": {"startedAt": "2026-01-01T00:00:00+00:00"}}),
            json!({"hello": {"deadline": 40}}),
        ];
        for value in wrong {
            assert!(check_json(&frame, &value).is_err(), "{value}");
        }
        let right = json!({"event": {"topic": {"id": "7"}}, "somethingNew": 1});
        check_json(&frame, &right).expect("what isn't known is passed over");
    }
}

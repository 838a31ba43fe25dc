//! Proto3 JSON, read strictly: no key twice, no nesting beyond a limit, unknown fields dropped,
//! unknown names of enums refused, errors that name the place.

mod scan;

pub use scan::parse;

use crate::mutation;
use bytes::Bytes;
use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions,
};
use serde_json::{Map, Value};

/// Why JSON is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It can't be read at all: why, as a sentence.
    Malformed(String),
    /// A field, by its path, and what is wrong with it.
    Field(String, String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(problem) => f.write_str(problem),
            Self::Field(path, problem) => write!(f, "The field {path:?} is wrong: {problem}."),
        }
    }
}

impl std::error::Error for Error {}

/// Reads a message that is one JSON object, of at most `depth_max` levels.
///
/// # Errors
/// See [`Error`].
pub fn read(
    message: &MessageDescriptor,
    text: &[u8],
    depth_max: usize,
) -> Result<DynamicMessage, Error> {
    let value = parse(text, depth_max)
        .map_err(|error| Error::Malformed(format!("This isn't usable JSON: {error}.")))?;
    let Value::Object(object) = value else {
        let problem = "A JSON object is expected.";
        return Err(Error::Malformed(problem.to_owned()));
    };
    decode(message, known(message, object)?)
}

/// Writes a message: 64-bit numbers as strings, `Z`, defaults left out.
///
/// # Errors
/// It holds what JSON has no form for.
pub fn write(message: &DynamicMessage) -> Result<Bytes, serde_json::Error> {
    use prost_reflect::prost::Message as _;
    let mut json = Vec::with_capacity(message.encoded_len() * 2 + 16);
    let mut serializer = serde_json::Serializer::new(&mut json);
    let as_text = !mutation::on("json_ids_as_numbers");
    let options = SerializeOptions::new().stringify_64_bit_integers(as_text);
    message.serialize_with_options(&mut serializer, &options)?;
    if mutation::on("json_times_without_z") {
        json = mutation::without_z(&json);
    }
    Ok(json.into())
}

/// The descriptor of what clients send on a gateway's stream.
#[must_use]
pub fn client_frame() -> MessageDescriptor {
    frame("chirm.v1.ClientFrame")
}

/// The descriptor of what servers send on a gateway's stream.
#[must_use]
pub fn server_frame() -> MessageDescriptor {
    frame("chirm.v1.ServerFrame")
}

fn frame(name: &str) -> MessageDescriptor {
    let message = crate::pool().get_message_by_name(name);
    message.expect("the protocol has its frames")
}

/// The JSON of an encoded message; `None` if it is none, or holds what JSON has no form for.
#[must_use]
pub fn of_encoded(message: &MessageDescriptor, encoded: Bytes) -> Option<String> {
    let message = DynamicMessage::decode(message.clone(), encoded).ok()?;
    String::from_utf8(write(&message).ok()?.into()).ok()
}

/// The encoded message of JSON, read as [`read`] does.
///
/// # Errors
/// See [`Error`].
pub fn to_encoded(
    message: &MessageDescriptor,
    text: &str,
    depth_max: usize,
) -> Result<Bytes, Error> {
    use prost_reflect::prost::Message as _;
    let message = read(message, text.as_bytes(), depth_max)?;
    Ok(message.encode_to_vec().into())
}

/// Finds a field by its name in JSON, or in the protocol.
#[must_use]
pub fn find_field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message
        .get_field_by_json_name(name)
        .or_else(|| message.get_field_by_name(name))
}

/// Drops unknown fields and gives the others their proto names.
///
/// prost-reflect can ignore unknown fields too, but then ignores unknown names of enums with them.
///
/// # Errors
/// A field stands twice, under both its names.
pub fn known(
    message: &MessageDescriptor,
    object: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    let mut out = Map::new();
    for (key, value) in object {
        let Some(field) = find_field(message, &key) else {
            if mutation::on("unknown_fields_refused") {
                return Err(Error::Field(key, "the message doesn't have it".to_owned()));
            }
            continue;
        };
        let value = known_value(&field, value)?;
        if out.insert(field.name().to_owned(), value).is_some() {
            return Err(Error::Malformed(format!("The field {key:?} stands twice.")));
        }
    }
    Ok(out)
}

/// The same of a field's value.
///
/// # Errors
/// See [`known`].
pub fn known_value(field: &FieldDescriptor, value: Value) -> Result<Value, Error> {
    let Kind::Message(message) = field.kind() else {
        return Ok(value);
    };
    // These have JSON forms of their own.
    if message.full_name().starts_with("google.protobuf.") {
        return Ok(value);
    }
    if field.is_map() {
        let Value::Object(object) = value else {
            return Ok(value);
        };
        let of_values = message.map_entry_value_field();
        let entries = object
            .into_iter()
            .map(|(k, v)| Ok((k, known_value(&of_values, v)?)));
        return Ok(Value::Object(entries.collect::<Result<_, Error>>()?));
    }
    match value {
        Value::Array(items) if field.is_list() => {
            let items = items.into_iter().map(|item| match item {
                Value::Object(object) => Ok(Value::Object(known(&message, object)?)),
                other => Ok(other),
            });
            Ok(Value::Array(items.collect::<Result<_, Error>>()?))
        }
        Value::Object(object) if !field.is_list() => Ok(Value::Object(known(&message, object)?)),
        other => Ok(other),
    }
}

/// Makes a message of what [`known`] gave.
///
/// # Errors
/// The field that is wrong, and how.
pub fn decode(
    input: &MessageDescriptor,
    object: Map<String, Value>,
) -> Result<DynamicMessage, Error> {
    one_of_each(input, &object)?;
    let mut track = serde_path_to_error::Track::new();
    let value = Value::Object(object);
    let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
    // Unknown fields are gone by now; what this refuses are unknown names of enums.
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(input.clone(), deserializer, &options)
        .map_err(|error| Error::Field(track.path().to_string(), error.to_string()))
}

/// Refuses two fields of a oneof, by their names; deeper in the message prost-reflect does.
fn one_of_each(input: &MessageDescriptor, object: &Map<String, Value>) -> Result<(), Error> {
    let is_given = |field: &FieldDescriptor| object.get(field.name()).is_some_and(|v| !v.is_null());
    for oneof in input.oneofs() {
        if let Some(second) = oneof.fields().filter(is_given).nth(1) {
            let names: Vec<_> = oneof
                .fields()
                .map(|field| field.name().to_owned())
                .collect();
            let description = format!("give at most one of {}", names.join(", "));
            return Err(Error::Field(second.name().to_owned(), description));
        }
    }
    Ok(())
}

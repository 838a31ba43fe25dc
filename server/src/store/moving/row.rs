//! Rows, whatever store they are of, and their line in a file.

use super::tables::{COUNTERS, Kind, Table};
use crate::model::{Groups, Message};
use crate::store::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value as Json;

/// A column's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// None.
    Null,
    /// A number.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A row: the values of its table's columns, in their order.
pub type Row = Vec<Value>;

/// Appends the line of a row with its line break: a JSON array; bytes as base64.
pub(super) fn write_line(row: &Row, line: &mut Vec<u8>) {
    let cells: Vec<Json> = row.iter().map(json).collect();
    let written = serde_json::to_writer(&mut *line, &cells);
    written.expect("numbers and texts are always JSON");
    line.push(b'\n');
}

fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Int(number) => Json::from(*number),
        Value::Bool(yes) => Json::from(*yes),
        Value::Text(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => Json::from(BASE64.encode(bytes)),
    }
}

/// The row of a line; None if it isn't one of the table.
pub(super) fn read_line(table: &Table, line: &[u8]) -> Option<Row> {
    let cells: Vec<Json> = serde_json::from_slice(line).ok()?;
    if cells.len() != table.columns.len() {
        return None;
    }
    let cells = cells.into_iter().zip(table.columns);
    cells.map(|(cell, (_, kind))| value(cell, *kind)).collect()
}

fn value(cell: Json, kind: Kind) -> Option<Value> {
    Some(match (cell, kind) {
        (Json::Null, _) => Value::Null,
        (Json::Number(number), Kind::Int) => Value::Int(number.as_i64()?),
        (Json::Bool(yes), Kind::Bool) => Value::Bool(yes),
        (Json::String(text), Kind::Text) => Value::Text(text),
        (Json::String(text), Kind::Bytes) => Value::Bytes(BASE64.decode(text).ok()?),
        _ => return None,
    })
}

/// About as many bytes as a row takes in memory.
pub(super) fn size(row: &Row) -> usize {
    let sizes = row.iter().map(|value| match value {
        Value::Text(text) => 32 + text.len(),
        Value::Bytes(bytes) => 32 + bytes.len(),
        _ => 32,
    });
    sizes.sum()
}

/// A key for messages to people: `(7, 12)`.
pub(super) fn key(table: &Table, row: &Row) -> String {
    let values = row
        .iter()
        .take(table.keys)
        .map(|value| json(value).to_string());
    format!("({})", values.collect::<Vec<_>>().join(", "))
}

/// A message as a row of the table of messages.
pub(in crate::store) fn of_message(message: &Message) -> Row {
    let list = || serde_json::to_string(&message.mentions).expect("numbers are always JSON");
    let map = || serde_json::to_string(&message.metadata).expect("texts are always JSON");
    let unless = |none: bool, text: &dyn Fn() -> String| match none {
        true => Value::Null,
        false => Value::Text(text()),
    };
    vec![
        Value::Int(message.channel_id),
        Value::Int(message.id),
        Value::Int(message.author_id),
        unless(message.nonce.is_empty(), &|| message.nonce.clone()),
        Value::Text(message.content.clone()),
        Value::Int(message.reply_to),
        Value::Int(message.revision),
        Value::Int(message.edited_at),
        Value::Bool(message.deleted),
        unless(message.mentions.is_empty(), &list),
        Value::Int(i64::from(message.groups.bits())),
        unless(message.metadata.is_empty(), &map),
        message
            .sent_hash
            .map_or(Value::Null, |hash| Value::Int(hash.cast_signed())),
    ]
}

/// The message of a row of the table of messages.
pub(in crate::store) fn to_message(row: Row) -> Result<Message, Error> {
    let broken = || Error::Unusable("a message's row isn't one".into());
    let row: [Value; 13] = row.try_into().map_err(|_| broken())?;
    let [
        channel,
        id,
        author,
        nonce,
        content,
        reply_to,
        revision,
        edited_at,
        deleted,
        rest @ ..,
    ] = row;
    let [mentions, groups, metadata, sent_hash] = rest;
    let int = |value: Value| match value {
        Value::Int(number) => Ok(number),
        _ => Err(broken()),
    };
    let text = |value: Value| match value {
        Value::Text(text) => text,
        _ => String::new(),
    };
    let (mentions, metadata) = (text(mentions), text(metadata));
    let filled = |json: &str, empty: &str| match json {
        "" => empty.to_owned(),
        json => json.to_owned(),
    };
    let groups = u8::try_from(int(groups)?).map_err(|_| broken())?;
    Ok(Message {
        channel_id: int(channel)?,
        id: int(id)?,
        author_id: int(author)?,
        nonce: text(nonce),
        content: text(content),
        reply_to: int(reply_to)?,
        revision: int(revision)?,
        edited_at: int(edited_at)?,
        deleted: deleted == Value::Bool(true),
        mentions: serde_json::from_str(&filled(&mentions, "[]")).map_err(|_| broken())?,
        groups: Groups::from_bits(groups),
        metadata: serde_json::from_str(&filled(&metadata, "{}")).map_err(|_| broken())?,
        sent_hash: match sent_hash {
            Value::Int(hash) => Some(hash.cast_unsigned()),
            _ => None,
        },
        ..Message::default()
    })
}

/// The rows of the counters, of their values.
pub(in crate::store) fn counters_of(values: [i64; COUNTERS.len()]) -> Vec<Row> {
    let row = |(name, value): (&str, i64)| vec![Value::Text(name.into()), Value::Int(value)];
    COUNTERS.into_iter().zip(values).map(row).collect()
}

/// The counter of a row, and its value.
pub(in crate::store) fn counter(row: &Row) -> Result<(&'static str, i64), Error> {
    if let [Value::Text(found), Value::Int(value)] = row.as_slice()
        && let Some(name) = COUNTERS.into_iter().find(|name| name == found)
    {
        return Ok((name, *value));
    }
    let why = "meta has a row that this program doesn't know";
    Err(Error::Unusable(why.into()))
}

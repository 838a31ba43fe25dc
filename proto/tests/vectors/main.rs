//! The golden vectors of `conformance/vectors/`: frames as bytes and as proto3 JSON.
//!
//! The samples here are where they come from: `BLESS=1 cargo test -p chirm-proto --test vectors`
//! writes the files anew. Without it, the files have to say what the samples say, and every vector
//! has to come out the same by prost (bytes) and by prost-reflect (bytes ⇄ JSON).

#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

mod client;
mod marks;
mod nouns;
mod server;

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Once};

use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value as Field};
use serde_json::{Value, json};

use chirm_proto::v1::{ClientFrame, ServerFrame};

/// One vector: its name, its message's full name, its bytes.
pub(crate) struct Sample {
    name: &'static str,
    message: &'static str,
    bytes: Vec<u8>,
}

impl Sample {
    fn to_json(&self) -> Value {
        let hex: String = self
            .bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let json = serde_json::to_value(self.dynamic()).unwrap();
        json!({ "name": self.name, "message": self.message, "hex": hex, "json": json })
    }

    fn dynamic(&self) -> DynamicMessage {
        DynamicMessage::decode(descriptor(self.message), &*self.bytes).unwrap()
    }
}

fn descriptor(name: &str) -> MessageDescriptor {
    chirm_proto::pool().get_message_by_name(name).unwrap()
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../conformance/vectors")
        .join(file)
}

fn files() -> [(&'static str, Vec<Sample>); 2] {
    [
        ("client_frames.json", client::samples()),
        ("server_frames.json", server::samples()),
    ]
}

/// The stored vectors of a file; written anew first if BLESS asks for it.
fn vectors(file: &str) -> Vec<Value> {
    static BLESS: Once = Once::new();
    BLESS.call_once(|| {
        if std::env::var_os("BLESS").is_some() {
            for (file, samples) in files() {
                let lines: Vec<_> = samples.iter().map(|s| s.to_json().to_string()).collect();
                fs::write(path(file), format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
            }
        }
    });
    serde_json::from_slice(&fs::read(path(file)).unwrap()).unwrap()
}

fn bytes_of(vector: &Value) -> Vec<u8> {
    let hex = vector["hex"].as_str().unwrap();
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn the_files_say_what_the_samples_say() {
    for (file, samples) in files() {
        let wanted: Vec<_> = samples.iter().map(Sample::to_json).collect();
        let stored = vectors(file);
        assert!(
            stored == wanted,
            "{file} differs; if it should, run again with BLESS=1"
        );
    }
}

#[test]
fn bytes_and_json_are_the_same_message() {
    for (file, _) in files() {
        for vector in vectors(file) {
            let name = &vector["name"];
            let descriptor = descriptor(vector["message"].as_str().unwrap());
            let bytes = bytes_of(&vector);
            let from_bytes = DynamicMessage::decode(descriptor.clone(), &*bytes).unwrap();
            assert_eq!(
                serde_json::to_value(&from_bytes).unwrap(),
                vector["json"],
                "{name}"
            );
            let from_json = DynamicMessage::deserialize(descriptor, &vector["json"]).unwrap();
            assert_eq!(from_json.encode_to_vec(), bytes, "{name}");
        }
    }
}

#[test]
fn generated_code_keeps_the_bytes() {
    for (file, _) in files() {
        for vector in vectors(file) {
            let bytes = bytes_of(&vector);
            let again = match vector["message"].as_str().unwrap() {
                "chirm.v1.ClientFrame" => ClientFrame::decode(&*bytes).unwrap().encode_to_vec(),
                "chirm.v1.ServerFrame" => ServerFrame::decode(&*bytes).unwrap().encode_to_vec(),
                other => panic!("no generated type for {other}"),
            };
            assert_eq!(again, bytes, "{}", vector["name"]);
        }
    }
}

#[test]
fn every_kind_of_frame_has_a_vector() {
    let mut seen = BTreeSet::new();
    for (_, samples) in files() {
        let mut names = BTreeSet::new();
        for sample in &samples {
            assert!(names.insert(sample.name), "{} stands twice", sample.name);
            note(&sample.dynamic(), &mut seen);
        }
    }
    for (message, oneof) in [
        ("chirm.v1.ClientFrame", "frame"),
        ("chirm.v1.ServerFrame", "frame"),
        ("chirm.v1.Event", "event"),
        ("chirm.v1.Result", "result"),
        ("chirm.v1.Snapshot", "state"),
        ("chirm.v1.MemberListItem", "item"),
    ] {
        let oneof = descriptor(message)
            .oneofs()
            .find(|of| of.name() == oneof)
            .unwrap();
        for field in oneof.fields() {
            assert!(
                seen.contains(field.full_name()),
                "{} has no vector",
                field.full_name()
            );
        }
    }
}

/// Takes down all fields that a message has set, at any depth.
fn note(message: &DynamicMessage, seen: &mut BTreeSet<String>) {
    for (field, value) in message.fields() {
        seen.insert(field.full_name().to_owned());
        match value {
            Field::Message(inner) => note(inner, seen),
            Field::List(items) => {
                items
                    .iter()
                    .filter_map(Field::as_message)
                    .for_each(|item| note(item, seen));
            }
            _ => {}
        }
    }
}

#[test]
fn other_spellings_mean_the_same() {
    let canonical = json!({ "callId": 7, "ackMessage": { "channelId": "12", "messageId": "13" } });
    let read = |json: &Value| {
        DynamicMessage::deserialize(descriptor("chirm.v1.ClientFrame"), json).unwrap()
    };
    for other in [
        json!({ "call_id": 7, "ack_message": { "channel_id": "12", "message_id": "13" } }),
        json!({ "callId": "7", "ackMessage": { "channelId": 12, "messageId": 13 } }),
        json!({ "callId": 7e0, "ackMessage": { "channelId": 1.2e1, "messageId": "13" } }),
        json!({
            "callId": 7, "view": null, "ackMessage": { "channelId": "12", "messageId": "13" }
        }),
    ] {
        assert_eq!(read(&other), read(&canonical), "{other}");
    }
}

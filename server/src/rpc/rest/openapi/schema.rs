//! Messages, enums and fields as JSON Schema 2020-12, in their proto3 JSON form.

use std::collections::BTreeSet;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{comments::Comments, limits};

/// Collects the schemas that are referred to, each once.
pub(super) struct Schemas<'a> {
    pub(super) comments: &'a Comments,
    named: Map<String, Value>,
    messages_due: Vec<MessageDescriptor>,
    seen: BTreeSet<String>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(comments: &'a Comments) -> Self {
        Self {
            comments,
            named: Map::new(),
            messages_due: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    /// All schemas that were referred to, and those that they refer to.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        while let Some(message) = self.messages_due.pop() {
            let schema = self.message(&message, &[], false);
            self.named.insert(component(message.full_name()), schema);
        }
        self.named
    }

    /// The schema of a message without the named fields; with limits if it is a request.
    pub(super) fn message(
        &mut self,
        message: &MessageDescriptor,
        without: &[String],
        is_request: bool,
    ) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message
            .fields()
            .filter(|f| !without.iter().any(|name| name == f.name()))
        {
            let comment = self.comments.of(&field.parent_file(), field.path());
            if is_request && limits::is_required(comment) {
                required.push(field.json_name().to_owned());
            }
            let schema = self.described(&field, is_request);
            properties.insert(field.json_name().to_owned(), schema);
        }
        let comment = self.comments.of(&message.parent_file(), message.path());
        let mut schema = json!({ "type": "object", "properties": properties });
        if !comment.is_empty() {
            schema["description"] = comment.into();
        }
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        let exclusive = exclusive_fields(message, without);
        if !exclusive.is_empty() {
            schema["allOf"] = exclusive.into();
        }
        schema
    }

    /// A field's schema with its comment; with limits if it is a request's.
    pub(super) fn described(&mut self, field: &FieldDescriptor, is_request: bool) -> Value {
        let comments = self.comments;
        let comment = comments.of(&field.parent_file(), field.path());
        let Value::Object(mut schema) = self.field(field) else {
            return json!({});
        };
        if !comment.is_empty() {
            schema.insert("description".to_owned(), comment.into());
        }
        if is_request {
            limits::add(&mut schema, field, comment);
        }
        schema.into()
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        let kind = field.kind();
        if field.is_map() {
            let Kind::Message(entry) = kind else {
                return json!({});
            };
            let values = self.kind(&entry.map_entry_value_field().kind());
            return json!({ "type": "object", "additionalProperties": values });
        }
        if field.is_list() {
            return json!({ "type": "array", "items": self.kind(&kind) });
        }
        self.kind(&kind)
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Double | Kind::Float => json!({ "type": "number" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX })
            }
            Kind::Uint32 | Kind::Fixed32 => {
                json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({ "type": "string", "pattern": "^(0|-?[1-9][0-9]{0,18})$" })
            }
            Kind::Uint64 | Kind::Fixed64 => {
                json!({ "type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$" })
            }
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Enum(of) => self.reference_enum(of),
            Kind::Message(of) => self.reference_message(of),
        }
    }

    /// A reference to a message's schema, or the form of its own that a well-known type has.
    pub(super) fn reference_message(&mut self, message: &MessageDescriptor) -> Value {
        match message.full_name() {
            "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
            "google.protobuf.Duration" => {
                json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$" })
            }
            "google.protobuf.FieldMask" => json!({
                "type": "string",
                "pattern": "^([a-z][A-Za-z0-9.]*(,[a-z][A-Za-z0-9.]*)*)?$",
            }),
            name => {
                if self.seen.insert(name.to_owned()) {
                    self.messages_due.push(message.clone());
                }
                json!({ "$ref": format!("#/components/schemas/{}", component(name)) })
            }
        }
    }

    fn reference_enum(&mut self, of: &EnumDescriptor) -> Value {
        if self.seen.insert(of.full_name().to_owned()) {
            let names: Vec<_> = of.values().map(|value| value.name().to_owned()).collect();
            let mut text = self.comments.of(&of.parent_file(), of.path()).to_owned();
            for value in of.values() {
                let comment = self.comments.of(&of.parent_file(), value.path());
                text.push_str(&format!("\n- `{}`: {comment}", value.name()));
            }
            let schema = json!({ "type": "string", "enum": names, "description": text });
            self.named.insert(component(of.full_name()), schema);
        }
        json!({ "$ref": format!("#/components/schemas/{}", component(of.full_name())) })
    }
}

/// `chirm.v1.MemberListOp.Kind` → `MemberListOp.Kind`; other packages keep their names.
fn component(full_name: &str) -> String {
    full_name
        .strip_prefix("chirm.v1.")
        .unwrap_or(full_name)
        .to_owned()
}

/// Of each oneof, no two fields.
fn exclusive_fields(message: &MessageDescriptor, without: &[String]) -> Vec<Value> {
    let mut rules = Vec::new();
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let fields: Vec<_> = oneof.fields().collect();
        for (at, first) in fields.iter().enumerate() {
            for second in &fields[at + 1..] {
                let pair = [first, second];
                if !pair
                    .iter()
                    .any(|f| without.iter().any(|name| name == f.name()))
                {
                    let names = pair.map(FieldDescriptor::json_name);
                    rules.push(json!({ "not": { "required": names } }));
                }
            }
        }
    }
    rules
}

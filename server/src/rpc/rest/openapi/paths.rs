//! Bindings as OpenAPI operations.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Value, json};

use super::{WITHOUT_TOKEN, comments::Comments, limits, schema::Schemas};
use crate::rpc::rest::{
    annotation::{Binding, BodyRule, Segment, is_textual},
    request::bound_names,
};

/// Levels of messages whose fields are listed as query parameters.
const QUERY_DEPTH_MAX: usize = 4;

pub(super) fn operation(
    binding: &Binding,
    comments: &Comments,
    schemas: &mut Schemas<'_>,
) -> Value {
    let method = &binding.method;
    let service = method.parent_service();
    let comment = comments.of(&service.parent_file(), method.path());
    let mut id = format!("{}_{}", service.name(), method.name());
    if binding.index > 0 {
        id.push_str(&format!("_{}", binding.index + 1));
    }
    let mut operation = json!({
        "operationId": id,
        "tags": [service.name()],
        "summary": first_sentence(comment),
        "description": comment,
        "parameters": parameters(binding, schemas),
        "responses": {
            "200": {
                "description": "What the call gives.",
                "content": {
                    "application/json": { "schema": schemas.reference_message(&method.output()) },
                },
            },
            "default": { "$ref": "#/components/responses/Error" },
        },
    });
    if let Some(body) = body(binding, schemas) {
        operation["requestBody"] = body;
    }
    if WITHOUT_TOKEN.contains(&method.full_name()) {
        operation["security"] = json!([]);
    }
    operation
}

fn first_sentence(comment: &str) -> &str {
    let end = comment
        .find(". ")
        .or_else(|| comment.find('\n'))
        .unwrap_or(comment.len());
    comment[..end].trim_end_matches(['.', '\n'])
}

fn body(binding: &Binding, schemas: &mut Schemas<'_>) -> Option<Value> {
    let schema = match &binding.body {
        BodyRule::None => return None,
        BodyRule::Field(field) => schemas.described(field, true),
        BodyRule::Whole => {
            // What is bound deeper than at the top stays in the body's schema, and is overwritten.
            let bound: Vec<_> = bound_names(binding).collect();
            schemas.message(&binding.method.input(), &bound, true)
        }
    };
    let required = schema.get("required").is_some();
    Some(json!({
        "required": required,
        "content": { "application/json": { "schema": schema } },
    }))
}

fn parameters(binding: &Binding, schemas: &mut Schemas<'_>) -> Vec<Value> {
    let mut parameters = Vec::new();
    for path in binding
        .pattern
        .segments
        .iter()
        .filter_map(Segment::variable)
    {
        let mut parameter = parameter(&path.name(), path.last(), schemas);
        parameter["in"] = "path".into();
        parameter["required"] = true.into();
        parameters.push(parameter);
    }
    if !matches!(binding.body, BodyRule::Whole) {
        let bound: Vec<_> = bound_names(binding).collect();
        add_query(
            &binding.method.input(),
            "",
            &bound,
            schemas,
            &mut parameters,
        );
    }
    parameters
}

fn add_query(
    message: &MessageDescriptor,
    prefix: &str,
    bound: &[String],
    schemas: &mut Schemas<'_>,
    parameters: &mut Vec<Value>,
) {
    for field in message.fields() {
        let proto_name = format!("{prefix}{}", field.name());
        if bound.contains(&proto_name) {
            continue;
        }
        match field.kind() {
            Kind::Message(inner) if !is_textual(&field) => {
                let depth = prefix.matches('.').count();
                if !field.is_list() && !field.is_map() && depth < QUERY_DEPTH_MAX {
                    add_query(
                        &inner,
                        &format!("{proto_name}."),
                        bound,
                        schemas,
                        parameters,
                    );
                }
            }
            _ => {
                let mut parameter = parameter(&proto_name, &field, schemas);
                parameter["in"] = "query".into();
                parameters.push(parameter);
            }
        }
    }
}

/// All but where it stands. Parameters are named as in the .proto files; JSON names work, too.
fn parameter(name: &str, field: &FieldDescriptor, schemas: &mut Schemas<'_>) -> Value {
    let comment = schemas.comments.of(&field.parent_file(), field.path());
    let required = limits::is_required(comment) || (field.is_list() && comment.starts_with("1 to"));
    let mut schema = schemas.described(field, true);
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("description");
    }
    let mut description = comment.to_owned();
    if let Some(oneof) = field
        .containing_oneof()
        .filter(|oneof| !oneof.is_synthetic())
    {
        let names: Vec<_> = oneof
            .fields()
            .map(|field| format!("`{}`", field.name()))
            .collect();
        description.push_str(&format!(" At most one of {}.", names.join(", ")));
    }
    json!({
        "name": name,
        "description": description,
        "required": required,
        "schema": schema,
    })
}

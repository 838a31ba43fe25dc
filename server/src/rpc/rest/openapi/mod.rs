//! The OpenAPI 3.1 document of the REST routes, from descriptors and their comments.

mod comments;
mod limits;
mod paths;
mod schema;

use prost_reflect::DescriptorPool;
use serde_json::{Map, Value, json};

use super::route::Table;
use comments::Comments;
use schema::Schemas;

const DESCRIPTION: &str = "The REST form of Chirm's gRPC services: requests and answers are the \
same messages in proto3 JSON. 64-bit numbers are strings; fields that have their default (0, \
false, \"\", an empty list) are left out of answers; unknown fields are ignored. Every error has \
one form; docs/errors.md lists the reasons and what to do. Live events come by GatewayService, not \
by REST.";

/// Methods that need no token: they are how one gets one.
pub(super) const WITHOUT_TOKEN: [&str; 4] = [
    "chirm.v1.AuthService.Register",
    "chirm.v1.AuthService.Login",
    "chirm.v1.AuthService.Refresh",
    "chirm.v1.AuthService.ExchangeToken",
];

/// The whole document.
pub(super) fn document(pool: &DescriptorPool, table: &Table) -> Value {
    let comments = Comments::new(pool);
    let mut schemas = Schemas::new(&comments);
    let mut paths: Map<String, Value> = Map::new();
    let mut tags: Map<String, Value> = Map::new();
    for binding in table.bindings().filter(|binding| binding.served) {
        let operation = paths::operation(binding, &comments, &mut schemas);
        let path = paths
            .entry(binding.pattern.text.clone())
            .or_insert_with(|| json!({}));
        path[binding.http_method.as_str().to_lowercase()] = operation;
        let service = binding.method.parent_service();
        let description = comments.of(&service.parent_file(), service.path());
        let tag = json!({ "name": service.name(), "description": description });
        tags.insert(service.name().to_owned(), tag);
    }
    let mut schemas = schemas.finish();
    schemas.insert("Error".to_owned(), error_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Chirm",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The server that gave this document." }],
        "security": [{ "bearer": [] }],
        "tags": tags.into_iter().map(|(_, tag)| tag).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Error": error_response() },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token, a bot's token or a service key.",
                },
            },
        },
    })
}

fn error_response() -> Value {
    json!({
        "description": "The call was refused. The HTTP status follows from the error's code; \
                        Retry-After stands where waiting helps, Allow with 405.",
        "headers": {
            "Retry-After": {
                "description": "Seconds to wait before the same call may succeed.",
                "schema": { "type": "integer", "minimum": 0 },
            },
        },
        "content": {
            "application/json": { "schema": { "$ref": "#/components/schemas/Error" } },
        },
    })
}

fn error_schema() -> Value {
    let codes: Vec<_> = (1..=16).map(super::refusal::code_text).collect();
    let detail = json!({
        "type": "object",
        "description": "google.rpc.ErrorInfo (reason, domain, metadata), BadRequest or RetryInfo.",
        "properties": {
            "@type": { "type": "string", "description": "The type's URL." },
            "reason": { "type": "string", "description": "Of ErrorInfo: UPPER_SNAKE, stable." },
            "domain": { "type": "string", "description": "Of ErrorInfo: chirm.dev." },
            "metadata": { "type": "object", "additionalProperties": { "type": "string" } },
            "fieldViolations": {
                "type": "array",
                "description": "Of BadRequest.",
                "items": {
                    "type": "object",
                    "properties": {
                        "field": { "type": "string" },
                        "description": { "type": "string" },
                    },
                },
            },
            "retryDelay": { "type": "string", "description": "Of RetryInfo: \"1.5s\"." },
        },
        "required": ["@type"],
    });
    json!({
        "type": "object",
        "description": "Why a call was refused.",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "code": { "type": "integer", "description": "The HTTP status." },
                    "status": {
                        "type": "string",
                        "enum": codes,
                        "description": "The name of the gRPC code.",
                    },
                    "message": { "type": "string", "description": "For people." },
                    "details": { "type": "array", "items": detail },
                },
                "required": ["code", "status", "message", "details"],
            },
        },
        "required": ["error"],
    })
}

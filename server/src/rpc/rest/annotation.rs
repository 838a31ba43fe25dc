//! Reads `google.api.http` annotations.

use chirm_proto::google::api::{HttpRule, http_rule};
use chirm_proto::json;
use http::Method;
use prost_reflect::{
    DescriptorPool, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, Value,
};

const EXTENSION: &str = "google.api.http";

/// Why an annotation can't be a route. The first text is the method's name or path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The annotation doesn't decode, or uses a form that isn't supported.
    #[error("{0}: {1}")]
    Unsupported(String, &'static str),
    /// It names a field that the request doesn't have, or one that can't stand there.
    #[error("{0}: the request has no fitting field {1:?}")]
    NoSuchField(String, String),
    /// Two methods have the same verb and path.
    #[error("{0}: another method has this verb and path")]
    Taken(String),
}

/// One way to call a method over REST.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) method: MethodDescriptor,
    /// 0 for the annotation itself, then its `additional_bindings`.
    pub(super) index: usize,
    pub(super) http_method: Method,
    pub(super) pattern: Pattern,
    pub(super) body: BodyRule,
    /// Whether its service is there: if not, the call is refused as not implemented.
    pub(super) served: bool,
}

/// What the HTTP body holds.
#[derive(Debug)]
pub(super) enum BodyRule {
    /// Nothing: what the path doesn't name comes as query parameters.
    None,
    /// All that the path doesn't name.
    Whole,
    /// One field; the rest comes as query parameters.
    Field(FieldDescriptor),
}

/// A path template: `/v1/servers/{server_id}:leave`.
#[derive(Debug)]
pub(super) struct Pattern {
    /// As the annotation has it.
    pub(super) text: String,
    pub(super) segments: Vec<Segment>,
    /// What follows the last segment's colon.
    pub(super) verb: Option<String>,
}

#[derive(Debug)]
pub(super) enum Segment {
    Literal(String),
    Variable(FieldPath),
}

/// A field of a request, perhaps of a message within it.
#[derive(Clone, Debug)]
pub(super) struct FieldPath(pub(super) Vec<FieldDescriptor>);

impl FieldPath {
    /// Resolves `a.b` in proto or JSON names; all but the last are single messages.
    pub(super) fn resolve(message: &MessageDescriptor, path: &str) -> Option<Self> {
        let mut message = Some(message.clone());
        let mut fields = Vec::new();
        for name in path.split('.') {
            let field = json::find_field(&message?, name)?;
            message = match field.kind() {
                Kind::Message(inner) if !field.is_list() && !field.is_map() => Some(inner),
                _ => None,
            };
            fields.push(field);
        }
        Some(Self(fields))
    }

    pub(super) fn last(&self) -> &FieldDescriptor {
        self.0.last().expect("split yields at least one name")
    }

    /// In proto names: `server.name`.
    pub(super) fn name(&self) -> String {
        let names: Vec<_> = self.0.iter().map(FieldDescriptor::name).collect();
        names.join(".")
    }
}

/// Whether a field's value has a form of plain text, as paths and query parameters need it.
pub(super) fn is_textual(field: &FieldDescriptor) -> bool {
    if field.is_map() {
        return false;
    }
    match field.kind() {
        Kind::Message(message) => matches!(
            message.full_name(),
            "google.protobuf.Timestamp" | "google.protobuf.Duration" | "google.protobuf.FieldMask"
        ),
        _ => true,
    }
}

/// The bindings of all unary methods of the pool.
pub(super) fn bindings(pool: &DescriptorPool) -> Result<Vec<Binding>, Error> {
    let Some(extension) = pool.get_extension_by_name(EXTENSION) else {
        return Ok(Vec::new());
    };
    let mut bindings = Vec::new();
    for service in pool.services() {
        for method in service.methods() {
            if method.is_client_streaming() || method.is_server_streaming() {
                continue;
            }
            let Some(rule) = rule_of(&method, &extension)? else {
                continue;
            };
            bindings.push(binding(&method, &rule, 0)?);
            for (at, additional) in rule.additional_bindings.iter().enumerate() {
                bindings.push(binding(&method, additional, at + 1)?);
            }
        }
    }
    Ok(bindings)
}

/// A method's own annotation.
pub(super) fn rule_of(
    method: &MethodDescriptor,
    extension: &ExtensionDescriptor,
) -> Result<Option<HttpRule>, Error> {
    let options = method.options();
    if !options.has_extension(extension) {
        return Ok(None);
    }
    let rule = options.get_extension(extension);
    let Value::Message(rule) = rule.as_ref() else {
        return Err(unsupported(method, "google.api.http isn't a message"));
    };
    rule.transcode_to()
        .map(Some)
        .map_err(|_| unsupported(method, "google.api.http is malformed"))
}

fn binding(method: &MethodDescriptor, rule: &HttpRule, index: usize) -> Result<Binding, Error> {
    use http_rule::Pattern::{Custom, Delete, Get, Patch, Post, Put};
    let (http_method, path) = match &rule.pattern {
        Some(Get(path)) => (Method::GET, path),
        Some(Put(path)) => (Method::PUT, path),
        Some(Post(path)) => (Method::POST, path),
        Some(Delete(path)) => (Method::DELETE, path),
        Some(Patch(path)) => (Method::PATCH, path),
        Some(Custom(_)) => return Err(unsupported(method, "custom HTTP methods")),
        None => return Err(unsupported(method, "an annotation without a path")),
    };
    if !rule.response_body.is_empty() {
        return Err(unsupported(method, "response_body"));
    }
    let body = match rule.body.as_str() {
        "" => BodyRule::None,
        "*" => BodyRule::Whole,
        name => {
            let field = method.input().get_field_by_name(name);
            BodyRule::Field(field.ok_or_else(|| no_field(method, name))?)
        }
    };
    let pattern = parse(method, path)?;
    Ok(Binding {
        method: method.clone(),
        index,
        http_method,
        pattern,
        body,
        served: true,
    })
}

fn parse(method: &MethodDescriptor, text: &str) -> Result<Pattern, Error> {
    let Some(path) = text.strip_prefix('/') else {
        return Err(unsupported(method, "a path without a leading slash"));
    };
    // A colon within braces would belong to a variable, but variables' own patterns aren't
    // supported.
    let (path, verb) = match path.rsplit_once(':') {
        Some((path, verb)) => (path, Some(verb.to_owned())),
        None => (path, None),
    };
    let mut segments = Vec::new();
    for segment in path.split('/') {
        let name = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        if let Some(name) = name {
            let name = name.strip_suffix("=*").unwrap_or(name);
            let field = FieldPath::resolve(&method.input(), name)
                .filter(|field| is_textual(field.last()) && !field.last().is_list())
                .ok_or_else(|| no_field(method, name))?;
            segments.push(Segment::Variable(field));
        } else if segment.is_empty() || segment.contains(['{', '}', '*', ':', '%']) {
            return Err(unsupported(
                method,
                "a path segment that is neither literal nor {field}",
            ));
        } else {
            segments.push(Segment::Literal(segment.to_owned()));
        }
    }
    Ok(Pattern {
        text: text.to_owned(),
        segments,
        verb,
    })
}

fn unsupported(method: &MethodDescriptor, what: &'static str) -> Error {
    Error::Unsupported(method.full_name().to_owned(), what)
}

fn no_field(method: &MethodDescriptor, name: &str) -> Error {
    Error::NoSuchField(method.full_name().to_owned(), name.to_owned())
}

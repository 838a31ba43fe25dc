//! Calls a unary gRPC method in process and reads its answer.

use std::convert::Infallible;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, Response, header, request::Parts};
use http_body_util::{BodyExt, Full, Limited};
use prost::Message;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tonic::Status;
use tower::{Service, ServiceExt};

use super::refusal::Refusal;

/// Bytes of an answer, at most. The largest page, 1,000 members with full metadata, takes 6 MiB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes before a message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Headers that the call takes over from the HTTP request.
const PASSED: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::USER_AGENT,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
];

/// Calls `method` with the request's credentials and extensions; answers in proto3 JSON.
pub(super) async fn unary<S>(
    service: S,
    method: &MethodDescriptor,
    parts: &Parts,
    message: &DynamicMessage,
) -> Result<Bytes, Refusal>
where
    S: Service<
            Request<tonic::body::Body>,
            Response = Response<tonic::body::Body>,
            Error = Infallible,
        >,
{
    let request = grpc_request(method, parts, message);
    let response = match service.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let answer = read(response).await?;
    let message = DynamicMessage::decode(method.output(), answer)
        .map_err(|error| internal(method, &error))?;
    chirm_proto::json::write(&message).map_err(|error| internal(method, &error))
}

fn grpc_request(
    method: &MethodDescriptor,
    parts: &Parts,
    message: &DynamicMessage,
) -> Request<tonic::body::Body> {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a bounded body makes no message of 4 GiB"));
    message.encode(&mut frame).expect("the buffer grows");
    let mut request = Request::new(tonic::body::Body::new(Full::new(frame.freeze())));
    *request.method_mut() = Method::POST;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    *request.uri_mut() = path
        .parse()
        .expect("names of proto methods are valid paths");
    *request.version_mut() = http::Version::HTTP_2;
    *request.extensions_mut() = parts.extensions.clone();
    let headers = request.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    for name in PASSED {
        for value in parts.headers.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    request
}

/// The one message of a gRPC answer.
async fn read(response: Response<tonic::body::Body>) -> Result<Bytes, Refusal> {
    // An answer without a message has its status in the headers.
    let status = Status::from_header_map(response.headers());
    if let Some(status) = status.filter(|status| status.code() != tonic::Code::Ok) {
        return Err(status.into());
    }
    if !response.status().is_success() {
        return Err(Status::internal("The call was refused without a status.").into());
    }
    let collected = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| Status::internal(format!("The answer can't be read: {error}")))?;
    let status = collected.trailers().and_then(Status::from_header_map);
    if let Some(status) = status.filter(|status| status.code() != tonic::Code::Ok) {
        return Err(status.into());
    }
    let mut bytes = collected.to_bytes();
    if bytes.len() < PREFIX_BYTES || bytes[0] != 0 {
        return Err(Status::internal("The answer has no uncompressed message.").into());
    }
    let prefix = bytes.split_to(PREFIX_BYTES);
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if usize::try_from(length) != Ok(bytes.len()) {
        return Err(Status::internal("The answer isn't one whole message.").into());
    }
    Ok(bytes)
}

fn internal(method: &MethodDescriptor, error: &dyn std::error::Error) -> Refusal {
    tracing::error!(method = method.full_name(), %error, "an answer can't be written as JSON");
    Status::internal("The answer can't be written as JSON.").into()
}

use std::time::Duration;

use chirm_proto::v1::{self, message_service_server::MessageServiceServer};
use http::StatusCode;
use serde_json::json;
use tonic::{Code, Request, Response, Status, service::Routes};

use super::{Answer, BODY_BYTES_MAX, answer, request, router, transcoder};
use crate::rpc::{Grpc, rest::refusal::http_status, status::Failure};

/// Answers by the channel that it is asked about.
struct Channels;

type Answered<T> = Result<Response<T>, Status>;

fn refusal(channel_id: i64) -> Status {
    match channel_id {
        1 => Failure::new(Code::NotFound, "NOT_FOUND", "No such channel.")
            .meta("resource", "channel")
            .into_status(),
        2 => Failure::new(Code::ResourceExhausted, "RATE_LIMITED", "Wait.")
            .retry_after(Duration::from_millis(1_200))
            .into_status(),
        3 => Status::unauthenticated("Who?"),
        _ => {
            let detail = prost_types::Any {
                type_url: "x/y.Z".to_owned(),
                value: vec![1, 2],
            };
            let proto = chirm_proto::google::rpc::Status {
                details: vec![detail],
                ..Default::default()
            };
            let details = prost::Message::encode_to_vec(&proto);
            Status::with_details(Code::Internal, "Ä bug.", details.into())
        }
    }
}

#[tonic::async_trait]
impl v1::message_service_server::MessageService for Channels {
    async fn send_message(
        &self,
        request: Request<v1::SendMessageRequest>,
    ) -> Answered<v1::SendMessageResponse> {
        let request = request.into_inner();
        let message = v1::Message {
            id: i64::MAX,
            channel_id: request.channel_id,
            content: request.content,
            edited_at: Some(prost_types::Timestamp {
                seconds: 1_735_689_600,
                nanos: 5_000_000,
            }),
            mentions: vec![1, 2],
            ..Default::default()
        };
        Ok(Response::new(v1::SendMessageResponse {
            message: Some(message),
        }))
    }

    async fn get_message(
        &self,
        request: Request<v1::GetMessageRequest>,
    ) -> Answered<v1::GetMessageResponse> {
        Err(refusal(request.into_inner().channel_id))
    }

    async fn list_messages(
        &self,
        _: Request<v1::ListMessagesRequest>,
    ) -> Answered<v1::ListMessagesResponse> {
        let message = v1::Message {
            id: 1,
            content: "x".repeat(16_000),
            ..Default::default()
        };
        let messages = vec![message; 100];
        Ok(Response::new(v1::ListMessagesResponse {
            messages,
            ..Default::default()
        }))
    }

    async fn edit_message(
        &self,
        _: Request<v1::EditMessageRequest>,
    ) -> Answered<v1::EditMessageResponse> {
        Ok(Response::new(v1::EditMessageResponse::default()))
    }

    async fn delete_message(
        &self,
        _: Request<v1::DeleteMessageRequest>,
    ) -> Answered<v1::DeleteMessageResponse> {
        Ok(Response::new(v1::DeleteMessageResponse {}))
    }

    async fn start_typing(
        &self,
        _: Request<v1::StartTypingRequest>,
    ) -> Answered<v1::StartTypingResponse> {
        Ok(Response::new(v1::StartTypingResponse {}))
    }

    async fn send_custom_event(
        &self,
        _: Request<v1::SendCustomEventRequest>,
    ) -> Answered<v1::SendCustomEventResponse> {
        Ok(Response::new(v1::SendCustomEventResponse {}))
    }

    async fn add_reaction(
        &self,
        _: Request<v1::AddReactionRequest>,
    ) -> Answered<v1::AddReactionResponse> {
        Ok(Response::new(v1::AddReactionResponse::default()))
    }

    async fn remove_reaction(
        &self,
        _: Request<v1::RemoveReactionRequest>,
    ) -> Answered<v1::RemoveReactionResponse> {
        Ok(Response::new(v1::RemoveReactionResponse::default()))
    }

    async fn clear_reactions(
        &self,
        _: Request<v1::ClearReactionsRequest>,
    ) -> Answered<v1::ClearReactionsResponse> {
        Ok(Response::new(v1::ClearReactionsResponse::default()))
    }

    async fn list_reactions(
        &self,
        _: Request<v1::ListReactionsRequest>,
    ) -> Answered<v1::ListReactionsResponse> {
        Ok(Response::new(v1::ListReactionsResponse::default()))
    }

    async fn pin_message(
        &self,
        _: Request<v1::PinMessageRequest>,
    ) -> Answered<v1::PinMessageResponse> {
        Ok(Response::new(v1::PinMessageResponse::default()))
    }

    async fn unpin_message(
        &self,
        _: Request<v1::UnpinMessageRequest>,
    ) -> Answered<v1::UnpinMessageResponse> {
        Ok(Response::new(v1::UnpinMessageResponse::default()))
    }

    async fn list_pins(&self, _: Request<v1::ListPinsRequest>) -> Answered<v1::ListPinsResponse> {
        Ok(Response::new(v1::ListPinsResponse::default()))
    }
}

async fn call(method: &str, uri: &str, body: &str) -> Answer {
    let service = MessageServiceServer::new(Channels).max_decoding_message_size(BODY_BYTES_MAX);
    let services = Grpc::new(Routes::new(service), BODY_BYTES_MAX);
    answer(router(transcoder(), services), request(method, uri, body)).await
}

#[tokio::test]
async fn an_answer_is_proto3_json() {
    let answer = call("POST", "/v1/channels/7/messages", r#"{"content": "hi"}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    let message = json!({
        "id": "9223372036854775807", "channelId": "7", "content": "hi",
        "editedAt": "2025-01-01T00:00:00.005Z", "mentions": ["1", "2"],
    });
    assert_eq!(answer.json(), json!({ "message": message }));
    let answer = call("DELETE", "/v1/channels/7/messages/1", "").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "{}"));
}

#[tokio::test]
async fn long_pages_come_whole() {
    let answer = call("GET", "/v1/channels/7/messages", "").await;
    assert_eq!(answer.json()["messages"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn errors_keep_their_details() {
    let answer = call("GET", "/v1/channels/1/messages/1", "").await;
    assert_eq!(answer.status, 404);
    let info = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "NOT_FOUND", "domain": "chirm.dev", "metadata": { "resource": "channel" },
    });
    let error = json!({
        "code": 404, "status": "NOT_FOUND", "message": "No such channel.", "details": [info],
    });
    assert_eq!(answer.json(), json!({ "error": error }));
}

#[tokio::test]
async fn a_delay_becomes_retry_after_rounded_up() {
    let answer = call("GET", "/v1/channels/2/messages/1", "").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["retry-after"]),
        (429, &"2".parse().unwrap())
    );
    assert_eq!(answer.json()["error"]["details"][1]["retryDelay"], "1.200s");
}

#[tokio::test]
async fn other_statuses_come_through() {
    let answer = call("GET", "/v1/channels/3/messages/1", "").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    let answer = call("GET", "/v1/channels/4/messages/1", "").await;
    assert_eq!(answer.status, 500);
    let error = &answer.json()["error"];
    assert_eq!(error["message"], "Ä bug.");
    assert_eq!(
        error["details"],
        json!([{ "@type": "x/y.Z", "value": "AQI=" }])
    );
    // A service that isn't there.
    let answer = call("GET", "/v1/users/1", "").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]["status"]),
        (501, &json!("UNIMPLEMENTED"))
    );
    assert_eq!(answer.reason(), "NOT_IMPLEMENTED");
}

#[test]
fn codes_have_googles_http_statuses() {
    let expected = [
        200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
    ];
    for (code, expected) in expected.into_iter().enumerate() {
        let code = Code::from(i32::try_from(code).unwrap());
        assert_eq!(
            http_status(code, "ANY"),
            StatusCode::from_u16(expected).unwrap(),
            "{code:?}"
        );
    }
}

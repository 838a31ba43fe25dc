//! `ConformanceService`, as its comments have it: each method answers what its request asks for.

use crate::answer::{self, Call, Payloads, Stream, echo};
use crate::proto::conformance_service_server::ConformanceService;
use crate::proto::{
    BidiStreamRequest, BidiStreamResponse, ClientStreamRequest, ClientStreamResponse,
    ConformancePayload, IdempotentUnaryRequest, IdempotentUnaryResponse, ServerStreamRequest,
    ServerStreamResponse, UnaryRequest, UnaryResponse, UnimplementedRequest, UnimplementedResponse,
};
use std::pin::Pin;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Answers whatever it is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service;

type Answers<M> = Pin<Box<dyn tokio_stream::Stream<Item = Result<M, Status>> + Send>>;

/// A stream's payloads, each in the method's own message.
fn answers<M>(
    response: Response<Payloads>,
    wrap: fn(Option<ConformancePayload>) -> M,
) -> Response<Answers<M>>
where
    M: 'static,
{
    response.map(|payloads| {
        let payloads = ReceiverStream::new(payloads);
        let answers: Answers<M> =
            Box::pin(payloads.map(move |payload| payload.map(|payload| wrap(Some(payload)))));
        answers
    })
}

#[tonic::async_trait]
impl ConformanceService for Service {
    type ServerStreamStream = Answers<ServerStreamResponse>;
    type BidiStreamStream = Answers<BidiStreamResponse>;

    async fn unary(
        &self,
        request: Request<UnaryRequest>,
    ) -> Result<Response<UnaryResponse>, Status> {
        let call = Call::of(request.metadata());
        let request = request.into_inner();
        let info = call.info(vec![echo(&request)]);
        let answer = answer::unary(info, request.response_definition).await?;
        Ok(answer.map(Some).map(|payload| UnaryResponse { payload }))
    }

    async fn idempotent_unary(
        &self,
        request: Request<IdempotentUnaryRequest>,
    ) -> Result<Response<IdempotentUnaryResponse>, Status> {
        let call = Call::of(request.metadata());
        let request = request.into_inner();
        let info = call.info(vec![echo(&request)]);
        let answer = answer::unary(info, request.response_definition).await?;
        let wrap = |payload| IdempotentUnaryResponse { payload };
        Ok(answer.map(Some).map(wrap))
    }

    async fn server_stream(
        &self,
        request: Request<ServerStreamRequest>,
    ) -> Result<Response<Self::ServerStreamStream>, Status> {
        let call = Call::of(request.metadata());
        let request = request.into_inner();
        let info = call.info(vec![echo(&request)]);
        let (response, stream) = answer::stream(request.response_definition)?;
        tokio::spawn(stream.finish(info));
        Ok(answers(response, |payload| ServerStreamResponse {
            payload,
        }))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<ClientStreamRequest>>,
    ) -> Result<Response<ClientStreamResponse>, Status> {
        let call = Call::of(request.metadata());
        let mut requests = request.into_inner();
        let (mut definition, mut echoes) = (None, Vec::new());
        while let Some(request) = requests.message().await? {
            echoes.push(echo(&request));
            if echoes.len() == 1 {
                definition = request.response_definition;
            }
        }
        let answer = answer::unary(call.info(echoes), definition).await?;
        let wrap = |payload| ClientStreamResponse { payload };
        Ok(answer.map(Some).map(wrap))
    }

    async fn bidi_stream(
        &self,
        request: Request<Streaming<BidiStreamRequest>>,
    ) -> Result<Response<Self::BidiStreamStream>, Status> {
        let call = Call::of(request.metadata());
        let mut requests = request.into_inner();
        let first = requests.message().await?.unwrap_or_default();
        let mut echoes = vec![echo(&first)];
        let (response, stream) = answer::stream(first.response_definition)?;
        if first.full_duplex {
            tokio::spawn(in_turns(call, requests, echoes, stream));
        } else {
            while let Some(request) = requests.message().await? {
                echoes.push(echo(&request));
            }
            tokio::spawn(stream.finish(call.info(echoes)));
        }
        Ok(answers(response, |payload| BidiStreamResponse { payload }))
    }

    async fn unimplemented(
        &self,
        _: Request<UnimplementedRequest>,
    ) -> Result<Response<UnimplementedResponse>, Status> {
        Err(Status::unimplemented("this method is never implemented"))
    }
}

/// Full duplex: a message for each request, in turns, while there are both.
async fn in_turns(
    call: Call,
    mut requests: Streaming<BidiStreamRequest>,
    mut echoes: Vec<prost_types::Any>,
    mut stream: Stream,
) {
    let mut first = true;
    while stream.has_more() {
        let requests_so_far = std::mem::take(&mut echoes);
        let info = if first {
            call.info(requests_so_far)
        } else {
            Call::default().info(requests_so_far)
        };
        first = false;
        stream.send(Some(info)).await;
        match requests.message().await {
            Ok(Some(request)) => echoes.push(echo(&request)),
            Ok(None) => break,
            Err(status) => return stream.fail(status).await,
        }
    }
    stream.finish(call.info(echoes)).await;
}

//! `GatewayService`: the two streams, their gRPC framing written by hand. An event arrives here as
//! the bytes that go to the socket; all that waits goes in one HTTP/2 DATA frame.

use crate::gateway::{Gateway, Input, InputError, Outbox, Transport, input};
use bytes::{Buf, Bytes};
use chirm_proto::v1;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::codec::{BufferSettings, DecodeBuf, Decoder, Streaming};
use tonic::{Code, Status};

/// The path of `GatewayService.Session`.
pub const SESSION: &str = "/chirm.v1.GatewayService/Session";
/// The path of `GatewayService.Listen`.
pub const LISTEN: &str = "/chirm.v1.GatewayService/Listen";
/// Both: what lasts as long as the client stays.
pub const STREAMS: [&str; 2] = [SESSION, LISTEN];

/// What a stream's decoder holds before a frame comes; it grows for larger ones.
const READ_BUFFER_BYTES: usize = 1 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Decodes messages, telling their size.
struct Sized<M>(std::marker::PhantomData<M>);

impl<M: prost::Message + Default> Decoder for Sized<M> {
    type Item = (usize, M);
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let size = src.remaining();
        let message = M::decode(src).map_err(|e| Status::invalid_argument(e.to_string()))?;
        Ok(Some((size, message)))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(READ_BUFFER_BYTES, READ_BUFFER_BYTES)
    }
}

/// Serves a stream: `path` is [`SESSION`] or [`LISTEN`].
pub fn serve<B>(gateway: &Gateway, path: &str, request: Request<B>) -> Response<SessionBody>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let one_way = path == LISTEN;
    let outbox = Arc::new(gateway.outbox());
    let transport = Transport {
        outbox: outbox.clone(),
        one_way,
    };
    let (gateway, body) = (gateway.clone(), request.into_body());
    if one_way {
        tokio::spawn(async move { listen(gateway, body, transport).await });
    } else {
        tokio::spawn(async move { session(gateway, body, transport).await });
    }
    let mut response = Response::new(SessionBody {
        outbox,
        trailers: false,
    });
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

async fn session<B>(gateway: Gateway, body: B, transport: Transport)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let limits = gateway.limits();
    let (first_max, max) = (limits.identify_bytes_max, limits.request_bytes_max);
    let decoder = Sized::<v1::ClientFrame>(std::marker::PhantomData);
    let frames = Streaming::new_request(decoder, body, None, Some(first_max));
    let inputs = frames.map(move |frame| match frame {
        Ok((size, frame)) => sized_input(size, frame, max),
        Err(status) => Err(input_error(&status)),
    });
    gateway.run(inputs, transport).await;
}

async fn listen<B>(gateway: Gateway, body: B, transport: Transport)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let max = gateway.limits().identify_bytes_max;
    let decoder = Sized::<v1::Identify>(std::marker::PhantomData);
    let mut requests = Streaming::new_request(decoder, body, None, Some(max));
    // Waited for by the gateway, whose deadline for `identify` holds for this stream, too. The
    // request ends with it, and goes; the events go on until either side ends them.
    let first = async move {
        match requests.next().await {
            Some(Ok((_, identify))) => Ok(Input::Identify(Box::new(identify))),
            Some(Err(status)) => Err(input_error(&status)),
            None => Err(InputError::Malformed),
        }
    };
    let inputs = stream::once(first).chain(stream::pending());
    gateway.run(Box::pin(inputs), transport).await;
}

/// A client's frame of so many bytes: but for `identify` at most `max`.
pub(super) fn sized_input(
    size: usize,
    frame: v1::ClientFrame,
    max: usize,
) -> Result<Input, InputError> {
    let identify = matches!(frame.frame, Some(v1::client_frame::Frame::Identify(_)));
    if size > max && !identify {
        return Err(InputError::TooLarge);
    }
    Ok(input(frame))
}

fn input_error(status: &Status) -> InputError {
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => InputError::TooLarge,
        Code::InvalidArgument | Code::Internal | Code::Unimplemented => InputError::Malformed,
        _ => InputError::Broken,
    }
}

/// The response of a stream: what its outbox has, then the trailers.
pub struct SessionBody {
    outbox: Arc<Outbox>,
    trailers: bool,
}

impl Drop for SessionBody {
    fn drop(&mut self) {
        self.outbox.peer_gone();
    }
}

impl Body for SessionBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.trailers {
            return Poll::Ready(None);
        }
        if let Some(data) = ready!(self.outbox.poll_write(cx)) {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        self.trailers = true;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&self.outbox)))))
    }

    fn is_end_stream(&self) -> bool {
        self.trailers
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn trailers(outbox: &Outbox) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let status = match outbox.end() {
        Some(end) => Status::new(Code::from(end.code), end.message),
        None => Status::new(Code::Unavailable, "the stream was cut"),
    };
    if status.add_header(&mut trailers).is_err() {
        trailers.insert("grpc-status", HeaderValue::from_static("13"));
    }
    trailers
}

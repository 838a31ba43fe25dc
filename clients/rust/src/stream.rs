//! A connection, from opening it to the frames that come by it.

use crate::{
    api::Api,
    config::{Carrier, Config, Tap, Tapped},
    error::Error,
    machine::Input,
    wire::{self, Cutter},
};
use chirm_proto::v1::{self, gateway_service_client::GatewayServiceClient};
use futures::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming, transport::Channel};

/// How long a unary call may take.
const CALL: Duration = Duration::from_secs(30);
/// A snapshot of a large server has some megabytes.
pub(crate) const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The connection, if there is one.
pub(crate) enum Connection {
    None,
    Opening(BoxFuture<'static, Result<Opened, Error>>),
    Open(Opened),
}

/// An open stream and the channel that it runs on.
pub(crate) struct Opened {
    pub(crate) frames: Frames,
    pub(crate) api: Api,
    tap: Option<Tap>,
}

/// Where frames come from.
pub(crate) enum Frames {
    Grpc(Box<Streaming<v1::ServerFrame>>),
    #[cfg(feature = "websocket")]
    WebSocket(Box<crate::websocket::Socket>),
}

impl Frames {
    /// The next frame; `None` after the last. Safe to cancel.
    async fn next(&mut self) -> Result<Option<v1::ServerFrame>, Error> {
        match self {
            Self::Grpc(frames) => {
                let frame = frames.message().await;
                frame.map_err(|status| Error::of_stream(&status))
            }
            #[cfg(feature = "websocket")]
            Self::WebSocket(socket) => socket.next().await,
        }
    }
}

/// The next input from the connection. Safe to cancel.
pub(crate) async fn receive(connection: &mut Connection) -> Option<Input> {
    match connection {
        Connection::None => std::future::pending().await,
        Connection::Opening(opening) => match opening.await {
            Ok(opened) => {
                *connection = Connection::Open(opened);
                None
            }
            Err(error) => {
                *connection = Connection::None;
                Some(Input::Lost(error))
            }
        },
        Connection::Open(opened) => match opened.frames.next().await {
            // A frame of a kind that this client doesn't know is passed over.
            Ok(Some(v1::ServerFrame { frame })) => {
                if let (Some(tap), Some(frame)) = (&opened.tap, &frame) {
                    tap(Tapped::Received(frame));
                }
                frame.map(Input::Frame)
            }
            Ok(None) => Some(Input::Lost(Error::connection(
                "the server ended the stream",
            ))),
            Err(error) => Some(Input::Lost(error)),
        },
    }
}

/// Opens a connection and the stream of events on it.
pub(crate) async fn open(
    config: Config,
    identify: v1::Identify,
    sent: mpsc::Receiver<v1::ClientFrame>,
    cutter: Arc<Cutter>,
) -> Result<Opened, Error> {
    let channel: Channel = wire::connect(&config, cutter.clone()).await?;
    let api = Api::over(channel.clone(), &config.token)?;
    let frames = match config.carrier {
        Carrier::Grpc => Frames::Grpc(Box::new(grpc(&config, channel, identify, sent).await?)),
        #[cfg(feature = "websocket")]
        Carrier::WebSocket | Carrier::WebSocketJson => {
            let json = config.carrier == Carrier::WebSocketJson;
            let socket = crate::websocket::Socket::open(&config, json, sent, cutter).await?;
            Frames::WebSocket(Box::new(socket))
        }
        #[cfg(feature = "grpc-web")]
        Carrier::GrpcWeb => {
            let listening = crate::grpc_web::listen(&config, identify, cutter).await?;
            Frames::Grpc(Box::new(listening))
        }
    };
    Ok(Opened {
        frames,
        api,
        tap: config.tap,
    })
}

async fn grpc(
    config: &Config,
    channel: Channel,
    identify: v1::Identify,
    sent: mpsc::Receiver<v1::ClientFrame>,
) -> Result<Streaming<v1::ServerFrame>, Error> {
    let mut gateway = GatewayServiceClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
    let response = if config.listen_only {
        gateway.listen(identify).await
    } else {
        gateway.session(ReceiverStream::new(sent)).await
    };
    let response = response.map_err(|status| Error::of_stream(&status))?;
    Ok(response.into_inner())
}

/// A unary call's answer, in time.
pub(crate) async fn answer<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(Error::connection("a call had no answer in time")),
    }
}

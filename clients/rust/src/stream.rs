//! A connection, from opening it to the frames that come by it.

use crate::{
    api::Api,
    config::{Config, Tap, Tapped},
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
    pub(crate) frames: Box<Streaming<v1::ServerFrame>>,
    pub(crate) api: Api,
    tap: Option<Tap>,
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
        Connection::Open(opened) => match opened.frames.message().await {
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
            Err(status) => Some(Input::Lost(Error::of_stream(&status))),
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
    let channel: Channel = wire::connect(&config, cutter).await?;
    let api = Api::over(channel.clone(), &config.token)?;
    let mut gateway = GatewayServiceClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
    let response = if config.listen_only {
        gateway.listen(identify).await
    } else {
        gateway.session(ReceiverStream::new(sent)).await
    };
    let frames = response
        .map_err(|status| Error::of_stream(&status))?
        .into_inner();
    Ok(Opened {
        frames: Box::new(frames),
        api,
        tap: config.tap,
    })
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

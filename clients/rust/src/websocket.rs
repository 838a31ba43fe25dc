//! The stream by WebSocket.

use crate::{
    config::Config,
    error::Error,
    stream::FRAME_BYTES_MAX,
    wire::{Cutter, Wire},
};
use bytes::Bytes;
use chirm_proto::{json, v1};
use futures::{SinkExt as _, StreamExt as _, stream::SplitStream};
use prost::Message as _;
use prost_reflect::MessageDescriptor;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};
use tonic::transport::Uri;

/// From connecting to the end of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Levels of nesting of a server's frame in JSON, at most.
const DEPTH_MAX: usize = 64;

/// An open WebSocket; what is sent goes out by a task of its own.
pub(crate) struct Socket {
    read: SplitStream<WebSocketStream<Wire>>,
    form: Form,
    writing: JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.writing.abort();
    }
}

impl Socket {
    pub(crate) async fn open(
        config: &Config,
        json: bool,
        mut sent: mpsc::Receiver<v1::ClientFrame>,
        cutter: Arc<Cutter>,
    ) -> Result<Self, Error> {
        let form = if json { Form::json() } else { Form::Proto };
        let opening = connect(config, &form, cutter);
        let opened = tokio::time::timeout(HANDSHAKE, opening).await;
        let socket =
            opened.map_err(|_| Error::connection("the WebSocket's handshake takes too long"))??;
        let (mut write, read) = socket.split();
        let writes = form.clone();
        let writing = tokio::spawn(async move {
            while let Some(frame) = sent.recv().await {
                let Some(message) = writes.message(&frame) else {
                    continue;
                };
                if write.send(message).await.is_err() {
                    return;
                }
            }
            // The client is done.
            let _ = write.close().await;
        });
        Ok(Self {
            read,
            form,
            writing,
        })
    }

    /// The next frame; `None` after the last. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::ServerFrame>, Error> {
        loop {
            let message = match self.read.next().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Error::connection(error)),
                Some(Ok(message)) => message,
            };
            match (&self.form, message) {
                (_, Message::Close(_)) => return Ok(None),
                (form, message @ (Message::Binary(_) | Message::Text(_))) => {
                    let frame = form.frame(message);
                    return frame.map(Some).map_err(Error::connection);
                }
                (_, Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            }
        }
    }
}

async fn connect(
    config: &Config,
    form: &Form,
    cutter: Arc<Cutter>,
) -> Result<WebSocketStream<Wire>, Error> {
    let uri: Uri = config.server.parse().map_err(Error::config)?;
    if uri.scheme_str() != Some("http") {
        return Err(Error::config(
            "this client's WebSocket is for http:// alone",
        ));
    }
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let mut request = format!("ws://{authority}/gateway")
        .into_client_request()
        .map_err(Error::config)?;
    let subprotocol = form.subprotocol().parse().map_err(Error::config)?;
    request
        .headers_mut()
        .insert("sec-websocket-protocol", subprotocol);
    let wire = Wire::open(&uri, cutter).await.map_err(Error::connection)?;
    let limits = WebSocketConfig::default()
        .max_message_size(Some(2 * FRAME_BYTES_MAX))
        .max_frame_size(Some(2 * FRAME_BYTES_MAX));
    let opened = client_async_with_config(request, wire, Some(limits)).await;
    opened.map(|(socket, _)| socket).map_err(Error::connection)
}

/// What messages are.
#[derive(Clone)]
enum Form {
    Proto,
    Json {
        client_frame: MessageDescriptor,
        server_frame: MessageDescriptor,
    },
}

impl Form {
    fn json() -> Self {
        Self::Json {
            client_frame: json::client_frame(),
            server_frame: json::server_frame(),
        }
    }

    fn subprotocol(&self) -> &'static str {
        match self {
            Self::Proto => "chirm.v1.proto",
            Self::Json { .. } => "chirm.v1.json",
        }
    }

    fn message(&self, frame: &v1::ClientFrame) -> Option<Message> {
        let bytes = Bytes::from(frame.encode_to_vec());
        match self {
            Self::Proto => Some(Message::Binary(bytes)),
            Self::Json { client_frame, .. } => {
                json::of_encoded(client_frame, bytes).map(Message::text)
            }
        }
    }

    fn frame(&self, message: Message) -> Result<v1::ServerFrame, String> {
        let bytes = match (self, message) {
            (Self::Proto, Message::Binary(bytes)) => bytes,
            (Self::Json { server_frame, .. }, Message::Text(text)) => {
                json::to_encoded(server_frame, &text, DEPTH_MAX).map_err(|e| e.to_string())?
            }
            _ => return Err("a message of the wrong kind came".to_owned()),
        };
        v1::ServerFrame::decode(bytes).map_err(|e| e.to_string())
    }
}

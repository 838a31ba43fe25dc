//! WebSocket and gRPC-Web: what native clients get, and bad input of the carriers' own.

mod carriers;
mod handshakes;
pub(crate) mod sockets;
mod web;

use crate::support::{PATIENCE, TestNode};
use chirm_proto::{json, v1, v1::server_frame::Frame};
use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

/// A WebSocket as a browser has it, with one of the subprotocols.
struct Socket {
    socket: WebSocketStream<TcpStream>,
    json: bool,
}

impl Socket {
    async fn open(node: &TestNode, subprotocol: &str) -> Self {
        let mut request = format!("ws://{}/gateway", node.address)
            .into_client_request()
            .expect("a request");
        let protocol = subprotocol.parse().expect("a header");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let stream = TcpStream::connect(node.address).await.expect("connects");
        let opened = tokio_tungstenite::client_async(request, stream).await;
        let (socket, response) = opened.expect("a WebSocket");
        assert_eq!(response.headers()["sec-websocket-protocol"], subprotocol);
        let json = subprotocol == "chirm.v1.json";
        Self { socket, json }
    }

    /// Signs in, and reads to `Ready`.
    async fn signed_in(node: &TestNode, subprotocol: &str, identify: v1::Identify) -> Self {
        let mut socket = Self::open(node, subprotocol).await;
        socket
            .send(v1::client_frame::Frame::Identify(identify))
            .await;
        while !matches!(socket.next().await.expect("goes on"), Frame::Ready(_)) {}
        socket
    }

    async fn send(&mut self, frame: v1::client_frame::Frame) {
        let frame = v1::ClientFrame {
            call_id: 0,
            frame: Some(frame),
        };
        let bytes = frame.encode_to_vec();
        let message = if self.json {
            let text = json::of_encoded(&json::client_frame(), bytes.into());
            Message::text(text.expect("has JSON"))
        } else {
            Message::Binary(bytes.into())
        };
        self.send_message(message).await;
    }

    async fn send_message(&mut self, message: Message) {
        // The server may have ended it; what comes tells.
        let _ = self.socket.send(message).await;
    }

    /// The next frame; None when the server closed.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next());
            let message = next.await.expect("a message or the end must come")?;
            let bytes = match message.ok()? {
                Message::Binary(bytes) if !self.json => bytes,
                Message::Text(text) if self.json => {
                    json::to_encoded(&json::server_frame(), &text, 32).expect("a frame")
                }
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Close(_) => return None,
                other => panic!("a message of the wrong kind: {other:?}"),
            };
            let frame = v1::ServerFrame::decode(bytes).expect("a frame");
            return Some(frame.frame.expect("a known frame"));
        }
    }

    /// Reads to the end: the last frame, which must be `Closing`, and the close code.
    async fn closing(&mut self) -> (v1::Closing, u16) {
        let mut last = None;
        let mut code = None;
        while code.is_none() {
            let next = tokio::time::timeout(PATIENCE, self.socket.next());
            let message = next.await.expect("the end must come");
            match message.expect("a close frame comes first").expect("whole") {
                Message::Binary(bytes) => last = Some(bytes),
                Message::Text(text) => {
                    let frame = json::to_encoded(&json::server_frame(), &text, 32);
                    last = Some(frame.expect("a frame"));
                }
                Message::Close(frame) => code = Some(frame.expect("with a code").code),
                _ => {}
            }
        }
        let frame = v1::ServerFrame::decode(last.expect("a last frame")).expect("a frame");
        match frame.frame {
            Some(Frame::Closing(closing)) => (closing, code.map(u16::from).unwrap_or_default()),
            other => panic!("the last frame was not Closing: {other:?}"),
        }
    }
}

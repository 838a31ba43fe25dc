//! What a page does with its WebSocket.

use crate::support::{Bridge, PATIENCE, User};
use bytes::Bytes;
use chirm_proto::v1::{self, client_frame, server_frame};
use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use std::net::SocketAddr;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A WebSocket of a page.
pub(crate) struct Browser {
    pub(crate) socket: WebSocketStream<TcpStream>,
    /// The code that the server closed with.
    pub(crate) code: Option<u16>,
}

impl Browser {
    /// By `chirm.v1.proto`.
    pub(crate) async fn connect(bridge: &Bridge) -> Self {
        let stream = TcpStream::connect(bridge.address).await.expect("connects");
        let opened = Self::open(stream, bridge.address, "chirm.v1.proto", None).await;
        opened.expect("a WebSocket")
    }

    /// One that takes next to nothing that it doesn't read.
    pub(crate) async fn narrow(bridge: &Bridge) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 << 10).expect("a small one");
        let stream = socket.connect(bridge.address).await.expect("connects");
        let opened = Self::open(stream, bridge.address, "chirm.v1.proto", None).await;
        opened.expect("a WebSocket")
    }

    /// # Errors
    /// The status and body of the answer, if it is no WebSocket.
    pub(crate) async fn open(
        stream: TcpStream,
        address: SocketAddr,
        subprotocol: &str,
        origin: Option<&str>,
    ) -> Result<Self, (u16, String)> {
        let url = format!("ws://{address}/gateway");
        let mut request = url.into_client_request().expect("a request");
        let headers = request.headers_mut();
        let subprotocol = subprotocol.parse().expect("a value");
        headers.insert("sec-websocket-protocol", subprotocol);
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().expect("a value"));
        }
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self { socket, code: None }),
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                let body = String::from_utf8_lossy(&body).into_owned();
                Err((response.status().as_u16(), body))
            }
            Err(error) => panic!("no answer: {error}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: client_frame::Frame) {
        let frame = v1::ClientFrame {
            call_id: 7,
            frame: Some(frame),
        };
        let message = Message::Binary(frame.encode_to_vec().into());
        self.socket.send(message).await.expect("is sent");
    }

    /// Says who it is, and reads to `Ready`; what came before.
    pub(crate) async fn identify(
        &mut self,
        user: &User,
        positions: Vec<v1::TopicPosition>,
    ) -> Vec<server_frame::Frame> {
        self.ask(user, positions).await;
        let mut before = Vec::new();
        loop {
            match self.next().await.expect("Ready") {
                server_frame::Frame::Ready(_) => return before,
                frame => before.push(frame),
            }
        }
    }

    /// Says who it is.
    pub(crate) async fn ask(&mut self, user: &User, positions: Vec<v1::TopicPosition>) {
        let identify = v1::Identify {
            token: user.token.clone(),
            positions,
            ..Default::default()
        };
        self.send(client_frame::Frame::Identify(identify)).await;
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<server_frame::Frame> {
        loop {
            let next = timeout(PATIENCE, self.socket.next()).await;
            match next.expect("a frame or the end must come")? {
                Ok(Message::Binary(bytes)) => return Some(decode(bytes)),
                Ok(Message::Close(close)) => self.code = close.map(|close| close.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// The contents of the next messages of a channel, so many.
    pub(crate) async fn contents(&mut self, channel_id: i64, count: usize) -> Vec<String> {
        let mut contents = Vec::new();
        while contents.len() < count {
            let frame = self.next().await.expect("more messages");
            if let server_frame::Frame::Closing(closing) = &frame {
                panic!("closed after {} of {count}: {closing:?}", contents.len());
            }
            let found = content(&frame, channel_id);
            contents.extend(found.map(|(content, _)| content));
        }
        contents
    }

    /// Reads to the end: all frames, of which the last must be `Closing`.
    pub(crate) async fn end(&mut self) -> (Vec<server_frame::Frame>, v1::Closing) {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        match frames.pop() {
            Some(server_frame::Frame::Closing(closing)) => (frames, closing),
            other => panic!("the last frame was not Closing: {other:?}"),
        }
    }
}

fn decode(bytes: Bytes) -> server_frame::Frame {
    let frame = v1::ServerFrame::decode(bytes).expect("a frame");
    frame.frame.expect("a known frame")
}

/// The content of a channel's new message, and the position after it.
pub(crate) fn content(
    frame: &server_frame::Frame,
    channel_id: i64,
) -> Option<(String, v1::TopicPosition)> {
    let server_frame::Frame::Event(event) = frame else {
        return None;
    };
    let Some(v1::event::Event::MessageCreated(created)) = &event.event else {
        return None;
    };
    let message = created.message.as_ref()?;
    let position = v1::TopicPosition {
        topic: event.topic,
        position: event.position,
    };
    (message.channel_id == channel_id).then(|| (message.content.clone(), position))
}

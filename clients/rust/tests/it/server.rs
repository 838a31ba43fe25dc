//! As much of a server as a client's connection needs: one channel in memory, spoken of in the
//! real protocol over a real socket. It can be told to forget its ring.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use chirm_client::v1::{
    self,
    client_frame::Frame as Sent,
    gateway_service_server::{GatewayService, GatewayServiceServer},
    message_service_server::{MessageService, MessageServiceServer},
    server_frame::Frame,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

pub(crate) const CHANNEL: i64 = 7;
pub(crate) const TOKEN: &str = "v1.1.good";

type Frames = UnboundedReceiverStream<Result<v1::ServerFrame, Status>>;
type Session = mpsc::UnboundedSender<Result<v1::ServerFrame, Status>>;

#[derive(Clone, Default)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    position: v1::Position,
    ring: Vec<v1::Event>,
    messages: BTreeMap<i64, v1::Message>,
    sessions: Vec<Session>,
    /// What each connection presented.
    identified: Vec<v1::Identify>,
    attempts: Vec<i32>,
    answers_lost: usize,
    /// The token that is taken instead of [`TOKEN`].
    token: Option<String>,
    /// Answers no heartbeats, and wants them often.
    is_deaf: bool,
}

impl Server {
    /// A server on a free port of the loopback.
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self::default();
        server.lock().position = v1::Position { epoch: 1, seq: 0 };
        let routes = tonic::transport::Server::builder()
            .add_service(GatewayServiceServer::new(server.clone()))
            .add_service(MessageServiceServer::new(server.clone()));
        tokio::spawn(routes.serve_with_incoming(TcpListenerStream::new(listener)));
        (server, address)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Stores a message and tells all sessions.
    pub(crate) fn create(&self, id: i64) {
        let message = v1::Message {
            id,
            channel_id: CHANNEL,
            content: format!("message {id}"),
            ..v1::Message::default()
        };
        self.lock().create(message);
    }

    /// Stores a message and tells nobody.
    pub(crate) fn create_unsaid(&self, id: i64) {
        let mut state = self.lock();
        let sessions = std::mem::take(&mut state.sessions);
        drop(state);
        self.create(id);
        self.lock().sessions = sessions;
    }

    /// The bus loses its memory.
    pub(crate) fn forget(&self) {
        let mut state = self.lock();
        state.position = v1::Position {
            epoch: state.position.epoch + 1,
            seq: 0,
        };
        state.ring.clear();
    }

    /// The next answers to sends are lost with their connections.
    pub(crate) fn lose_answers(&self, count: usize) {
        self.lock().answers_lost = count;
    }

    /// From now on another token is taken, and the one before isn't.
    pub(crate) fn take_token(&self, token: &str) {
        self.lock().token = Some(token.to_owned());
    }

    /// From now on heartbeats go unanswered.
    pub(crate) fn be_deaf(&self) {
        self.lock().is_deaf = true;
    }

    /// Says the same to all sessions.
    pub(crate) fn tell(&self, frame: &Frame) {
        let state = self.lock();
        for session in &state.sessions {
            session.send(wrap(frame.clone())).ok();
        }
    }

    /// The positions that each connection presented.
    pub(crate) fn presented(&self) -> Vec<Vec<v1::TopicPosition>> {
        self.lock()
            .identified
            .iter()
            .map(|i| i.positions.clone())
            .collect()
    }

    /// The attempts of the sends that arrived.
    pub(crate) fn attempts(&self) -> Vec<i32> {
        self.lock().attempts.clone()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what streams carry")]
fn wrap(frame: Frame) -> Result<v1::ServerFrame, Status> {
    Ok(v1::ServerFrame { frame: Some(frame) })
}

impl State {
    fn token(&self) -> &str {
        self.token.as_deref().unwrap_or(TOKEN)
    }

    /// Refuses calls with another token.
    fn authorize<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let expected = format!("Bearer {}", self.token());
        let given = request.metadata().get("authorization");
        if given.is_none_or(|given| given != expected.as_str()) {
            return Err(Status::unauthenticated("no token"));
        }
        Ok(())
    }

    fn topic() -> Option<v1::Topic> {
        Some(v1::Topic {
            kind: v1::TopicKind::Channel as i32,
            id: CHANNEL,
        })
    }

    fn create(&mut self, message: v1::Message) {
        self.position.seq += 1;
        self.messages.insert(message.id, message.clone());
        let created = v1::MessageCreated {
            message: Some(message),
        };
        let event = v1::Event {
            topic: Self::topic(),
            position: Some(self.position),
            event: Some(v1::event::Event::MessageCreated(created)),
        };
        self.ring.push(event.clone());
        self.sessions
            .retain(|s| s.send(wrap(Frame::Event(event.clone()))).is_ok());
    }

    fn send(&mut self, request: v1::SendMessageRequest) -> v1::Message {
        self.attempts.push(request.attempt);
        if let Some(known) = self.messages.values().find(|m| m.nonce == request.nonce) {
            return known.clone();
        }
        let message = v1::Message {
            id: self.messages.last_key_value().map_or(100, |(id, _)| *id) + 1,
            channel_id: request.channel_id,
            content: request.content,
            nonce: request.nonce,
            reply_to: request.reply_to,
            metadata: request.metadata,
            ..v1::Message::default()
        };
        self.create(message.clone());
        message
    }

    /// The first part of a session, and its place among those that hear what is live.
    fn identify(&mut self, identify: v1::Identify) -> Result<(Session, Frames), Status> {
        let (session, frames) = mpsc::unbounded_channel();
        let say = |frame| session.send(wrap(frame)).ok();
        if identify.token != self.token() {
            let closing = v1::Closing {
                code: 4001,
                reason: "TOKEN_INVALID".to_owned(),
                advice: v1::Advice::Reauthenticate as i32,
                ..v1::Closing::default()
            };
            say(Frame::Closing(closing));
            return Ok((session, UnboundedReceiverStream::new(frames)));
        }
        let heartbeat = if self.is_deaf {
            prost_types::Duration {
                seconds: 0,
                nanos: 5_000_000,
            }
        } else {
            prost_types::Duration {
                seconds: 20,
                nanos: 0,
            }
        };
        say(Frame::Hello(v1::Hello {
            heartbeat_interval: Some(heartbeat),
            ..v1::Hello::default()
        }));
        let held = identify.positions.iter().find(|p| p.topic == Self::topic());
        let (topic, position) = (Self::topic(), Some(self.position));
        match held.and_then(|held| held.position) {
            Some(held) if held.epoch == self.position.epoch => {
                for event in self
                    .ring
                    .iter()
                    .filter(|e| e.position.unwrap().seq > held.seq)
                {
                    say(Frame::Event(event.clone()));
                }
            }
            Some(_) => {
                say(Frame::Gap(v1::Gap {
                    topic,
                    position,
                    channel: None,
                }));
            }
            None => {
                let last = self.messages.last_key_value().map_or(0, |(id, _)| *id);
                let channel = v1::ChannelState {
                    last_message_id: last,
                    ..v1::ChannelState::default()
                };
                let state = Some(v1::snapshot::State::Channel(channel));
                say(Frame::Snapshot(v1::Snapshot {
                    topic,
                    position,
                    state,
                }));
            }
        }
        say(Frame::Ready(v1::Ready::default()));
        self.sessions.push(session.clone());
        self.identified.push(identify);
        Ok((session, UnboundedReceiverStream::new(frames)))
    }
}

#[tonic::async_trait]
impl GatewayService for Server {
    type SessionStream = Frames;
    type ListenStream = Frames;

    async fn session(
        &self,
        request: Request<Streaming<v1::ClientFrame>>,
    ) -> Result<Response<Frames>, Status> {
        let mut sent = request.into_inner();
        let Some(v1::ClientFrame {
            frame: Some(Sent::Identify(identify)),
            ..
        }) = sent.message().await?
        else {
            return Err(Status::invalid_argument("Identify comes first"));
        };
        let (session, frames) = self.lock().identify(identify)?;
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(v1::ClientFrame {
                call_id,
                frame: Some(frame),
            })) = sent.message().await
            {
                let answer = match frame {
                    Sent::Heartbeat(_) if server.lock().is_deaf => continue,
                    Sent::Heartbeat(_) => Frame::HeartbeatAck(v1::HeartbeatAck {}),
                    Sent::SendMessage(request) => {
                        let mut state = server.lock();
                        let message = Some(state.send(request));
                        if state.answers_lost > 0 {
                            state.answers_lost -= 1;
                            session.send(Err(Status::unavailable("lost"))).ok();
                            state.sessions.clear();
                            return;
                        }
                        let sent = v1::SendMessageResponse { message };
                        let result = Some(v1::result::Result::SendMessage(sent));
                        Frame::Result(v1::Result { call_id, result })
                    }
                    _ => continue,
                };
                session.send(wrap(answer)).ok();
            }
        });
        Ok(Response::new(frames))
    }

    async fn listen(&self, request: Request<v1::Identify>) -> Result<Response<Frames>, Status> {
        Ok(Response::new(self.lock().identify(request.into_inner())?.1))
    }
}

#[tonic::async_trait]
impl MessageService for Server {
    async fn send_message(
        &self,
        request: Request<v1::SendMessageRequest>,
    ) -> Result<Response<v1::SendMessageResponse>, Status> {
        self.lock().authorize(&request)?;
        let message = Some(self.lock().send(request.into_inner()));
        Ok(Response::new(v1::SendMessageResponse { message }))
    }

    async fn list_messages(
        &self,
        request: Request<v1::ListMessagesRequest>,
    ) -> Result<Response<v1::ListMessagesResponse>, Status> {
        self.lock().authorize(&request)?;
        let request = request.into_inner();
        let Some(v1::list_messages_request::Anchor::After(after)) = request.anchor else {
            return Err(Status::unimplemented("only upward"));
        };
        let limit = usize::try_from(request.limit).unwrap();
        let state = self.lock();
        let above: Vec<_> = state
            .messages
            .range(after + 1..)
            .map(|(_, m)| m.clone())
            .collect();
        Ok(Response::new(v1::ListMessagesResponse {
            has_newer: above.len() > limit,
            messages: above.into_iter().take(limit).collect(),
            ..v1::ListMessagesResponse::default()
        }))
    }

    async fn get_message(
        &self,
        _: Request<v1::GetMessageRequest>,
    ) -> Result<Response<v1::GetMessageResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn edit_message(
        &self,
        _: Request<v1::EditMessageRequest>,
    ) -> Result<Response<v1::EditMessageResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn delete_message(
        &self,
        _: Request<v1::DeleteMessageRequest>,
    ) -> Result<Response<v1::DeleteMessageResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn start_typing(
        &self,
        _: Request<v1::StartTypingRequest>,
    ) -> Result<Response<v1::StartTypingResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn send_custom_event(
        &self,
        _: Request<v1::SendCustomEventRequest>,
    ) -> Result<Response<v1::SendCustomEventResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn add_reaction(
        &self,
        _: Request<v1::AddReactionRequest>,
    ) -> Result<Response<v1::AddReactionResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn remove_reaction(
        &self,
        _: Request<v1::RemoveReactionRequest>,
    ) -> Result<Response<v1::RemoveReactionResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn clear_reactions(
        &self,
        _: Request<v1::ClearReactionsRequest>,
    ) -> Result<Response<v1::ClearReactionsResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn list_reactions(
        &self,
        _: Request<v1::ListReactionsRequest>,
    ) -> Result<Response<v1::ListReactionsResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn pin_message(
        &self,
        _: Request<v1::PinMessageRequest>,
    ) -> Result<Response<v1::PinMessageResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn unpin_message(
        &self,
        _: Request<v1::UnpinMessageRequest>,
    ) -> Result<Response<v1::UnpinMessageResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn list_pins(
        &self,
        _: Request<v1::ListPinsRequest>,
    ) -> Result<Response<v1::ListPinsResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

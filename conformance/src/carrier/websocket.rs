//! WebSocket, with frames as protobuf or JSON.

use super::{Cut, End, INCOMING, In, Opening, Out, Refused, Wire};
use crate::api;
use crate::carrier::cut::Cuttable;
use crate::case::Carrier;
use anyhow::{Context as _, Result};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderName, HeaderValue};
use prost_reflect::DynamicMessage;
use prost_reflect::prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

type Socket = WebSocketStream<Cuttable>;

pub(super) async fn open(opening: Opening<'_>) -> Result<Wire, Refused> {
    let cut = Cut::default();
    let origin = opening.origin()?;
    let json = opening.carrier == Carrier::WsJson;
    let scheme = if origin.secure { "wss" } else { "ws" };
    let uri = format!("{scheme}://{}{}", origin.authority(), origin.path);
    let mut request = uri.into_client_request().map_err(anyhow::Error::from)?;
    let protocol = if json {
        "chirm.v1.json"
    } else {
        "chirm.v1.proto"
    };
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
    for (name, value) in opening.headers {
        let name: HeaderName = name.parse().map_err(anyhow::Error::from)?;
        headers.insert(name, value.parse().map_err(anyhow::Error::from)?);
    }
    let io = opening.dialer.connect(origin, opening.through).await?;
    let config = WebSocketConfig::default().max_message_size(Some(16 << 20));
    let handshake =
        tokio_tungstenite::client_async_with_config(request, cut.on(io), Some(config)).await;
    let socket = match handshake {
        Ok((socket, _)) => socket,
        Err(Error::Http(answer)) => {
            let status = answer.status().as_u16();
            let body = answer.into_body().unwrap_or_default();
            return Err(Refused::Http(status, String::from_utf8_lossy(&body).into()));
        }
        Err(error) => return Err(Refused::Other(error.into())),
    };
    let (out, from_client) = mpsc::channel(64);
    let (to_runner, incoming) = mpsc::channel(INCOMING);
    let reads = opening.reads;
    tokio::spawn(async move {
        let end = talk(socket, json, reads, from_client, &to_runner).await;
        let _ = to_runner.send(In::End(end)).await;
    });
    Ok(Wire { out, incoming, cut })
}

async fn talk(
    mut socket: Socket,
    json: bool,
    reads: bool,
    mut from_client: mpsc::Receiver<Out>,
    to: &mpsc::Sender<In>,
) -> End {
    let mut end = End::default();
    loop {
        tokio::select! {
            out = from_client.recv() => {
                let Some(out) = out else { return end };
                if let Err(error) = say(&mut socket, json, out).await {
                    end.why = format!("{error:#}");
                    // What the server said last may be there still.
                    if reads {
                        while let Some(Ok(message)) = socket.next().await {
                            hear(message, json, to, &mut end).await;
                        }
                    }
                    return end;
                }
            }
            message = socket.next(), if reads => match message {
                Some(Ok(message)) => hear(message, json, to, &mut end).await,
                Some(Err(error)) => {
                    end.why = error.to_string();
                    return end;
                }
                None => return end,
            },
            () = to.closed() => return end,
        }
    }
}

async fn say(socket: &mut Socket, json: bool, out: Out) -> Result<()> {
    let message = match out {
        Out::Frame(frame) if json => Message::text(api::to_json(&frame)?.to_string()),
        Out::Frame(frame) => Message::binary(frame.encode_to_vec()),
        Out::Payload(bytes) => Message::binary(bytes),
        Out::Text(text) => Message::text(text),
        Out::Wire(bytes) => {
            let io = socket.get_mut();
            io.write_all(&bytes).await?;
            io.flush().await?;
            return Ok(());
        }
        Out::End => {
            socket.close(None).await?;
            return Ok(());
        }
    };
    socket.send(message).await?;
    Ok(())
}

async fn hear(message: Message, json: bool, to: &mpsc::Sender<In>, end: &mut End) {
    let frame = match message {
        Message::Text(text) if json => of_json(text.as_str()),
        Message::Binary(bytes) if !json => api::from_bytes(&api::message("ServerFrame"), &bytes),
        Message::Close(frame) => {
            end.code = frame.map(|frame| frame.code.into());
            return;
        }
        Message::Text(_) => Err(anyhow::anyhow!("a text message on chirm.v1.proto")),
        Message::Binary(_) => Err(anyhow::anyhow!("a binary message on chirm.v1.json")),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return,
    };
    let next = match frame {
        Ok(frame) => In::Frame(frame),
        Err(error) => In::Bad(format!("{error:#}")),
    };
    let _ = to.send(next).await;
}

/// A frame from JSON, whose form is looked at, too.
fn of_json(text: &str) -> Result<DynamicMessage> {
    let kind = api::message("ServerFrame");
    let value = serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))?;
    api::check_json(&kind, &value)?;
    api::from_json(&kind, &value)
}

//! The words of the conformance table, read into inputs and written from actions.

use super::super::{Action, Delay, Input, Timer, channel_topic};
use crate::{
    error::{Advice, Error},
    event::{Event, GapCause, Source},
};
use chirm_proto::{
    google::rpc,
    v1::{self, server_frame::Frame},
};
use prost::Message as _;
use std::time::Duration;
use tonic::Code;

fn position(text: &str) -> v1::Position {
    let (epoch, seq) = text.split_once(':').unwrap();
    v1::Position {
        epoch: epoch.parse().unwrap(),
        seq: seq.parse().unwrap(),
    }
}

fn topic(text: &str) -> v1::Topic {
    let kind = match &text[..1] {
        "c" => v1::TopicKind::Channel,
        "s" => v1::TopicKind::Server,
        "u" => v1::TopicKind::User,
        other => panic!("no topic {other}"),
    };
    v1::Topic {
        kind: kind as i32,
        id: text[1..].parse().unwrap(),
    }
}

/// `101`, or `101r2` for its second revision.
fn message(text: &str) -> v1::Message {
    let (id, revision) = text.split_once('r').unwrap_or((text, "0"));
    let (id, revision) = (id.parse().unwrap(), revision.parse().unwrap());
    v1::Message {
        id,
        revision,
        channel_id: 7,
        ..v1::Message::default()
    }
}

fn error(advice: &str) -> Error {
    let advice = match advice {
        "resume" => Advice::Resume,
        "retry" => Advice::Retry,
        "reauthenticate" => Advice::Reauthenticate,
        "stop" => Advice::Stop,
        other => panic!("no advice {other}"),
    };
    Error::local(Code::Unknown, "TABLE", "as the table says", advice)
}

fn timer(text: &str) -> Timer {
    let (name, key) = text.split_once('.').unwrap_or((text, "0"));
    match name {
        "connect" => Timer::Connect,
        "handshake" => Timer::Handshake,
        "heartbeat" => Timer::Heartbeat,
        "renew" => Timer::Renew,
        "pace" => Timer::Pace,
        "steady" => Timer::Steady,
        "answer" => Timer::Answer(key.parse().unwrap()),
        "resend" => Timer::Resend(key.parse().unwrap()),
        other => panic!("no timer {other}"),
    }
}

/// Positions and last ids.
type Kept = (Vec<v1::TopicPosition>, Vec<(i64, i64)>);

/// With what the program runs again, if it does.
pub(super) fn read_kept(text: &str) -> Option<Kept> {
    let words: Vec<_> = text.split(' ').collect();
    let ["again", channel, at, last_id] = words.as_slice() else {
        return None;
    };
    let topic = topic(channel);
    let held = (*at != "none").then(|| v1::TopicPosition {
        topic: Some(topic),
        position: Some(position(at)),
    });
    let last_ids = vec![(topic.id, last_id.parse().unwrap())];
    Some((held.into_iter().collect(), last_ids))
}

pub(super) fn read(text: &str) -> Input {
    let words: Vec<_> = text.split(' ').collect();
    match words.as_slice() {
        ["start"] => Input::Start,
        ["cut"] => Input::Cut,
        ["close"] => Input::Close,
        ["token", rest @ ..] => {
            let (renews, ms) = match rest {
                [] => (false, None),
                ["renews", rest @ ..] => (true, rest.first()),
                other => panic!("no token {other:?}"),
            };
            let lifetime = ms.map(|ms| Duration::from_millis(ms.parse().unwrap()));
            Input::Token { renews, lifetime }
        }
        ["renewed", rest @ ..] => Input::Renewed {
            tokens: v1::Tokens::default(),
            lifetime: rest
                .first()
                .map(|ms| Duration::from_millis(ms.parse().unwrap())),
        },
        ["renew_failed", advice] => Input::RenewFailed(error(advice)),
        ["lost", advice] => Input::Lost(error(advice)),
        ["fired", name] => Input::Fired(timer(name)),
        ["view", ids @ ..] => Input::View(ids.iter().map(|id| id.parse().unwrap()).collect()),
        ["send", key, channel, rest @ ..] => Input::Send {
            key: key.parse().unwrap(),
            channel: topic(channel).id,
            stored: rest == ["stored"],
        },
        ["answer", key, "ok", id] => Input::Answer {
            key: key.parse().unwrap(),
            result: Ok(message(id)),
        },
        ["answer", key, advice] => Input::Answer {
            key: key.parse().unwrap(),
            result: Err(error(advice)),
        },
        ["page", channel, run, items @ ..] => page(channel, run, items),
        ["page_failed", channel, run, advice] => Input::PageFailed {
            channel: topic(channel).id,
            run: run.parse().unwrap(),
            error: error(advice),
        },
        words => Input::Frame(frame(words)),
    }
}

fn page(channel: &str, run: &str, items: &[&str]) -> Input {
    let mut page = v1::ListMessagesResponse::default();
    for item in items {
        match (*item, item.strip_prefix('-')) {
            ("more", _) => page.has_newer = true,
            (_, Some(deleted)) => page.deleted_ids.push(deleted.parse().unwrap()),
            (id, None) => page.messages.push(message(id)),
        }
    }
    Input::Page {
        channel: topic(channel).id,
        run: run.parse().unwrap(),
        page,
    }
}

fn duration(ms: &str) -> Option<prost_types::Duration> {
    Duration::from_millis(ms.parse().unwrap()).try_into().ok()
}

fn frame(words: &[&str]) -> Frame {
    match words {
        ["hello", ms] => Frame::Hello(v1::Hello {
            heartbeat_interval: duration(ms),
            ..v1::Hello::default()
        }),
        ["ready"] => Frame::Ready(v1::Ready::default()),
        ["heartbeat_ack"] => Frame::HeartbeatAck(v1::HeartbeatAck {}),
        ["reconnect", ms] => Frame::Reconnect(v1::Reconnect {
            after: duration(ms),
        }),
        ["closing", advice] => {
            let name = format!("ADVICE_{}", advice.to_uppercase());
            let advice = v1::Advice::from_str_name(&name).unwrap() as i32;
            Frame::Closing(v1::Closing {
                advice,
                ..v1::Closing::default()
            })
        }
        ["removed", of] => Frame::TopicRemoved(v1::TopicRemoved {
            topic: Some(topic(of)),
        }),
        ["gap", of, at, rest @ ..] => Frame::Gap(v1::Gap {
            topic: Some(topic(of)),
            position: Some(position(at)),
            channel: rest.first().map(|server| channel_of(of, server)),
        }),
        ["snapshot", of, at, rest @ ..] => {
            let state = rest.first().map(|last| {
                v1::snapshot::State::Channel(v1::ChannelState {
                    last_message_id: last.parse().unwrap(),
                    channel: Some(channel_of(of, "s3")),
                    ..v1::ChannelState::default()
                })
            });
            let (topic, position) = (Some(topic(of)), Some(position(at)));
            Frame::Snapshot(v1::Snapshot {
                topic,
                position,
                state,
            })
        }
        ["event", of, at, rest @ ..] => event(of, at, rest),
        ["result", call, answer @ ..] => {
            let result = match answer {
                ["ok", id] => v1::result::Result::SendMessage(v1::SendMessageResponse {
                    message: Some(message(id)),
                }),
                ["retry"] => v1::result::Result::Error(status(Code::Unavailable)),
                ["limited", of, ms] => v1::result::Result::Error(limited(of, ms)),
                ["refused"] => v1::result::Result::Error(status(Code::InvalidArgument)),
                other => panic!("no answer {other:?}"),
            };
            let call_id = call.parse().unwrap();
            Frame::Result(v1::Result {
                call_id,
                result: Some(result),
            })
        }
        other => panic!("no input {other:?}"),
    }
}

/// A channel of a server.
fn channel_of(channel: &str, server: &str) -> v1::Channel {
    v1::Channel {
        id: topic(channel).id,
        server_id: topic(server).id,
        ..v1::Channel::default()
    }
}

fn status(code: Code) -> rpc::Status {
    rpc::Status {
        code: code as i32,
        ..rpc::Status::default()
    }
}

/// Refused for the rate `of` the channel, or of the stream.
fn limited(of: &str, ms: &str) -> rpc::Status {
    let info = rpc::ErrorInfo {
        reason: "RATE_LIMITED".to_owned(),
        domain: "chirm.dev".to_owned(),
        metadata: [("scope".to_owned(), of.to_owned())].into(),
    };
    let retry = rpc::RetryInfo {
        retry_delay: duration(ms),
    };
    let detail = |name: &str, value: Vec<u8>| prost_types::Any {
        type_url: format!("type.googleapis.com/google.rpc.{name}"),
        value,
    };
    rpc::Status {
        details: vec![
            detail("ErrorInfo", info.encode_to_vec()),
            detail("RetryInfo", retry.encode_to_vec()),
        ],
        ..status(Code::ResourceExhausted)
    }
}

fn event(of: &str, at: &str, rest: &[&str]) -> Frame {
    use v1::event::Event as Body;
    let message = |id: &&str| Some(message(id));
    let body = match rest {
        ["created", id] => Body::MessageCreated(v1::MessageCreated {
            message: message(id),
        }),
        ["updated", id] => Body::MessageUpdated(v1::MessageUpdated {
            message: message(id),
        }),
        ["deleted", id] => Body::MessageDeleted(v1::MessageDeleted {
            message: message(id),
        }),
        ["removed", of] => Body::TopicRemoved(v1::TopicRemoved {
            topic: Some(topic(of)),
        }),
        ["other"] => Body::UserUpdated(v1::UserUpdated::default()),
        other => panic!("no event {other:?}"),
    };
    let (topic, position) = (Some(topic(of)), Some(position(at)));
    Frame::Event(v1::Event {
        topic,
        position,
        event: Some(body),
    })
}

fn at(position: v1::Position) -> String {
    format!("{}:{}", position.epoch, position.seq)
}

fn name(topic: v1::Topic) -> String {
    let kind = match topic.kind() {
        v1::TopicKind::Channel => 'c',
        v1::TopicKind::Server => 's',
        _ => 'u',
    };
    format!("{kind}{}", topic.id)
}

pub(super) fn write(action: &Action) -> Option<String> {
    Some(match action {
        Action::Cancel(_) => return None,
        Action::Connect { positions, view } => {
            let held = positions
                .iter()
                .map(|p| format!(" {}@{}", name(p.topic.unwrap()), at(p.position.unwrap())));
            let viewed = view.iter().map(|v| format!(" {}", write_viewed(v)));
            let mark = if view.is_empty() { "" } else { " view" };
            format!(
                "connect{}{mark}{}",
                held.collect::<String>(),
                viewed.collect::<String>()
            )
        }
        Action::Disconnect => "disconnect".to_owned(),
        Action::Heartbeat => "heartbeat".to_owned(),
        Action::Renew => "renew".to_owned(),
        Action::View(view) => {
            let viewed = view.iter().map(|v| format!(" {}", write_viewed(v)));
            format!("view{}", viewed.collect::<String>())
        }
        Action::Transmit {
            key,
            call_id,
            attempt,
        } => {
            format!("transmit {key} call {call_id} attempt {attempt}")
        }
        Action::Settle {
            key,
            result: Ok(message),
        } => format!("settle {key} ok {}", message.id),
        Action::Settle {
            key,
            result: Err(_),
        } => format!("settle {key} refused"),
        Action::Page {
            channel,
            after,
            run,
            failures: 0,
        } => {
            format!(
                "page {} after {after} run {run}",
                name(channel_topic(*channel))
            )
        }
        Action::Page {
            channel,
            after,
            run,
            failures,
        } => {
            let channel = name(channel_topic(*channel));
            format!("page {channel} after {after} run {run} backoff {failures}")
        }
        Action::Wait { timer, delay } => {
            format!("wait {} {}", write_timer(*timer), write_delay(*delay))
        }
        Action::Hold(topic, held) => {
            let position = held.position.map_or_else(|| "none".to_owned(), at);
            let last_id = held.last_id.map_or_else(String::new, |id| format!(" {id}"));
            format!("hold {} {position}{last_id}", name(*topic))
        }
        Action::Finish(_) => "finish".to_owned(),
        Action::Emit(event) => format!("emit {}", write_event(event)),
    })
}

fn write_viewed(viewed: &v1::ViewedChannel) -> String {
    let position = viewed
        .position
        .map_or_else(String::new, |p| format!("@{}", at(p)));
    format!("c{}{position}", viewed.channel_id)
}

pub(super) fn timer_name(timer: Timer) -> &'static str {
    match timer {
        Timer::Connect => "connect",
        Timer::Handshake => "handshake",
        Timer::Heartbeat => "heartbeat",
        Timer::Renew => "renew",
        Timer::Pace => "pace",
        Timer::Steady => "steady",
        Timer::Answer(_) => "answer",
        Timer::Resend(_) => "resend",
    }
}

fn write_timer(timer: Timer) -> String {
    let name = timer_name(timer);
    match timer {
        Timer::Answer(key) => format!("{name}.{key}"),
        Timer::Resend(channel) => format!("{name}.{channel}"),
        _ => name.to_owned(),
    }
}

fn write_delay(delay: Delay) -> String {
    match delay {
        Delay::Exactly(time) => format!("{} ms", time.as_millis()),
        Delay::PartOf(time) => format!("part of {} ms", time.as_millis()),
        Delay::Backoff(failures) => format!("backoff {failures}"),
        Delay::AtLeast(time, failures) => format!("{} ms + backoff {failures}", time.as_millis()),
    }
}

fn write_event(event: &Event) -> String {
    match event {
        Event::Ready(_) => "ready".to_owned(),
        Event::Message {
            message, source, ..
        } => {
            let source = match source {
                Source::Live => "live",
                Source::Replay => "replay",
                Source::Page => "page",
            };
            format!("message {} {source}", message.id)
        }
        Event::MessageUpdated(message) => format!("updated {}", message.id),
        Event::MessageDeleted(message) => format!("deleted {}", message.id),
        Event::Snapshot(snapshot) => format!("snapshot {}", name(snapshot.topic.unwrap())),
        Event::Gap { gap, cause } => {
            let cause = match cause {
                GapCause::Server => "",
                GapCause::Jump => " jump",
                GapCause::Overflow => " overflow",
            };
            format!("gap {}{cause}", name(gap.topic.unwrap()))
        }
        Event::Topic(event) => format!("topic {}", name(event.topic.unwrap())),
        Event::TopicRemoved(topic) => format!("removed {}", name(*topic)),
        Event::TokensRenewed(_) => "renewed".to_owned(),
        Event::Disconnected { reason } if reason.advice == Advice::Reauthenticate => {
            "disconnected reauthenticate".to_owned()
        }
        Event::Disconnected { .. } => "disconnected".to_owned(),
        Event::Closed(_) => "closed".to_owned(),
        other => format!("{other:?}"),
    }
}

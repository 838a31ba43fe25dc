//! The steps of a case.

use super::Carrier;
use crate::proxy::Network;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One step. Steps follow each other; each waits until what it says is so, or fails.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    /// Opens a stream and, unless said, waits for `Ready`.
    Connect(Connect),
    /// Calls a method.
    Call(Call),
    /// Sends a client frame on a stream, as it is.
    Send(Send),
    /// Sends bytes or a text in place of a frame.
    Raw(Raw),
    /// Waits for frames.
    Expect(Expect),
    /// Sees to it that a frame doesn't come.
    Never(Never),
    /// Frames that came so far, and what is said of them all.
    Seen(Seen),
    /// Waits for a stream's end.
    Ends(Ends),
    /// Ends a stream from the client's side.
    Close(Close),
    /// Changes what the network does to a stream that was opened `through` it.
    Network(SetNetwork),
    /// Lets time pass.
    Wait(Wait),
    /// An HTTP request, as it is.
    Http(Http),
    /// Sets a name, or checks a value.
    Let(Let),
    /// Ends the case's own server and starts it again on the same data.
    Restart(Restart),
    /// Starts a receiver of webhooks: `${NAME.url}`.
    Receiver(Receiver),
    /// Waits for a request to a receiver.
    Delivered(Delivered),
    /// Lists of steps that run at the same time.
    Parallel(Vec<Vec<Step>>),
    /// Steps again and again: `${i}` counts from 0.
    Repeat(Repeat),
    /// Steps for each entry of a file of `vectors/`.
    Each(Each),
    /// Compares what several streams brought, frame by frame.
    Same(Same),
}

/// Names for what came: the name, and the path to it in the answer or frame; `.` is all of it.
pub(crate) type Save = BTreeMap<String, String>;

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connect {
    /// Whose token: a user's name, `key` (the service key) or `nobody`.
    #[serde(rename = "as")]
    pub(crate) who: String,
    /// What the stream is called; as the user, unless said.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// By another carrier than the run's.
    #[serde(default)]
    pub(crate) carrier: Option<Carrier>,
    /// More fields of Identify.
    #[serde(default)]
    pub(crate) identify: Map<String, Value>,
    /// Whether to present the positions that the last stream of this name had. Default: false.
    #[serde(default)]
    pub(crate) resume: bool,
    /// Whether to send `identify`. Default: true.
    #[serde(default = "yes")]
    pub(crate) identified: bool,
    /// Whether to wait for `Ready`, and stand behind it. Default: true.
    #[serde(default = "yes")]
    pub(crate) ready: bool,
    /// Whether to send heartbeats in time. Default: true.
    #[serde(default = "yes")]
    pub(crate) heartbeats: bool,
    /// Whether to read; else what the server sends stays in the network. Default: true.
    #[serde(default = "yes")]
    pub(crate) reads: bool,
    /// A network between client and server that does this.
    #[serde(default)]
    pub(crate) through: Option<Network>,
    /// Of a WebSocket: headers of the handshake, beside the usual.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Of a WebSocket: the handshake is refused with this HTTP status.
    #[serde(default)]
    pub(crate) refused: Option<u16>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    /// The method's name: `SendMessage`.
    pub(crate) method: String,
    /// Who calls: a user's name, `key` or `nobody`.
    pub(crate) by: String,
    /// In place of the user's token.
    #[serde(default)]
    pub(crate) token: Option<String>,
    /// The request's fields.
    #[serde(default)]
    pub(crate) with: Map<String, Value>,
    /// By this rather than by what belongs to the carrier.
    #[serde(default)]
    pub(crate) via: Option<Via>,
    /// What the answer must match.
    #[serde(default)]
    pub(crate) answer: Option<Value>,
    /// The call must be refused, with an error that matches: `{reason: NOT_FOUND, code: NOT_FOUND,
    /// metadata: {resource: channel}, fields: [content], retry_ms: $any}`. `$any`: whatever it is.
    #[serde(default)]
    pub(crate) error: Option<Value>,
    #[serde(default)]
    pub(crate) save: Save,
    /// Calls again until the answer matches, for so long at most.
    #[serde(default)]
    pub(crate) until_ms: Option<u64>,
    /// Waits and repeats when a rate says so, rather than fail. Default: unless `error` is said.
    #[serde(default)]
    pub(crate) patient: Option<bool>,
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Via {
    Grpc,
    Rest,
    Web,
    /// A frame on the stream that is called as the user.
    Stream,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Send {
    /// The stream.
    pub(crate) on: String,
    /// The ClientFrame.
    pub(crate) frame: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    /// The stream.
    pub(crate) on: String,
    /// The payload of a frame, in hexadecimal: a gRPC message, a binary WebSocket message.
    #[serde(default)]
    pub(crate) hex: Option<String>,
    /// The payload of a frame as text: a text WebSocket message, its bytes by gRPC.
    #[serde(default)]
    pub(crate) text: Option<String>,
    /// The same, repeated so many times as one payload. Default: 1.
    #[serde(default = "one")]
    pub(crate) times: usize,
    /// Bytes of the connection itself, in hexadecimal, past all that frames them: WebSocket alone.
    #[serde(default)]
    pub(crate) wire: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    /// The stream.
    pub(crate) on: String,
    /// A frame that must come: `{event: {message_created: {message: {content: hi}}}}`. What comes
    /// before it is passed over.
    #[serde(default)]
    pub(crate) frame: Option<Value>,
    /// Frames that must come in this order, with others between or not.
    #[serde(default)]
    pub(crate) in_order: Vec<Value>,
    /// Frames that must come, in whatever order.
    #[serde(default)]
    pub(crate) all: Vec<Value>,
    /// The frame must be the very next; heartbeats' answers and presence aside.
    #[serde(default)]
    pub(crate) next: bool,
    /// Looks from the beginning of the stream, not from where the last step stood; and doesn't move
    /// that place.
    #[serde(default)]
    pub(crate) anywhere: bool,
    /// How long at most. Default: 10 s.
    #[serde(default)]
    pub(crate) within: Option<Span>,
    /// From the frame, or the last of several.
    #[serde(default)]
    pub(crate) save: Save,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Never {
    /// The stream.
    pub(crate) on: String,
    /// The frame that mustn't come after where the last step stood.
    pub(crate) frame: Value,
    /// Watches for so long.
    #[serde(default)]
    pub(crate) within: Option<Span>,
    /// Watches until this frame comes, and stands behind it: better than a time.
    #[serde(default)]
    pub(crate) before: Option<Value>,
    /// Looks from the beginning of the stream.
    #[serde(default)]
    pub(crate) anywhere: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seen {
    /// The stream.
    pub(crate) on: String,
    /// Which frames are meant.
    pub(crate) frame: Value,
    /// How many of them there must be. A number or an operator.
    #[serde(default)]
    pub(crate) count: Option<Value>,
    /// What the list of them must match.
    #[serde(default)]
    pub(crate) list: Option<Value>,
    #[serde(default)]
    pub(crate) save: Save,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ends {
    /// The stream.
    pub(crate) on: String,
    /// What the last frame, `Closing`, must match; `$absent`: there must be none.
    #[serde(default)]
    pub(crate) closing: Option<Value>,
    /// Of a WebSocket: the close code.
    #[serde(default)]
    pub(crate) code: Option<Value>,
    /// Of gRPC and gRPC-Web: the status must be an error that matches; `$absent`: it must be OK.
    #[serde(default)]
    pub(crate) status: Option<Value>,
    /// How long at most. Default: 10 s.
    #[serde(default)]
    pub(crate) within: Option<Span>,
    /// Whether the stream must be there still after `within`, rather than end.
    #[serde(default)]
    pub(crate) never: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Close {
    /// The stream.
    pub(crate) on: String,
    /// How. Default: end.
    #[serde(default)]
    pub(crate) how: How,
}

/// How a client goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// With a goodbye: the end of the stream, a close frame.
    #[default]
    End,
    /// Without one: the connection is gone.
    Cut,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetNetwork {
    /// The stream.
    pub(crate) on: String,
    /// What the network does from now on.
    pub(crate) does: Network,
}

/// A time: milliseconds, or so many times one of the `Hello` of a stream.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Span {
    /// Milliseconds.
    Ms(u64),
    /// Of a stream's `Hello`.
    OfHello(OfHello),
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfHello {
    /// The stream.
    pub(crate) on: String,
    /// `heartbeat_interval`, `deadline` or `grace`.
    pub(crate) timer: String,
    /// So many times. Default: 1.
    #[serde(default = "once")]
    pub(crate) times: f64,
    /// And so much more.
    #[serde(default)]
    pub(crate) plus_ms: u64,
}

/// Lets time pass: `wait: 500`, `wait: {on: bob, timer: grace, times: 1.5}`.
pub(crate) type Wait = Span;

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    /// Where: `rest`, `ws` or `web` of the target. Default: rest.
    #[serde(default)]
    pub(crate) to: Option<String>,
    /// Default: GET.
    #[serde(default)]
    pub(crate) method: Option<String>,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Whose token to send; nobody's, unless said.
    #[serde(default)]
    pub(crate) by: Option<String>,
    /// A body as JSON, written as the case has it.
    #[serde(default)]
    pub(crate) json: Option<Value>,
    /// A body as text.
    #[serde(default)]
    pub(crate) text: Option<String>,
    /// A body in hexadecimal.
    #[serde(default)]
    pub(crate) hex: Option<String>,
    /// The status that must come.
    #[serde(default)]
    pub(crate) status: Option<Value>,
    /// Header fields (lower case) that must come.
    #[serde(default)]
    pub(crate) answer_headers: BTreeMap<String, Value>,
    /// What the body, as JSON, must match, as the server wrote it.
    #[serde(default)]
    pub(crate) answer: Option<Value>,
    /// What the body, as text, must match.
    #[serde(default)]
    pub(crate) answer_text: Option<Value>,
    /// The request must be refused with this error, as in `call`.
    #[serde(default)]
    pub(crate) error: Option<Value>,
    /// From the body as JSON.
    #[serde(default)]
    pub(crate) save: Save,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Let {
    /// New names and their values.
    #[serde(default)]
    pub(crate) set: BTreeMap<String, Value>,
    /// A value that must match `is`.
    #[serde(default)]
    pub(crate) value: Option<Value>,
    #[serde(default)]
    pub(crate) is: Option<Value>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restart {
    /// `kill` (SIGKILL) or `stop` (SIGTERM).
    pub(crate) by: Ending,
    /// Whether to start it again. Default: true.
    #[serde(default = "yes")]
    pub(crate) again: bool,
}

/// How a server is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    Kill,
    Stop,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    /// The statuses that it answers, one after the other; the last one from then on. Default: 200.
    #[serde(default)]
    pub(crate) answers: Vec<u16>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delivered {
    /// The receiver.
    pub(crate) to: String,
    /// What the body must match; requests before it are passed over.
    #[serde(default)]
    pub(crate) body: Option<Value>,
    /// Header fields (lower case) that must be there.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Value>,
    /// The secret (`whsec_…`) by which the signature must hold.
    #[serde(default)]
    pub(crate) secret: Option<String>,
    /// Nothing that matches must come, for so long, rather than something.
    #[serde(default)]
    pub(crate) never_within: Option<Span>,
    /// How long at most. Default: 10 s.
    #[serde(default)]
    pub(crate) within: Option<Span>,
    /// From `{headers, body}`.
    #[serde(default)]
    pub(crate) save: Save,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Repeat {
    pub(crate) times: usize,
    /// What counts from 0. Default: `i`. Names are for the whole case: steps at the same time need
    /// one each.
    #[serde(rename = "as", default = "i")]
    pub(crate) counter: String,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Each {
    /// The file's name without its ending: `malformed`.
    pub(crate) vectors: String,
    /// Only those that have this field.
    pub(crate) having: String,
    /// `${v}` is the entry.
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Same {
    /// The streams. Of each the events and snapshots count, in their order by topic.
    pub(crate) on: Vec<String>,
    /// Kinds of frames that count. Default: event, snapshot, gap, topic_removed.
    #[serde(default)]
    pub(crate) kinds: Vec<String>,
}

fn i() -> String {
    "i".to_owned()
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn once() -> f64 {
    1.0
}

//! Cases: what the files under `cases/` say. conformance/README.md explains them to authors.

mod load;
mod step;

pub(crate) use load::{Source, load, profile, vectors};
pub(crate) use step::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// How much it matters that a case passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// A server that fails it breaks the protocol.
    Must,
    /// A server may have a reason to fail it.
    Should,
    /// It is good to have.
    May,
}

/// One way to reach a server's streams; calls go by what belongs to it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Carrier {
    /// gRPC over HTTP/2: `Session`, and calls by gRPC.
    Grpc,
    /// WebSocket with frames as protobuf; calls on the stream where it has them, else by REST.
    Ws,
    /// WebSocket with frames as JSON; calls by REST.
    WsJson,
    /// gRPC-Web: `Listen`, and calls by gRPC-Web.
    Web,
}

impl Carrier {
    /// All of them.
    pub(crate) const ALL: [Carrier; 4] = [Self::Grpc, Self::Ws, Self::WsJson, Self::Web];

    /// As cases and reports write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Ws => "ws",
            Self::WsJson => "ws-json",
            Self::Web => "web",
        }
    }
}

/// One case: a situation, what is done, and what must come of it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// `area/name`: stays for ever, and is the file's name under `cases/`, or begins with it.
    pub(crate) id: String,
    pub(crate) level: Level,
    /// Why it matters to who uses the server, in a sentence.
    pub(crate) reason: String,
    /// What of docs/protocol.md it checks, word for word: parts of sentences, or whole ones.
    pub(crate) sentences: Vec<String>,
    /// On which carriers it runs; on all, if this isn't said. Empty: once, without any stream.
    #[serde(default = "all_carriers")]
    pub(crate) carriers: Vec<Carrier>,
    /// What it needs beside its own area: areas that a profile may be without.
    #[serde(default)]
    pub(crate) features: Vec<String>,
    /// Runs against a server of its own, started with these settings; such a case needs `--spawn`.
    #[serde(default)]
    pub(crate) server: Option<BTreeMap<String, Value>>,
    /// Who and what there is before the first step.
    #[serde(default)]
    pub(crate) given: Given,
    pub(crate) steps: Vec<Step>,
}

fn all_carriers() -> Vec<Carrier> {
    Carrier::ALL.to_vec()
}

/// Who and what there is before the first step. Unless said: `ann` owns the server `home` with the
/// channel `general`, and `bob` is a member.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    /// Users, each with a token: `${ann.id}`, `${ann.token}`, `${ann.session}`, `${ann.name}`.
    #[serde(default)]
    pub(crate) users: Vec<String>,
    /// Servers by name: `${home}` is the id.
    #[serde(default)]
    pub(crate) servers: BTreeMap<String, GivenServer>,
}

impl Default for Given {
    fn default() -> Self {
        let home = GivenServer {
            owner: "ann".to_owned(),
            members: vec!["bob".to_owned()],
            ..GivenServer::default()
        };
        Self {
            users: vec!["ann".to_owned(), "bob".to_owned()],
            servers: BTreeMap::from([("home".to_owned(), home)]),
        }
    }
}

/// A server, and what is in it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GivenServer {
    pub(crate) owner: String,
    pub(crate) members: Vec<String>,
    /// Roles of members, by name: `ROLE_MODERATOR`.
    pub(crate) roles: BTreeMap<String, String>,
    /// What its first channel is called here: `general`, or `general` and the server's name if
    /// there are several servers (`general_other`), unless said.
    pub(crate) general: Option<String>,
    /// More channels by name, each with fields of CreateChannelRequest and, of PRIVATE ones,
    /// `members` by their names here: `secret: {type: CHANNEL_TYPE_PRIVATE, members: [bob]}`.
    pub(crate) channels: BTreeMap<String, BTreeMap<String, Value>>,
    /// More fields of CreateServerRequest.
    pub(crate) with: BTreeMap<String, Value>,
}

impl Case {
    /// The area: what stands before the first slash of the id.
    pub(crate) fn area(&self) -> &str {
        self.id.split('/').next().unwrap_or_default()
    }
}

//! A watcher's client that isn't this process's: `@chirm/client` in Node, through a small program
//! (`clients/ts/test/replay/watcher.js`) that is told what to do, and says what happens, by lines
//! of JSON.

use super::notes::Notes;
use crate::history::Source;
use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use chirm_client::{Carrier, Config, Looking, Stats, Tap, Tapped};
use chirm_proto::v1;
use prost::Message;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The program, in the package's folder.
const PROGRAM: &str = "test/replay/watcher.js";
/// What the package's build makes.
const BUILT: &str = "dist/index.js";
/// What it is to do and wasn't told yet: as many only if it is stuck.
const TELL_MAX: usize = 64;
/// How long it may take until its connection is ready, and to leave.
const WITHIN: Duration = Duration::from_secs(60);

/// A built `@chirm/client`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    program: PathBuf,
}

impl Package {
    /// That of a folder: the repository's `clients/ts`.
    ///
    /// # Errors
    /// It isn't there, or isn't built.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        for needed in [BUILT, PROGRAM] {
            ensure!(
                folder.join(needed).is_file(),
                "--ts-client: there is no {}: it is the folder clients/ts of the repository, where \
                 `npm ci && npm run build` was run",
                folder.join(needed).display()
            );
        }
        let program = folder.join(PROGRAM);
        Ok(Self { program })
    }
}

/// What it begins with. Without `Debug`, for it holds a token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    url: &'a str,
    token: &'a str,
    transport: &'static str,
    backoff: Backoff,
    positions: Vec<String>,
    last_ids: Vec<(String, String)>,
    lists: Vec<String>,
}

/// In milliseconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Backoff {
    base_ms: u128,
    max_ms: u128,
}

/// What it is told later.
#[derive(Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Told {
    Cut,
    Look { lists: Vec<String> },
    Leave,
}

/// What it says. Protobuf is in base64.
#[derive(Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
enum Said {
    Sent {
        frame: String,
    },
    Received {
        frame: String,
    },
    Message {
        message: String,
        source: Source,
    },
    Ready,
    Disconnected {
        reason: String,
    },
    Closed {
        reason: String,
    },
    #[serde(rename_all = "camelCase")]
    Left {
        positions: Vec<String>,
        last_ids: Vec<(String, String)>,
        stats: Counts,
    },
}

/// Its client's [`Stats`].
#[derive(Deserialize)]
struct Counts {
    connects: u64,
    replayed: u64,
    snapshots: u64,
    gaps: u64,
    jumps: u64,
    duplicates: u64,
    pages: u64,
    resent: u64,
}

impl From<Counts> for Stats {
    fn from(counts: Counts) -> Self {
        Self {
            connects: counts.connects,
            replayed: counts.replayed,
            snapshots: counts.snapshots,
            gaps: counts.gaps,
            jumps: counts.jumps,
            duplicates: counts.duplicates,
            pages: counts.pages,
            resent: counts.resent,
        }
    }
}

/// What a run leaves.
#[derive(Debug)]
pub(super) struct Left {
    /// What the next goes on from.
    pub(super) kept: Kept,
    /// What its client has been through.
    pub(super) stats: Stats,
}

/// What a client says that a program is to keep.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Kept {
    pub(super) positions: Vec<v1::TopicPosition>,
    pub(super) last_ids: Vec<(i64, i64)>,
}

/// One that runs. Dropped, it ends.
pub(super) struct Driver {
    tell: mpsc::Sender<Told>,
    task: JoinHandle<Result<Left>>,
}

impl Driver {
    /// Starts a client by this configuration, and waits until it is ready. Of the configuration
    /// count: server, token, carrier, backoff, positions, last ids, lists, tap.
    pub(super) async fn start(package: &Package, config: &Config, notes: Notes) -> Result<Self> {
        let mut child = Command::new("node")
            .arg(&package.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("can't start node, which --ts-client needs in the PATH")?;
        let mut stdin = child.stdin.take().context("node has no stdin")?;
        let stdout = child.stdout.take().context("node has no stdout")?;
        stdin.write_all(&line(&first(config)?)?).await?;
        let (tell, told) = mpsc::channel(TELL_MAX);
        tokio::spawn(write(stdin, told));
        let (ready, is_ready) = oneshot::channel();
        let hearing = Hearing {
            tap: config.tap.clone(),
            notes,
            ready: Some(ready),
        };
        let mut task = tokio::spawn(hearing.run(child, stdout));
        tokio::select! {
            Ok(()) = is_ready => Ok(Self { tell, task }),
            ended = &mut task => match ended? {
                Ok(_) => bail!("it left before it was ready"),
                Err(error) => Err(error),
            },
            () = tokio::time::sleep(WITHIN) => {
                task.abort();
                bail!("it wasn't ready within {} s", WITHIN.as_secs())
            }
        }
    }

    /// Breaks its connections, as a network does.
    pub(super) fn cut(&self) {
        self.tell(Told::Cut);
    }

    /// Looks at other member lists.
    pub(super) fn look(&self, looking: &Looking) {
        let lists = all_encoded(&looking.lists);
        self.tell(Told::Look { lists });
    }

    /// Ends the client and with it the program.
    ///
    /// # Errors
    /// It ended before, said what can't be read, or doesn't leave.
    pub(super) async fn leave(mut self) -> Result<Left> {
        let left = async {
            // Whoever doesn't hear it any more has ended, and the task says why.
            let _ = self.tell.send(Told::Leave).await;
            (&mut self.task).await?
        };
        let Ok(left) = timeout(WITHIN, left).await else {
            self.task.abort();
            bail!("it didn't leave within {} s", WITHIN.as_secs());
        };
        left
    }

    /// What one that is stuck or ended isn't told any more: that comes out when it is to leave.
    fn tell(&self, what: Told) {
        let _ = self.tell.try_send(what);
    }
}

fn first(config: &Config) -> Result<Start<'_>> {
    let transport = match config.carrier {
        Carrier::Grpc => "grpc",
        Carrier::WebSocket => "websocket",
        Carrier::WebSocketJson => "websocket-json",
        Carrier::GrpcWeb => "grpc-web",
        other => bail!("{other:?} is unknown to it"),
    };
    let last_ids = config.last_ids.iter();
    Ok(Start {
        url: &config.server,
        token: &config.token,
        transport,
        backoff: Backoff {
            base_ms: config.backoff.base.as_millis(),
            max_ms: config.backoff.max.as_millis(),
        },
        positions: all_encoded(&config.positions),
        last_ids: last_ids
            .map(|(channel, id)| (channel.to_string(), id.to_string()))
            .collect(),
        lists: all_encoded(&config.looking.lists),
    })
}

/// Tells it what it is told, until nobody does.
async fn write(mut stdin: ChildStdin, mut told: mpsc::Receiver<Told>) -> Result<()> {
    while let Some(what) = told.recv().await {
        stdin.write_all(&line(&what)?).await?;
    }
    Ok(())
}

/// What becomes of what it says.
struct Hearing {
    tap: Option<Tap>,
    notes: Notes,
    ready: Option<oneshot::Sender<()>>,
}

impl Hearing {
    /// Hears it until it has left.
    async fn run(mut self, mut child: Child, stdout: ChildStdout) -> Result<Left> {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some(left) = self.hear(parse(&line)?)? {
                child.wait().await?;
                return Ok(left);
            }
        }
        let status = child.wait().await?;
        bail!("it ended by itself, with {status}")
    }

    fn hear(&mut self, said: Said) -> Result<Option<Left>> {
        match said {
            Said::Sent { frame } => {
                let frame = decoded::<v1::ClientFrame>("a frame", &frame)?.frame;
                self.tapped(Tapped::Sent(&frame.context("an empty frame")?));
            }
            Said::Received { frame } => {
                // An empty one is of a kind that the client doesn't know, as none is here.
                let frame = decoded::<v1::ServerFrame>("a frame", &frame)?.frame;
                self.tapped(Tapped::Received(&frame.context("an empty frame")?));
            }
            Said::Message { message, source } => {
                let message: v1::Message = decoded("a message", &message)?;
                self.notes.message(&message, source);
            }
            Said::Ready => {
                self.notes.ready();
                if let Some(ready) = self.ready.take() {
                    // Who doesn't wait any more gave it up.
                    let _ = ready.send(());
                }
            }
            Said::Disconnected { reason } | Said::Closed { reason } => self.notes.lost(reason),
            Said::Left {
                positions,
                last_ids,
                stats,
            } => {
                let positions = positions.iter().map(|text| decoded("a position", text));
                let last_ids = last_ids.iter().map(|(channel, id)| {
                    let ids = channel.parse().ok().zip(id.parse().ok());
                    ids.context("a last id that is none")
                });
                let kept = Kept {
                    positions: positions.collect::<Result<_>>()?,
                    last_ids: last_ids.collect::<Result<_>>()?,
                };
                let stats = stats.into();
                return Ok(Some(Left { kept, stats }));
            }
        }
        Ok(None)
    }

    fn tapped(&self, frame: Tapped<'_>) {
        if let Some(tap) = &self.tap {
            tap(frame);
        }
    }
}

/// Reads a line, and doesn't show it where it can't: there may be a token in it.
fn parse(line: &str) -> Result<Said> {
    serde_json::from_str(line)
        .ok()
        .with_context(|| format!("it said what is no such line: {} bytes", line.len()))
}

fn line(what: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    Ok(line)
}

fn all_encoded(messages: &[impl Message]) -> Vec<String> {
    let encoded = |message| BASE64_STANDARD.encode(Message::encode_to_vec(message));
    messages.iter().map(encoded).collect()
}

fn decoded<M: Message + Default>(what: &str, text: &str) -> Result<M> {
    let bytes = BASE64_STANDARD.decode(text).ok();
    let message = bytes.and_then(|bytes| M::decode(&bytes[..]).ok());
    message.with_context(|| format!("{what} that can't be decoded: {} bytes", text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{self, Record, Recorder};
    use crate::replay::notes::Had;
    use crate::replay::tap::tap;
    use std::sync::Arc;

    /// The records that these lines make, and what was left.
    fn heard(lines: &[String]) -> (Vec<Record>, Result<Option<Left>>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let recorder = Arc::new(Recorder::create(&path).unwrap());
        let mut hearing = Hearing {
            tap: Some(tap("w", recorder.clone(), Arc::default())),
            notes: Notes {
                name: "w",
                recorder: recorder.clone(),
                had: Arc::new(Had::default()),
                run: 0,
            },
            ready: None,
        };
        let mut last = Ok(None);
        for line in lines {
            last = parse(line).and_then(|said| hearing.hear(said));
        }
        recorder.flush().unwrap();
        let records = history::read(&path).unwrap();
        (records.map(|line| line.unwrap().record).collect(), last)
    }

    fn position() -> v1::TopicPosition {
        v1::TopicPosition {
            topic: Some(v1::Topic {
                kind: v1::TopicKind::Channel as i32,
                id: i64::MAX,
            }),
            position: Some(v1::Position { epoch: 2, seq: 3 }),
        }
    }

    fn encoded(message: impl Message) -> String {
        BASE64_STANDARD.encode(message.encode_to_vec())
    }

    #[test]
    fn frames_and_messages_become_records_in_their_order() {
        let v1::TopicPosition { topic, position } = position();
        let event = v1::Event {
            topic,
            position,
            ..Default::default()
        };
        let frame = encoded(v1::ServerFrame {
            frame: Some(v1::server_frame::Frame::Event(event)),
        });
        let message = encoded(v1::Message {
            id: 7,
            ..Default::default()
        });
        let (records, last) = heard(&[
            format!(r#"{{"what":"received","frame":"{frame}"}}"#),
            format!(r#"{{"what":"message","message":"{message}","source":"page"}}"#),
            r#"{"what":"ready"}"#.to_owned(),
            r#"{"what":"disconnected","reason":"cut"}"#.to_owned(),
        ]);
        assert!(matches!(last, Ok(None)));
        let [event, message, ready, lost] = &records[..] else {
            panic!("four records, not {records:?}");
        };
        assert!(matches!(event, Record::Event { position, .. } if position.seq == 3));
        assert!(matches!(
            message,
            Record::Recv { message, source: Source::Page, .. } if message.id == 7
        ));
        assert!(matches!(ready, Record::Connect { connection } if connection == "w"));
        assert!(matches!(lost, Record::Close { reason, .. } if reason == "cut"));
    }

    #[test]
    fn what_it_leaves_is_read() {
        let held = encoded(position());
        let line = format!(
            r#"{{"what":"left","positions":["{held}"],"lastIds":[["9223372036854775807","0"]],
            "stats":{{"connects":1,"replayed":2,"snapshots":3,"gaps":4,"jumps":5,"duplicates":6,
            "pages":7,"resent":8}}}}"#
        );
        let Left { kept, stats } = heard(&[line]).1.unwrap().unwrap();
        assert_eq!(kept.positions, [position()]);
        assert_eq!(kept.last_ids, [(i64::MAX, 0)]);
        assert_eq!((stats.connects, stats.jumps, stats.resent), (1, 5, 8));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_does_not_show_it() {
        let empty = encoded(v1::ServerFrame::default());
        for line in [
            "secret".to_owned(),
            r#"{"what":"secret"}"#.to_owned(),
            r#"{"what":"message","message":"","source":"secret"}"#.to_owned(),
            r#"{"what":"sent","frame":"!secret"}"#.to_owned(),
            format!(r#"{{"what":"received","frame":"{empty}"}}"#),
        ] {
            let error = heard(&[line]).1.unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn it_is_told_all_that_the_configuration_says() {
        let mut config = Config::new("http://127.0.0.1:1", "t");
        config.carrier = Carrier::WebSocket;
        config.positions = vec![position()];
        config.last_ids = vec![(i64::MAX, 5)];
        let first = line(&first(&config).unwrap()).unwrap();
        let first: serde_json::Value = serde_json::from_slice(&first).unwrap();
        assert_eq!(first["transport"], "websocket");
        assert_eq!(first["lastIds"][0][0], "9223372036854775807");
        assert_eq!(first["backoff"]["baseMs"], 500);
        assert_eq!(first["positions"][0], encoded(position()));
        let look = line(&Told::Look { lists: Vec::new() }).unwrap();
        assert_eq!(look, b"{\"do\":\"look\",\"lists\":[]}\n");
        assert_eq!(line(&Told::Cut).unwrap(), b"{\"do\":\"cut\"}\n");
    }

    #[test]
    fn a_package_that_is_not_built_is_said_with_what_to_do() {
        let error = Package::open(Path::new("/nowhere")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("/nowhere/dist/index.js") && error.contains("npm run build"));
    }
}

//! One run: a case on a carrier.

mod calls;
mod invariants;
mod model;
mod other_steps;
mod receiver;
mod setup;
mod stream;
mod stream_steps;

use crate::carrier::{Caller, Targets};
use crate::case::{Carrier, Case, Step};
use crate::net::Dialer;
use crate::target::{Keys, Server, Spawning};
use crate::vars::Vars;
use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use receiver::Receiver;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use stream::Stream;

/// A step that says nothing about time waits so long.
const WITHIN: Duration = Duration::from_secs(10);
/// A run that takes longer has failed.
const RUN_MAX: Duration = Duration::from_secs(300);
/// Lines of a transcript that are kept.
const TRANSCRIPT_MAX: usize = 400;

/// A message whose send was acknowledged.
#[derive(Clone, Debug)]
struct Sent {
    channel: String,
    id: String,
    content: String,
    by: String,
}

/// What a run needs of the outside.
pub(crate) struct Setting {
    pub(crate) targets: Targets,
    pub(crate) dialer: Dialer,
    /// Of the target; a server of the case's own has others.
    pub(crate) keys: Keys,
    /// How to start a server of the case's own.
    pub(crate) spawning: Option<Spawning>,
}

/// The state of a run. Steps that run at the same time share it.
pub(crate) struct Run<'a> {
    case: &'a Case,
    carrier: Carrier,
    dialer: Dialer,
    keys: Keys,
    caller: Caller,
    server: tokio::sync::Mutex<Option<Server>>,
    vars: Mutex<Vars>,
    tokens: Mutex<HashMap<String, String>>,
    streams: Mutex<HashMap<String, Arc<Stream>>>,
    /// All streams there were: what must hold of all is looked at in the end.
    all: Mutex<Vec<(String, Arc<Stream>)>>,
    receivers: Mutex<HashMap<String, Arc<Receiver>>>,
    sent: Mutex<Vec<Sent>>,
    /// Messages that were changed or deleted since.
    touched: Mutex<Vec<String>>,
    transcript: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What became of a run.
pub(crate) struct Outcome {
    /// Why it failed; nothing if it passed.
    pub(crate) failure: Option<String>,
    pub(crate) transcript: Vec<String>,
}

/// Runs a case on a carrier.
pub(crate) async fn run(case: &Case, carrier: Carrier, setting: Setting) -> Outcome {
    let server = match (&case.server, &setting.spawning) {
        (Some(settings), Some(spawning)) => match spawning.start(settings).await {
            Ok(server) => Some(server),
            Err(error) => {
                return Outcome {
                    failure: Some(format!("its own server doesn't start: {error:#}")),
                    transcript: Vec::new(),
                };
            }
        },
        _ => None,
    };
    let (targets, keys) = match &server {
        Some(server) => (server.targets(), server.keys.clone()),
        None => (setting.targets, setting.keys),
    };
    let run = Run {
        case,
        carrier,
        caller: Caller::new(targets, setting.dialer.clone()),
        dialer: setting.dialer,
        keys,
        server: tokio::sync::Mutex::new(server),
        vars: Mutex::default(),
        tokens: Mutex::default(),
        streams: Mutex::default(),
        all: Mutex::default(),
        receivers: Mutex::default(),
        sent: Mutex::default(),
        touched: Mutex::default(),
        transcript: Mutex::default(),
    };
    let whole = async {
        run.set_up().await.context("before the first step")?;
        run.steps(&case.steps, "").await?;
        run.invariants().await
    };
    let failure = match tokio::time::timeout(RUN_MAX, whole).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some(format!("it takes longer than {} s", RUN_MAX.as_secs())),
    };
    let transcript = std::mem::take(&mut *lock(&run.transcript));
    Outcome {
        failure,
        transcript,
    }
}

impl Run<'_> {
    fn note(&self, line: String) {
        let mut transcript = lock(&self.transcript);
        if transcript.len() < TRANSCRIPT_MAX {
            transcript.push(line);
        }
    }

    fn fill(&self, value: &Value) -> Result<Value> {
        lock(&self.vars).fill(value)
    }

    /// Why a value isn't what a case expects, its names filled in; nothing if it is.
    fn misfit(&self, expected: &Value, got: &Value) -> Result<Option<String>> {
        Ok(crate::matching::mismatch(&self.fill(expected)?, got))
    }

    fn fill_text(&self, text: &str) -> Result<String> {
        Ok(crate::vars::plain(&self.fill(&Value::from(text))?))
    }

    fn save(&self, saves: &crate::case::Save, from: &Value) -> Result<()> {
        for (name, path) in saves {
            let value = match path.as_str() {
                "." => Some(from),
                path => crate::vars::path(from, path),
            };
            let value = value.with_context(|| format!("there is no {path} to save"))?;
            let name = self.fill_text(name)?;
            lock(&self.vars).set(&name, value.clone());
        }
        Ok(())
    }

    fn stream(&self, name: &str) -> Result<Arc<Stream>> {
        let found = lock(&self.streams).get(name).cloned();
        found.with_context(|| format!("no stream is called {name}"))
    }

    /// The token of a user; of `key`, the service; of `admin`, the operator; none of `nobody`.
    fn token(&self, who: &str) -> Result<Option<String>> {
        match who {
            "nobody" => Ok(None),
            "key" => Ok(Some(self.keys.service.clone())),
            "admin" => Ok(Some(self.keys.admin.clone().context("no operator's key")?)),
            name => {
                let token = lock(&self.tokens).get(name).cloned();
                let token = token.with_context(|| format!("there is no user {name}"))?;
                Ok(Some(token))
            }
        }
    }

    async fn steps(&self, steps: &[Step], at: &str) -> Result<()> {
        for (index, step) in steps.iter().enumerate() {
            let at = format!("{at}{}", index + 1);
            let written = serde_json::to_value(step)?;
            let name = written
                .as_object()
                .and_then(|step| step.keys().next().cloned());
            let name = name.unwrap_or_default();
            self.note(format!(
                "{at} {}",
                crate::matching::short(&compact(&written))
            ));
            let done = self.step(step, &at).await;
            done.with_context(|| format!("step {at} ({name})"))?;
        }
        Ok(())
    }

    /// A step; boxed, since some hold steps.
    fn step<'s>(&'s self, step: &'s Step, at: &'s str) -> BoxFuture<'s, Result<()>> {
        async move {
            match step {
                Step::Connect(step) => self.connect(step).await,
                Step::Call(step) => self.call(step).await,
                Step::Send(step) => self.send(step).await,
                Step::Raw(step) => self.raw(step).await,
                Step::Expect(step) => self.expect(step).await,
                Step::Never(step) => self.never(step).await,
                Step::Seen(step) => self.seen(step),
                Step::Ends(step) => self.ends(step).await,
                Step::Close(step) => self.close(step).await,
                Step::Network(step) => self.network(step),
                Step::Wait(span) => {
                    tokio::time::sleep(self.span(span).await?).await;
                    Ok(())
                }
                Step::Http(step) => self.http(step).await,
                Step::Let(step) => self.name(step),
                Step::Restart(step) => self.restart(step).await,
                Step::Receiver(step) => self.receiver(step).await,
                Step::Delivered(step) => self.delivered(step).await,
                Step::Same(step) => self.same(step),
                Step::Parallel(lists) => {
                    let lists = lists.iter().enumerate().map(|(index, steps)| {
                        let at = format!("{at}.{}.", index + 1);
                        async move { self.steps(steps, &at).await }
                    });
                    let done = futures::future::join_all(lists).await;
                    done.into_iter().collect()
                }
                Step::Each(each) => {
                    for entry in crate::case::vectors(&each.vectors)? {
                        if entry.get(&each.having).is_none() {
                            continue;
                        }
                        let name = crate::vars::plain(&entry["name"]);
                        lock(&self.vars).set("v", entry);
                        self.steps(&each.steps, &format!("{at}.{name}.")).await?;
                    }
                    Ok(())
                }
                Step::Repeat(step) => {
                    for i in 0..step.times {
                        lock(&self.vars).set(&step.counter, i.into());
                        self.steps(&step.steps, &format!("{at}.{i}.")).await?;
                    }
                    Ok(())
                }
            }
        }
        .boxed()
    }
}

/// A step without what isn't said.
fn compact(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let said = map.iter().filter(|(_, value)| match value {
                Value::Null => false,
                Value::Object(map) => !map.is_empty(),
                Value::Array(list) => !list.is_empty(),
                _ => true,
            });
            said.map(|(key, value)| (key.clone(), compact(value)))
                .collect()
        }
        other => other.clone(),
    }
}

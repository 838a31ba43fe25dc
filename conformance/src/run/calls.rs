//! Steps that call methods.

use super::{Run, Sent, WITHIN, lock};
use crate::carrier::{Calling, Failure};
use crate::case::{Call, Carrier, Via};
use crate::vars::plain;
use crate::{api, matching};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Waits for a rate at most so often.
const PATIENCE: usize = 8;

impl Run<'_> {
    pub(super) async fn call(&self, step: &Call) -> Result<()> {
        let request = self.fill(&Value::Object(step.with.clone()))?;
        let token = match &step.token {
            Some(token) => Some(self.fill_text(token)?),
            None => self.token(&step.by)?,
        };
        let via = self.way(step);
        let once = || async {
            if via == Via::Stream {
                self.stream_call(&step.by, &step.method, &request).await
            } else {
                let token = token.as_deref();
                self.one_call(via, &step.method, token, &request).await
            }
        };
        let is_patient = step.patient.unwrap_or(step.error.is_none());
        let deadline = Instant::now() + Duration::from_millis(step.until_ms.unwrap_or(0));
        loop {
            let outcome = if is_patient {
                patiently(once).await?
            } else {
                once().await?
            };
            let judged = self.judge(step, &request, outcome);
            if judged.is_ok() || Instant::now() >= deadline {
                return judged;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What belongs to the carrier, unless the step says otherwise.
    fn way(&self, step: &Call) -> Via {
        if let Some(via) = step.via {
            return via;
        }
        match self.carrier {
            Carrier::Grpc => Via::Grpc,
            Carrier::Web => Via::Web,
            Carrier::WsJson => Via::Rest,
            Carrier::Ws => {
                let live = lock(&self.streams).get(&step.by).cloned();
                let live = live.filter(|stream| {
                    let log = stream.shared.log();
                    log.end.is_none() && log.frames.iter().any(|f| f.get("ready").is_some())
                });
                let on_stream =
                    live.is_some() && step.token.is_none() && field(&step.method).is_some();
                if on_stream { Via::Stream } else { Via::Rest }
            }
        }
    }

    fn judge(&self, step: &Call, request: &Value, outcome: Result<Value, Failure>) -> Result<()> {
        match (outcome, &step.error) {
            (Ok(answer), None) => {
                if let Some(expected) = &step.answer
                    && let Some(why) = self.misfit(expected, &answer)?
                {
                    bail!(
                        "the answer: {why}\n    answer: {}",
                        matching::short(&answer)
                    );
                }
                self.remember(step, request, &answer);
                self.save(&step.save, &answer)
            }
            (Ok(answer), Some(error)) => {
                bail!(
                    "it wasn't refused, as {error} says: {}",
                    matching::short(&answer)
                )
            }
            (Err(failure), Some(error)) => {
                failure.check()?;
                let failure = failure.to_case();
                if let Some(why) = self.misfit(error, &failure)? {
                    bail!("the error: {why}\n    error: {failure}");
                }
                self.save(&step.save, &failure)
            }
            (Err(failure), None) => bail!("it was refused: {}", failure.to_case()),
        }
    }

    /// What was acknowledged must be in history in the end.
    fn remember(&self, step: &Call, request: &Value, answer: &Value) {
        let id = plain(&request["message_id"]);
        match step.method.as_str() {
            "SendMessage" => lock(&self.sent).push(Sent {
                channel: plain(&request["channel_id"]),
                id: plain(&answer["message"]["id"]),
                content: plain(&answer["message"]["content"]),
                by: step.by.clone(),
            }),
            "EditMessage" | "DeleteMessage" => lock(&self.touched).push(id),
            "BulkDeleteMessages" | "BanUser" | "DeleteChannel" | "DeleteServer" => {
                lock(&self.sent).clear();
            }
            _ => {}
        }
    }

    /// A call that stands around a case, and waits when a rate says so.
    pub(super) async fn patient_call(
        &self,
        method: &str,
        token: Option<&str>,
        request: &Value,
    ) -> Result<Result<Value, Failure>> {
        let via = self.caller.any();
        patiently(|| self.one_call(via, method, token, request)).await
    }

    async fn one_call(
        &self,
        via: Via,
        method: &str,
        token: Option<&str>,
        request: &Value,
    ) -> Result<Result<Value, Failure>> {
        let method = api::method(method)?;
        let request = api::from_case(&method.input(), request)?;
        let calling = Calling {
            method: &method,
            request: &request,
            token,
        };
        let outcome = self.caller.call(via, calling).await;
        outcome.with_context(|| format!("{} by {via:?}", method.name()))
    }

    /// A request on the stream that is called as the user.
    async fn stream_call(
        &self,
        by: &str,
        method: &str,
        request: &Value,
    ) -> Result<Result<Value, Failure>> {
        let name = field(method).with_context(|| format!("streams don't carry {method}"))?;
        let stream = self.stream(by)?;
        let call_id = stream.next_call_id();
        stream
            .frame(&json!({"call_id": call_id, name.as_str(): request}))
            .await?;
        let wanted = json!({"result": {"call_id": call_id}});
        let (_, frame) = stream.must_find(0, &wanted, WITHIN * 3).await?;
        let result = &frame["result"];
        match result.get("error").filter(|error| !error.is_null()) {
            Some(error) => Ok(Err(Failure::of_case(error)?)),
            None => Ok(Ok(result[name].clone())),
        }
    }
}

/// Calls again after a wait when a rate says so, so often at most.
async fn patiently<F>(call: impl Fn() -> F) -> Result<Result<Value, Failure>>
where
    F: Future<Output = Result<Result<Value, Failure>>>,
{
    for _ in 0..PATIENCE {
        let outcome = call().await?;
        match outcome.as_ref().err().and_then(Failure::wait) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Ok(outcome),
        }
    }
    call().await
}

/// The field of a ClientFrame, and of a Result, that carries a method; streams carry a few.
fn field(method: &str) -> Option<String> {
    let input = api::method(method).ok()?.input();
    let frame = api::message("ClientFrame");
    let mut fields = frame.fields();
    let field = fields.find(|field| {
        let kind = field.kind();
        kind.as_message().is_some_and(|message| *message == input)
    })?;
    Some(field.name().to_owned())
}

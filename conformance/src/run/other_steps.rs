//! Steps about HTTP, names, and the server itself.

use super::{Run, lock};
use crate::carrier::{exchange, refusal, request};
use crate::case::{Http, Let, Restart};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::Value;

impl Run<'_> {
    pub(super) async fn http(&self, step: &Http) -> Result<()> {
        let targets = &self.caller.targets;
        let origin = match step.to.as_deref().unwrap_or("rest") {
            "rest" => &targets.rest,
            "ws" => &targets.ws,
            "web" => &targets.web,
            other => bail!("no target is called {other}"),
        };
        let origin = origin.as_ref().context("the target has no such carrier")?;
        let method = step.method.as_deref().unwrap_or("GET").parse()?;
        let mut request = request(origin, method, &self.fill_text(&step.path)?);
        for (name, value) in &step.headers {
            request = request.header(name, self.fill_text(value)?);
        }
        if let Some(token) = step
            .by
            .as_deref()
            .map(|by| self.token(by))
            .transpose()?
            .flatten()
        {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match (&step.json, &step.text, &step.hex) {
            (Some(json), ..) => {
                request = request.header("content-type", "application/json");
                Bytes::from(self.fill(json)?.to_string())
            }
            (_, Some(text), _) => Bytes::from(self.fill_text(text)?),
            (.., Some(hex)) => Bytes::from(crate::hex::decode(&self.fill_text(hex)?)?),
            _ => Bytes::new(),
        };
        let answer = exchange(&self.dialer, origin, request.body(Full::new(body))?).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let check = |what: &str, expected: &Value, got: &Value| match self.misfit(expected, got)? {
            Some(why) => bail!("{what}: {why}\n    {} {text}", answer.status),
            None => Ok(()),
        };
        if let Some(status) = &step.status {
            check("the status", status, &answer.status.as_u16().into())?;
        }
        for (name, expected) in &step.answer_headers {
            let value = answer
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            check(name, expected, &value.map_or(Value::Null, Value::from))?;
        }
        if let Some(expected) = &step.answer_text {
            check("the body", expected, &text.as_str().into())?;
        }
        if let Some(error) = &step.error {
            let failure = refusal(&answer)?;
            failure.check()?;
            check("the error", error, &failure.to_case())?;
        }
        if step.answer.is_some() || !step.save.is_empty() {
            let json: Value =
                serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
            if let Some(expected) = &step.answer {
                check("the body", expected, &json)?;
            }
            self.save(&step.save, &json)?;
        }
        Ok(())
    }

    pub(super) fn name(&self, step: &Let) -> Result<()> {
        for (name, value) in &step.set {
            let value = match value
                .as_str()
                .and_then(|text| text.strip_prefix("position of "))
            {
                Some(of) => self.held(of)?,
                None => self.fill(value)?,
            };
            let name = self.fill_text(name)?;
            lock(&self.vars).set(&name, value);
        }
        if let Some(value) = &step.value {
            let value = self.fill(value)?;
            let expected = step.is.as_ref().context("let: `value` and `is`")?;
            if let Some(why) = self.misfit(expected, &value)? {
                bail!("{why}");
            }
        }
        Ok(())
    }

    /// `position of ID on STREAM`: where the stream's client is in a topic.
    fn held(&self, of: &str) -> Result<Value> {
        let (id, stream) = of.split_once(" on ").context("position of ID on STREAM")?;
        let id = self.fill_text(id)?;
        let stream = self.stream(stream)?;
        let held = stream.shared.log().model.position(&id);
        held.with_context(|| format!("no position of {id} is held"))
    }

    pub(super) async fn restart(&self, step: &Restart) -> Result<()> {
        let mut server = self.server.lock().await;
        let server = server
            .as_mut()
            .context("restart: the case has no server of its own")?;
        server.stop(step.by).await?;
        if step.again {
            server.begin().await?;
        }
        Ok(())
    }
}

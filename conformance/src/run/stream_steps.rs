//! Steps about streams.

use super::stream::{self, Stream};
use super::{Run, WITHIN, lock};
use crate::carrier::{Failure, Opening, Out, Refused};
use crate::case::{
    Carrier, Close, Connect, Ends, Expect, How, Never, Raw, Same, Seen, Send, SetNetwork, Span,
};
use crate::proxy::Proxy;
use crate::vars::plain;
use crate::{api, matching};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

impl Run<'_> {
    pub(super) async fn connect(&self, step: &Connect) -> Result<()> {
        let name = step.name.as_deref().unwrap_or(&step.who);
        let carrier = step.carrier.unwrap_or(self.carrier);
        let identify = self.identify(step, name)?;
        let message = api::from_case(&api::message("Identify"), &identify)?;
        let mut headers = step.headers.clone();
        for value in headers.values_mut() {
            *value = self.fill_text(value)?;
        }
        let mut opening = Opening {
            carrier,
            targets: &self.caller.targets,
            dialer: &self.dialer,
            through: None,
            identify: (carrier == Carrier::Web && step.identified).then_some(message),
            headers: &headers,
            reads: step.reads,
        };
        let mut proxy = None;
        if let Some(network) = &step.through {
            let to = opening.origin()?.resolve().await?;
            let started = Proxy::start(to, network.clone(), self.dialer.clone()).await?;
            opening.through = Some(started.address);
            proxy = Some(started);
        }
        let wire = match (opening.open().await, step.refused) {
            (Ok(_), Some(status)) => bail!("the handshake wasn't refused with {status}"),
            (Ok(wire), None) => wire,
            (Err(Refused::Http(got, body)), Some(status)) => {
                ensure!(got == status, "refused with {got}, not {status}: {body}");
                return Ok(());
            }
            (Err(Refused::Http(got, body)), None) => bail!("refused with {got}: {body}"),
            (Err(Refused::Other(error)), _) => return Err(error),
        };
        let beats = step.heartbeats && carrier != Carrier::Web;
        let stream = Arc::new(Stream::new(
            wire,
            carrier,
            proxy,
            beats,
            step.identified.then_some(&identify),
        ));
        lock(&self.streams).insert(name.to_owned(), stream.clone());
        lock(&self.all).push((name.to_owned(), stream.clone()));
        if !step.identified {
            return Ok(());
        }
        if carrier != Carrier::Web {
            stream.frame(&json!({"identify": identify})).await?;
        }
        if step.ready && step.reads {
            let ready = json!({"ready": {}});
            let (index, _) = stream.must_find(0, &ready, WITHIN * 3).await?;
            stream.pass(index);
        }
        Ok(())
    }

    fn identify(&self, step: &Connect, name: &str) -> Result<Value> {
        let mut identify = Map::new();
        if let Some(token) = self.token(&step.who)? {
            identify.insert("token".to_owned(), token.into());
        }
        if step.resume {
            let before = self.stream(name)?;
            let positions = before.shared.log().model.positions();
            identify.insert("positions".to_owned(), positions);
        }
        let more = self.fill(&Value::Object(step.identify.clone()))?;
        identify.extend(more.as_object().cloned().unwrap_or_default());
        Ok(identify.into())
    }

    pub(super) async fn send(&self, step: &Send) -> Result<()> {
        let frame = self.fill(&Value::Object(step.frame.clone()))?;
        let sent = self.stream(&step.on)?.frame(&frame).await;
        if step.ended { Ok(()) } else { sent }
    }

    pub(super) async fn raw(&self, step: &Raw) -> Result<()> {
        let stream = self.stream(&step.on)?;
        if let Some(wire) = &step.wire {
            let bytes = crate::hex::decode(&self.fill_text(wire)?)?;
            return stream
                .send(Out::Wire(bytes.repeat(step.times).into()))
                .await;
        }
        if let Some(text) = &step.text {
            let text = self.fill_text(text)?.repeat(step.times);
            return stream.send(Out::Text(text)).await;
        }
        let payload = step.hex.as_deref().context("raw: hex, text or wire")?;
        let bytes = crate::hex::decode(&self.fill_text(payload)?)?;
        stream
            .send(Out::Payload(bytes.repeat(step.times).into()))
            .await
    }

    pub(super) async fn span(&self, span: &Span) -> Result<Duration> {
        match span {
            Span::Ms(ms) => Ok(Duration::from_millis(*ms)),
            Span::OfHello(of) => {
                let timer = self.stream(&of.on)?.shared.timer(&of.timer, WITHIN).await?;
                Ok(timer.mul_f64(of.times) + Duration::from_millis(of.plus_ms))
            }
        }
    }

    pub(super) async fn within(&self, span: Option<&Span>) -> Result<Duration> {
        match span {
            Some(span) => self.span(span).await,
            None => Ok(WITHIN),
        }
    }

    pub(super) async fn expect(&self, step: &Expect) -> Result<()> {
        let stream = self.stream(&step.on)?;
        let within = self.within(step.within.as_ref()).await?;
        let from = if step.anywhere { 0 } else { stream.cursor() };
        let mut last = None;
        let wanted = step.frame.iter().chain(&step.in_order);
        let mut at = from;
        for wanted in wanted {
            let wanted = self.fill(wanted)?;
            let (index, frame) = stream.must_find(at, &wanted, within).await?;
            if step.next {
                let log = stream.shared.log();
                let between = log.frames.get(at..index).unwrap_or_default();
                if let Some(other) = between.iter().find(|frame| !Stream::is_aside(frame)) {
                    bail!("before {wanted} came {}", matching::short(other));
                }
            }
            at = index + 1;
            last = last.max(Some(index));
            self.save(&step.save, &frame)?;
        }
        for wanted in &step.all {
            let wanted = self.fill(wanted)?;
            let (index, frame) = stream.must_find(from, &wanted, within).await?;
            last = last.max(Some(index));
            self.save(&step.save, &frame)?;
        }
        if let Some(index) = last.filter(|_| !step.anywhere) {
            stream.pass(index);
        }
        Ok(())
    }

    pub(super) async fn never(&self, step: &Never) -> Result<()> {
        let stream = self.stream(&step.on)?;
        let from = if step.anywhere { 0 } else { stream.cursor() };
        let frame = self.fill(&step.frame)?;
        let mut end = usize::MAX;
        if let Some(before) = &step.before {
            let before = self.fill(before)?;
            let within = self.within(step.within.as_ref()).await?;
            let (index, _) = stream.must_find(from, &before, within).await?;
            stream.pass(index);
            end = index;
        } else {
            let within = step
                .within
                .as_ref()
                .context("never: `before` or `within`")?;
            tokio::time::sleep(self.span(within).await?).await;
        }
        let log = stream.shared.log();
        match stream::find(&log.frames, from, &frame) {
            Some((index, frame)) if index < end => {
                bail!("it came: {}", matching::short(&frame))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn seen(&self, step: &Seen) -> Result<()> {
        let stream = self.stream(&step.on)?;
        let wanted = self.fill(&step.frame)?;
        let log = stream.shared.log();
        let fitting = log
            .frames
            .iter()
            .filter(|f| matching::mismatch(&wanted, f).is_none());
        let list: Value = fitting.cloned().collect();
        if let Some(count) = &step.count {
            let got = list.as_array().map_or(0, Vec::len);
            if let Some(why) = self.misfit(count, &got.into())? {
                bail!("how many frames match {wanted}: {why}");
            }
        }
        if let Some(expected) = &step.list
            && let Some(why) = self.misfit(expected, &list)?
        {
            bail!("the frames: {why}");
        }
        self.save(&step.save, &list)
    }

    pub(super) async fn ends(&self, step: &Ends) -> Result<()> {
        let stream = self.stream(&step.on)?;
        let within = self.within(step.within.as_ref()).await?;
        let end = stream.shared.until(within, |log| log.end.clone()).await;
        let end = end.or_else(|| stream.shared.log().end.clone());
        if step.never {
            ensure!(end.is_none(), "it ended: {end:?}{}", stream.shown(0));
            return Ok(());
        }
        let Some(end) = end else {
            bail!("it didn't end{}", stream.shown(stream.cursor()));
        };
        if let Some(closing) = &step.closing {
            let came = {
                let log = stream.shared.log();
                let last = log.frames.iter().find_map(|frame| frame.get("closing"));
                json!({"closing": last})
            };
            if let Some(why) = self.misfit(&json!({"closing": closing}), &came)? {
                bail!("{why}{}", stream.shown(0));
            }
        }
        if let (Some(status), true) = (&step.status, stream.is_grpc) {
            let got = json!({"status": end.status.as_ref().map(Failure::to_case)});
            if let Some(why) = self.misfit(&json!({"status": status}), &got)? {
                bail!("{why}{}", stream.shown(0));
            }
        }
        if let (Some(code), false) = (&step.code, stream.is_grpc)
            && let Some(why) = self.misfit(code, &json!(end.code))?
        {
            bail!("the close code: {why}{}", stream.shown(0));
        }
        Ok(())
    }

    pub(super) async fn close(&self, step: &Close) -> Result<()> {
        let stream = self.stream(&step.on)?;
        if step.how == How::End {
            // One that the server ended needs no goodbye.
            let _ = stream.send(Out::End).await;
            stream
                .shared
                .until(WITHIN, |log| log.end.as_ref().map(|_| ()))
                .await;
        }
        stream.cut.cut();
        Ok(())
    }

    pub(super) fn network(&self, step: &SetNetwork) -> Result<()> {
        let stream = self.stream(&step.on)?;
        let proxy = stream
            .proxy
            .as_ref()
            .context("it wasn't opened `through` a network")?;
        proxy.set(step.does.clone());
        Ok(())
    }

    /// Of each topic the same frames in the same order; topics are beside each other as they come.
    pub(super) fn same(&self, step: &Same) -> Result<()> {
        let kinds: Vec<&str> = if step.kinds.is_empty() {
            vec!["event", "snapshot", "gap", "topic_removed"]
        } else {
            step.kinds.iter().map(String::as_str).collect()
        };
        let by_topic = |name: &str| -> Result<BTreeMap<String, Vec<Value>>> {
            let stream = self.stream(name)?;
            let log = stream.shared.log();
            let mut topics: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            for frame in &log.frames {
                let body = kinds.iter().find_map(|kind| frame.get(kind));
                if let Some(body) = body {
                    let topic = plain(&body["topic"]);
                    topics.entry(topic).or_default().push(frame.clone());
                }
            }
            Ok(topics)
        };
        let (first, others) = step.on.split_first().context("same: on which streams")?;
        let expected = by_topic(first)?;
        ensure!(!expected.is_empty(), "nothing came on {first}");
        for other in others {
            let got = by_topic(other)?;
            for (topic, frames) in &expected {
                let theirs = got.get(topic).map(Vec::as_slice).unwrap_or_default();
                for (index, frame) in frames.iter().enumerate() {
                    let their = theirs.get(index).unwrap_or(&Value::Null);
                    ensure!(
                        frame == their,
                        "{first} and {other} differ in {topic}:\n    {}\n    {}",
                        matching::short(frame),
                        matching::short(their)
                    );
                }
                ensure!(frames.len() == theirs.len(), "{other} has more of {topic}");
            }
            ensure!(expected.len() == got.len(), "{other} has other topics");
        }
        Ok(())
    }
}

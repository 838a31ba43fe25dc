//! What a client may rely on, whatever a case is about: each topic's `seq` rises by one, or a
//! `Gap` or a snapshot stands between.

use crate::carrier::Failure;
use crate::vars::number;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A topic: its kind and id.
pub(crate) type Topic = (String, String);
type Position = (i128, i128);

/// The topics that a stream's client holds, by what it was sent.
#[derive(Debug, Default)]
pub(crate) struct Model {
    held: BTreeMap<Topic, Position>,
    /// Topics that were removed: an event of one may be under way still.
    removed: BTreeSet<Topic>,
    server_removed: bool,
    viewed: BTreeSet<String>,
    has_hello: bool,
    has_ready: bool,
    closing: bool,
}

fn topic(value: &Value) -> Topic {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    (text("kind"), text("id"))
}

fn position(value: &Value) -> Position {
    let part = |name: &str| number(&value[name]).unwrap_or_default();
    (part("epoch"), part("seq"))
}

impl Model {
    /// What the client says that it holds.
    pub(crate) fn present(&mut self, identify: &Value) {
        for held in identify["positions"].as_array().into_iter().flatten() {
            self.held
                .insert(topic(&held["topic"]), position(&held["position"]));
        }
        self.view(&identify["view"]);
    }

    /// A view that the client sends: a channel that comes into it is held as the view says.
    pub(crate) fn view(&mut self, view: &Value) {
        let Some(channels) = view["channels"].as_array() else {
            return;
        };
        let mut viewed = BTreeSet::new();
        for channel in channels {
            let id = crate::vars::plain(&channel["channel_id"]);
            if channel["position"].is_object() && !self.viewed.contains(&id) {
                let at = position(&channel["position"]);
                self.held
                    .insert(("TOPIC_KIND_CHANNEL".to_owned(), id.clone()), at);
            }
            viewed.insert(id);
        }
        self.viewed = viewed;
    }

    /// Takes a frame as it came. What it says is wrong with it.
    pub(crate) fn take(&mut self, frame: &Value) -> Result<(), String> {
        let Some((kind, body)) = frame.as_object().and_then(|frame| frame.iter().next()) else {
            return Ok(());
        };
        if self.closing {
            return Err(format!("{kind} came after Closing"));
        }
        if !self.has_hello && !matches!(kind.as_str(), "hello" | "closing" | "heartbeat_ack") {
            return Err(format!("{kind} came before Hello"));
        }
        match kind.as_str() {
            "hello" if self.has_hello => return Err("a second Hello".to_owned()),
            "hello" => self.has_hello = true,
            "ready" if self.has_ready => return Err("a second Ready".to_owned()),
            "ready" => self.has_ready = true,
            "closing" => {
                self.closing = true;
                let code = number(&body["code"]).unwrap_or_default();
                let known = (4000..4100).contains(&code) && body["reason"] != "";
                if !known || body["advice"] == "ADVICE_UNSPECIFIED" {
                    return Err(format!(
                        "a Closing that doesn't say why, or what to do: {body}"
                    ));
                }
            }
            "result" => refusal(&body["error"])?,
            "snapshot" | "gap" => {
                let topic = topic(&body["topic"]);
                self.removed.remove(&topic);
                self.held.insert(topic, position(&body["position"]));
            }
            "topic_removed" => self.remove(topic(&body["topic"])),
            "event" => self.event(body)?,
            _ => {}
        }
        Ok(())
    }

    fn remove(&mut self, topic: Topic) {
        self.held.remove(&topic);
        self.server_removed |= topic.0 == "TOPIC_KIND_SERVER";
        self.removed.insert(topic);
    }

    fn event(&mut self, event: &Value) -> Result<(), String> {
        let topic = topic(&event["topic"]);
        let at = position(&event["position"]);
        match self.held.get_mut(&topic) {
            Some(held) if held.0 == at.0 && held.1 + 1 == at.1 => *held = at,
            Some(held) => {
                return Err(format!(
                    "an event of {topic:?} at {at:?} after {held:?}, and nothing between"
                ));
            }
            None if self.removed.contains(&topic) || self.server_removed => {}
            None => return Err(format!("an event of {topic:?}, which isn't held")),
        }
        // The topic is gone with the event that says so.
        let ids = [
            ("server_deleted", "TOPIC_KIND_SERVER", "server_id"),
            ("channel_deleted", "TOPIC_KIND_CHANNEL", "channel_id"),
        ];
        for (kind, of, id) in ids {
            if let Some(deleted) = event.get(kind) {
                self.remove((of.to_owned(), crate::vars::plain(&deleted[id])));
            }
        }
        if let Some(removed) = event.get("topic_removed") {
            self.remove(self::topic(&removed["topic"]));
        }
        Ok(())
    }

    /// What is held, as `Identify` presents it.
    pub(crate) fn positions(&self) -> Value {
        let held = self.held.iter().map(|((kind, id), (epoch, seq))| {
            json!({
                "topic": {"kind": kind, "id": id},
                "position": {"epoch": epoch.to_string(), "seq": seq.to_string()},
            })
        });
        held.collect()
    }

    /// The position held of a topic.
    pub(crate) fn position(&self, id: &str) -> Option<Value> {
        let mut held = self.held.iter().filter(|((_, held), _)| held == id);
        let (_, (epoch, seq)) = held.next()?;
        Some(json!({"epoch": epoch.to_string(), "seq": seq.to_string()}))
    }
}

/// A refused request says what it is to programs.
fn refusal(error: &Value) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    let checked = Failure::of_case(error).and_then(|failure| failure.check());
    checked.map_err(|error| format!("a Result with {error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: i64) -> Value {
        let topic = json!({"kind": "TOPIC_KIND_CHANNEL", "id": "7"});
        let position = json!({"epoch": "1", "seq": seq.to_string()});
        json!({"event": {"topic": topic, "position": position}})
    }

    fn snapshot(kind: &str, seq: i64) -> Value {
        let event = event(seq);
        json!({kind: event["event"].clone()})
    }

    #[test]
    fn a_step_left_out_is_noticed() {
        let mut model = Model::default();
        assert!(model.take(&event(1)).is_err(), "before Hello");
        model.take(&json!({"hello": {}})).expect("the first frame");
        assert!(model.take(&event(1)).is_err(), "not held");
        model.take(&snapshot("snapshot", 4)).expect("a snapshot");
        model.take(&event(5)).expect("the next");
        assert!(model.take(&event(5)).is_err(), "again");
        assert!(model.take(&event(7)).is_err(), "a jump");
        model.take(&snapshot("gap", 6)).expect("a gap");
        model.take(&event(7)).expect("the next");
        model
            .take(&snapshot("topic_removed", 0))
            .expect("a removal");
        model.take(&event(9)).expect("it was under way");
        let error = json!({"code": 5, "message": "no", "details": []});
        assert!(
            model.take(&json!({"result": {"error": error}})).is_err(),
            "without ErrorInfo"
        );
        assert!(
            Model::default()
                .take(&json!({"closing": {"code": 1}}))
                .is_err(),
            "no reason"
        );
        let closing = json!({"code": 4001, "reason": "MALFORMED", "advice": "ADVICE_STOP"});
        model
            .take(&json!({"closing": closing}))
            .expect("the last frame");
        assert!(model.take(&event(10)).is_err(), "after Closing");
    }
}

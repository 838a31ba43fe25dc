//! What cases name: `${ann.id}`, `${first}`, `${uuid:n1}`.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// A variable's text is at most so long.
const TEXT_MAX: usize = 1 << 20;
/// A text has at most so many names.
const NAMES_MAX: usize = 1000;
/// A list that is made has at most so many items.
const LIST_MAX: usize = 10_000;

/// What the names of one run stand for.
#[derive(Default)]
pub(crate) struct Vars {
    values: HashMap<String, Value>,
}

impl Vars {
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_owned(), value);
    }

    /// What a name stands for: `name`, or `name.field.3` in it.
    pub(crate) fn get(&self, path: &str) -> Result<&Value> {
        let mut parts = path.split('.');
        let name = parts.next().unwrap_or_default();
        let mut value = self
            .values
            .get(name)
            .with_context(|| format!("nothing is named {name}"))?;
        for part in parts {
            value = at(value, part).with_context(|| format!("{path}: there is no {part}"))?;
        }
        Ok(value)
    }

    /// The value with all names in it replaced. A text that is one name becomes what it stands for.
    pub(crate) fn fill(&mut self, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::String(text) => self.fill_text(text)?,
            Value::Array(list) => {
                let filled: Result<Vec<_>> = list.iter().map(|value| self.fill(value)).collect();
                Value::Array(filled?)
            }
            Value::Object(map) if map.contains_key("$times") => self.fill_list(map)?,
            Value::Object(map) => {
                let mut filled = Map::new();
                for (key, value) in map {
                    let key = match self.fill_text(key)? {
                        Value::String(key) => key,
                        other => other.to_string(),
                    };
                    filled.insert(key, self.fill(value)?);
                }
                Value::Object(filled)
            }
            other => other.clone(),
        })
    }

    /// `{$times: 3, of: …}`: a list; `${i}` counts from 0 in it.
    fn fill_list(&mut self, map: &Map<String, Value>) -> Result<Value> {
        let times = self.fill(&map["$times"])?;
        let times = number(&times).and_then(|times| usize::try_from(times).ok());
        let times = times
            .filter(|times| *times <= LIST_MAX)
            .context("$times: so many?")?;
        let of = map.get("of").context("$times: of what?")?;
        let before = self.values.get("i").cloned();
        let mut list = Vec::new();
        for i in 0..times {
            self.set("i", i.into());
            list.push(self.fill(of)?);
        }
        self.values.remove("i");
        self.values
            .extend(before.map(|before| ("i".to_owned(), before)));
        Ok(list.into())
    }

    fn fill_text(&mut self, text: &str) -> Result<Value> {
        let mut text = text.to_owned();
        // From the inside out: a name may be made of names.
        for _ in 0..NAMES_MAX {
            let Some(start) = text.rfind("${") else {
                return Ok(text.into());
            };
            let end = text[start..].find('}').map(|end| start + end);
            let end = end.with_context(|| format!("no }} after ${{ in {text}"))?;
            let value = self.evaluate(&text[start + 2..end])?;
            if start == 0 && end + 1 == text.len() {
                return Ok(value);
            }
            text.replace_range(start..=end, &plain(&value));
        }
        bail!("more than {NAMES_MAX} names in a text")
    }

    /// `uuid`, `uuid:name`, `repeat:text:times`, `name`, `name + 3`, `time`, `time - 1000` (ms).
    fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let mut parts = expression.splitn(2, ':');
        match (parts.next().unwrap_or_default(), parts.next()) {
            ("time", None) => return Ok(time(0).into()),
            ("uuid", None) => return Ok(uuid::Uuid::now_v7().to_string().into()),
            ("uuid", Some(name)) => {
                let key = format!("uuid:{name}");
                let new = || uuid::Uuid::now_v7().to_string().into();
                return Ok(self.values.entry(key).or_insert_with(new).clone());
            }
            ("repeat", Some(what)) => {
                let (text, times) = what.rsplit_once(':').context("repeat:text:times")?;
                let times: usize = times.parse().context("repeat:text:times")?;
                if text.len().saturating_mul(times) > TEXT_MAX {
                    bail!("a text of more than {TEXT_MAX} bytes");
                }
                return Ok(text.repeat(times).into());
            }
            ("percent", Some(name)) => {
                let value = plain(self.get(name)?);
                let all = percent_encoding::NON_ALPHANUMERIC;
                return Ok(percent_encoding::utf8_percent_encode(&value, all)
                    .to_string()
                    .into());
            }
            _ => {}
        }
        for (sign, factor) in [(" + ", 1), (" - ", -1)] {
            if let Some((name, by)) = expression.split_once(sign) {
                let by: i128 = by.trim().parse()?;
                if name == "time" {
                    return Ok(time(factor * by).into());
                }
                let value = number(self.get(name.trim())?).context("no number")?;
                return Ok((value + factor * by).to_string().into());
            }
        }
        self.get(expression.trim()).cloned()
    }
}

/// The time, so many milliseconds away, as JSON writes it.
fn time(away_ms: i128) -> String {
    let away = i64::try_from(away_ms).unwrap_or_default();
    let distance = Duration::from_millis(away.unsigned_abs());
    let now = SystemTime::now();
    let then = if away < 0 {
        now - distance
    } else {
        now + distance
    };
    prost_types::Timestamp::from(then).to_string()
}

/// A field or a place in a list.
pub(crate) fn at<'a>(value: &'a Value, part: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(part),
        Value::Array(list) => match part {
            "last" => list.last(),
            _ => list.get(part.parse::<usize>().ok()?),
        },
        _ => None,
    }
}

/// A path of fields in a value.
pub(crate) fn path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, at)
}

/// A value within a text.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number, or a text that is one: 64-bit numbers are written as texts.
pub(crate) fn number(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_replaced() {
        let mut vars = Vars::default();
        vars.set("ann", json!({"id": "7", "list": [1, {"x": true}]}));
        let mut fill = |text: &str| vars.fill(&json!(text)).expect("a value");
        assert_eq!(fill("${ann.id}"), json!("7"));
        assert_eq!(fill("<@${ann.id}> ${ann.list.0}"), json!("<@7> 1"));
        assert_eq!(fill("${ann.list.1.x}"), json!(true));
        assert_eq!(fill("${ann.list.${ann.list.0}}"), json!({"x": true}));
        assert_eq!(fill("${ann.id + 3}"), json!("10"));
        assert_eq!(fill("${ann.id - 3}"), json!("4"));
        assert!(fill("${time}").to_string() < fill("${time + 60000}").to_string());
        assert_eq!(fill("${repeat:ab:3}"), json!("ababab"));
        let one = fill("${uuid:a}");
        assert_eq!(fill("${uuid:a}"), one);
        assert_ne!(fill("${uuid:b}"), one);
        assert_ne!(fill("${uuid}"), fill("${uuid}"));
        let list = json!({"$times": 3, "of": {"id": "${i + 1}"}});
        let expected = json!([{"id": "1"}, {"id": "2"}, {"id": "3"}]);
        assert_eq!(vars.fill(&list).expect("a list"), expected);
        assert!(vars.fill(&json!("${i}")).is_err(), "it counts within alone");
        assert!(vars.fill(&json!("${bob}")).is_err());
        assert!(vars.fill(&json!("${ann.no}")).is_err());
    }
}

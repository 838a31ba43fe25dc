//! Reads JSON strictly: no key twice in an object, no nesting beyond a limit, errors that name the
//! place.
//!
//! prost-reflect would let the last of two equal keys win, so that what one reader checks another
//! may not see; hence this scan before it.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Parses one JSON value that fills `bytes`.
///
/// # Errors
/// Where it isn't JSON, a key stands twice, or it is nested too deeply.
pub fn parse(bytes: &[u8], depth_max: usize) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict {
        depth_left: depth_max,
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict {
    depth_left: usize,
}

impl Strict {
    fn inner<E: Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left }),
            None => Err(E::custom("nested too deeply")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key {key:?} stands twice"
                )));
            }
            let value = map.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> String {
        parse(json.as_bytes(), 3).unwrap_err().to_string()
    }

    #[test]
    fn values_come_through() {
        let json =
            r#"{"a": [1, -2, 1e3, 18446744073709551615], "b": {"a": null}, "c": "ä\ud83d\ude00"}"#;
        let value = parse(json.as_bytes(), 3).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(json).unwrap());
    }

    #[test]
    fn a_key_twice_is_refused_with_its_place() {
        assert_eq!(
            problem("{\"a\": 1,\n \"a\": 2}"),
            "the key \"a\" stands twice at line 2 column 4"
        );
        assert!(problem(r#"{"x": [{"k": 1, "k": 1}]}"#).contains("the key \"k\" stands twice"));
        // The same key spelt with an escape is the same key.
        assert!(problem(r#"{"a": 1, "\u0061": 2}"#).contains("twice"));
    }

    #[test]
    fn depth_is_limited() {
        assert!(parse(b"[[[1]]]", 3).is_ok());
        assert!(problem("[[[[1]]]]").contains("nested too deeply at line 1 column 4"));
        let deep = "[".repeat(10_000);
        assert!(problem(&deep).contains("nested too deeply"));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for json in [
            "",
            "{",
            "{\"a\":}",
            "[1,]",
            "nul",
            "{} {}",
            "\"\\ud800\"",
            "01",
            "NaN",
        ] {
            assert!(parse(json.as_bytes(), 3).is_err(), "{json}");
        }
        assert!(parse(b"\"\xff\"", 3).is_err());
        assert!(problem("{\"a\" 1}").contains("at line 1 column 6"));
    }
}

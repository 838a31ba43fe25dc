//! Whether what came is what a case expects.
//!
//! An object matches if every field that is named matches; a list if it is as long and each item
//! matches. What else can be said stands in conformance/README.md, "Expectations".

use crate::vars::{number, plain};
use serde_json::Value;

/// Why `actual` isn't what is expected; nothing if it is.
pub(crate) fn mismatch(expected: &Value, actual: &Value) -> Option<String> {
    differs(expected, Some(actual), "").err()
}

fn differs(expected: &Value, actual: Option<&Value>, at: &str) -> Result<(), String> {
    if let Some((operator, argument)) = operator(expected) {
        return operate(operator, argument, actual, at);
    }
    let absent = |value: Option<&Value>| value.is_none_or(Value::is_null);
    let fail = |why: String| Err(format!("{}: {why}", if at.is_empty() { "it" } else { at }));
    match expected {
        Value::Null if absent(actual) => Ok(()),
        Value::Object(fields) => {
            let Some(Value::Object(map)) = actual else {
                return fail(format!("expected an object, got {}", shown(actual)));
            };
            for (name, expected) in fields {
                let at = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                differs(expected, map.get(name), &at)?;
            }
            Ok(())
        }
        Value::Array(items) => {
            let Some(Value::Array(list)) = actual else {
                return fail(format!("expected a list, got {}", shown(actual)));
            };
            if items.len() != list.len() {
                let (want, got) = (items.len(), list.len());
                return fail(format!(
                    "expected {want} items, got {got}: {}",
                    shown(actual)
                ));
            }
            for (index, (expected, actual)) in items.iter().zip(list).enumerate() {
                differs(expected, Some(actual), &format!("{at}.{index}"))?;
            }
            Ok(())
        }
        _ => {
            let same = actual.is_some_and(|actual| {
                actual == expected || (scalar(actual) && plain(actual) == plain(expected))
            });
            if same {
                return Ok(());
            }
            fail(format!(
                "expected {}, got {}",
                short(expected),
                shown(actual)
            ))
        }
    }
}

fn scalar(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_))
}

fn operator(value: &Value) -> Option<(&str, &Value)> {
    match value {
        Value::String(text) if text.starts_with('$') => Some((&text[1..], &Value::Null)),
        Value::Object(map) if map.len() == 1 => {
            let (name, argument) = map.iter().next()?;
            Some((name.strip_prefix('$')?, argument))
        }
        _ => None,
    }
}

fn operate(name: &str, argument: &Value, actual: Option<&Value>, at: &str) -> Result<(), String> {
    let at = if at.is_empty() { "it" } else { at };
    let present = actual.filter(|value| !value.is_null());
    let alternatives = argument.as_array().map(Vec::as_slice).unwrap_or_default();
    let fits = |expected: &Value| differs(expected, actual, at).is_ok();
    let holds = match name {
        "any" => present.is_some(),
        "absent" => present.is_none(),
        // Something other than the field's default.
        "set" => present.is_some_and(|value| !is_default(value)),
        "gt" | "ge" | "lt" | "le" => compares(name, argument, present),
        "not" => !fits(argument),
        "one_of" => alternatives.iter().any(fits),
        "all" => alternatives.iter().all(fits),
        "regex" => match (present, regex::Regex::new(&plain(argument))) {
            (Some(value), Ok(regex)) => regex.is_match(&plain(value)),
            (_, Err(error)) => return Err(format!("{at}: {error}")),
            _ => false,
        },
        "length" => {
            let length = present
                .and_then(length)
                .map(|length| Value::from(length as u64));
            differs(argument, length.as_ref(), &format!("length of {at}")).is_ok()
        }
        "unordered" | "contains" | "each" | "rising" => match present.and_then(Value::as_array) {
            Some(list) => holds_of_list(name, argument, list, at),
            None => false,
        },
        _ => return Err(format!("{at}: there is no ${name}")),
    };
    if holds {
        Ok(())
    } else {
        let argument = short(argument);
        Err(format!("{at}: not ${name} {argument}: {}", shown(actual)))
    }
}

fn compares(name: &str, argument: &Value, actual: Option<&Value>) -> bool {
    let (Some(a), Some(b)) = (actual.and_then(number), number(argument)) else {
        return false;
    };
    match name {
        "gt" => a > b,
        "ge" => a >= b,
        "lt" => a < b,
        _ => a <= b,
    }
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::Array(list) => Some(list.len()),
        Value::Object(map) => Some(map.len()),
        Value::String(text) => Some(text.chars().count()),
        _ => None,
    }
}

fn holds_of_list(name: &str, argument: &Value, list: &[Value], at: &str) -> bool {
    let expected = argument.as_array().map(Vec::as_slice).unwrap_or_default();
    match name {
        "unordered" => expected.len() == list.len() && assigned(expected, list),
        "contains" => assigned(expected, list),
        "each" => list
            .iter()
            .all(|item| differs(argument, Some(item), at).is_ok()),
        _ => {
            let key = |item: &Value| match argument {
                Value::String(path) => crate::vars::path(item, path).and_then(number),
                _ => number(item),
            };
            let keys: Option<Vec<_>> = list.iter().map(key).collect();
            keys.is_some_and(|keys| keys.is_sorted_by(|a, b| a < b))
        }
    }
}

/// Whether each expectation has an item of its own, tried in order.
fn assigned(expected: &[Value], list: &[Value]) -> bool {
    let mut taken = vec![false; list.len()];
    expected.iter().all(|expected| {
        let fits =
            |&index: &usize| !taken[index] && differs(expected, Some(&list[index]), "").is_ok();
        let found = (0..list.len()).find(fits);
        if let Some(index) = found {
            taken[index] = true;
        }
        found.is_some()
    })
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Number(_) => number(value) == Some(0),
        Value::String(text) => text.is_empty() || text == "0" || text.ends_with("_UNSPECIFIED"),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Null => true,
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), short)
}

/// A value as one line of at most so many characters as a reader wants.
pub(crate) fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 300 {
        return text;
    }
    let cut: String = text.chars().take(300).collect();
    format!("{cut}… ({} bytes)", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(expected: Value, actual: Value) -> bool {
        mismatch(&expected, &actual).is_none()
    }

    #[test]
    fn named_fields_count_alone() {
        assert!(holds(json!({"a": 1}), json!({"a": 1, "b": 2})));
        assert!(!holds(json!({"a": 1}), json!({"b": 2})));
        assert!(holds(json!({"a": "12"}), json!({"a": 12})));
        assert!(holds(json!({"a": null}), json!({"b": 2})));
        assert!(!holds(json!({"a": null}), json!({"a": 2})));
        assert!(!holds(json!({"a": false}), json!({"a": 0})));
    }

    #[test]
    fn lists_match_item_by_item() {
        assert!(holds(json!([1, {"a": 1}]), json!([1, {"a": 1, "b": 2}])));
        assert!(!holds(json!([1]), json!([1, 2])));
        assert!(holds(json!({"$contains": [2]}), json!([1, 2])));
        assert!(!holds(json!({"$contains": [2, 2]}), json!([1, 2])));
        assert!(holds(json!({"$unordered": [2, 1]}), json!([1, 2])));
        assert!(!holds(json!({"$unordered": [2, 1]}), json!([1, 2, 3])));
        assert!(holds(json!({"$each": {"$gt": 0}}), json!([1, 2])));
        assert!(holds(
            json!({"$rising": "id"}),
            json!([{"id": "9"}, {"id": "10"}])
        ));
        assert!(!holds(
            json!({"$rising": "id"}),
            json!([{"id": "9"}, {"id": "9"}])
        ));
    }

    #[test]
    fn operators_hold_when_they_should() {
        assert!(holds(json!({"a": "$any"}), json!({"a": 0})));
        assert!(!holds(json!({"a": "$any"}), json!({})));
        assert!(holds(json!({"a": "$absent"}), json!({})));
        assert!(!holds(json!({"a": "$set"}), json!({"a": "0"})));
        assert!(holds(json!({"a": {"$gt": "9"}}), json!({"a": "10"})));
        assert!(holds(json!({"$not": {"a": 1}}), json!({"a": 2})));
        assert!(holds(json!({"$one_of": [1, 2]}), json!(2)));
        assert!(holds(json!({"$regex": "^a.c$"}), json!("abc")));
        assert!(holds(json!({"$length": 3}), json!("abc")));
        assert!(holds(json!({"$length": {"$le": 2}}), json!([1, 2])));
        assert!(!holds(json!({"$no": 1}), json!(1)));
    }
}

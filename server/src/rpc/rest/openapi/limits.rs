//! Limits of requests' fields, as their comments state them: `1 to 100 characters`, `At most 16
//! keys`.
//!
//! The comment is the one place where a limit is written for clients; the document repeats it in
//! the form that programs read. What has another form stays in the description alone.

use prost_reflect::{FieldDescriptor, Kind};
use serde_json::{Map, Value, json};

/// Whether a request without the field is always refused.
pub(super) fn is_required(comment: &str) -> bool {
    comment.contains("Required.")
}

/// Adds the limits that `comment` states to a field's schema.
pub(super) fn add(schema: &mut Map<String, Value>, field: &FieldDescriptor, comment: &str) {
    if comment.starts_with("A UUID") && matches!(field.kind(), Kind::String) {
        schema.insert("format".to_owned(), json!("uuid"));
        return;
    }
    let Some(Limit { least, most, unit }) = first(comment) else {
        return;
    };
    let (least_key, most_key, fits) = if field.is_map() {
        ("minProperties", "maxProperties", unit == "keys")
    } else if field.is_list() {
        ("minItems", "maxItems", unit != "KiB")
    } else {
        match field.kind() {
            Kind::String => ("minLength", "maxLength", unit == "characters"),
            Kind::Int32 | Kind::Uint32 => ("minimum", "maximum", unit != "KiB"),
            _ => return,
        }
    };
    if !fits {
        return;
    }
    schema.insert(most_key.to_owned(), most.into());
    // An absent text or number is its default; only where that is refused it counts as too small.
    let least = if is_required(comment) || field.is_list() {
        least
    } else {
        0
    };
    schema.insert(least_key.to_owned(), least.into());
}

#[derive(Debug, PartialEq, Eq)]
struct Limit {
    least: u64,
    most: u64,
    /// The word behind the number; empty at a sentence's end.
    unit: String,
}

/// The first `N to M unit` or `at most M unit` of a comment.
fn first(comment: &str) -> Option<Limit> {
    let words: Vec<&str> = comment.split_whitespace().collect();
    (0..words.len()).find_map(|at| {
        let [first, second, third] = words.get(at..at + 3)? else {
            return None;
        };
        let least = match (first.to_ascii_lowercase().as_str(), *second) {
            ("at", "most") => 0,
            (_, "to") => number(first)?,
            _ => return None,
        };
        let most = number(third)?;
        let ended = third.ends_with(['.', ';', ':']);
        let unit = words.get(at + 3).filter(|_| !ended).map_or("", |word| word);
        let unit = unit.trim_end_matches(['.', ',', ';', ':']).to_owned();
        Some(Limit { least, most, unit })
    })
}

fn number(word: &str) -> Option<u64> {
    let word = word.trim_end_matches(['.', ',', ';', ':']);
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    word.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(least: u64, most: u64, unit: &str) -> Option<Limit> {
        Some(Limit {
            least,
            most,
            unit: unit.to_owned(),
        })
    }

    #[test]
    fn comments_state_limits() {
        assert_eq!(
            first("1 to 100 characters. Required."),
            limit(1, 100, "characters")
        );
        let text = "The text: 1 to 4,000 characters, at most 16 KiB of UTF-8.";
        assert_eq!(first(text), limit(1, 4_000, "characters"));
        assert_eq!(first("1 to 1,000; 0 means 100."), limit(1, 1_000, ""));
        assert_eq!(
            first("At most 16 keys, 4 KiB in all."),
            limit(0, 16, "keys")
        );
        let text = "Members besides the caller, at most 1,000. DIRECT: 1 to 9 other users";
        assert_eq!(first(text), limit(0, 1_000, ""));
        assert_eq!(
            first("Seconds, at most 2,592,000 (30 days)"),
            limit(0, 2_592_000, "(30")
        );
        assert_eq!(first("The channel to send to. Required."), None);
        assert_eq!(first("Marks it up to a message"), None);
        assert_eq!(first(""), None);
    }

    #[test]
    fn requests_have_their_limits() {
        let message = chirm_proto::pool().get_message_by_name("chirm.v1.SendMessageRequest");
        let field = message.unwrap().get_field_by_name("content").unwrap();
        let mut schema = Map::new();
        add(
            &mut schema,
            &field,
            "The text: 1 to 4,000 characters, at most 16 KiB. Required.",
        );
        assert_eq!(
            Value::from(schema),
            json!({ "minLength": 1, "maxLength": 4_000 })
        );
    }
}

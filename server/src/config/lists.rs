//! Lists that can stand in the environment, too.

use super::Secret;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    /// In the environment.
    Text(String),
    /// In a file.
    List(Vec<String>),
}

/// A list, or text with commas between its entries.
pub(super) fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(match Given::deserialize(from)? {
        Given::Text(text) => {
            let names = text.split(',').map(str::trim);
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        }
        Given::List(list) => list,
    })
}

/// The same, of texts that are never printed.
pub(super) fn secrets<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Secret>, D::Error> {
    Ok(names(from)?.into_iter().map(Secret).collect())
}

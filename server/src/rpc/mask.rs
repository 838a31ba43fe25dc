//! Field masks of updates, and tokens of pages.

use super::caller::refused;
use crate::domain::Error;
use crate::model::Id;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::Status;

/// Which fields an update names; none: those that are set.
pub(super) struct Mask(Vec<String>);

impl Mask {
    /// # Errors
    /// INVALID_ARGUMENT: it names a field that can't be changed.
    pub(super) fn new(
        mask: Option<prost_types::FieldMask>,
        known: &[&str],
    ) -> Result<Self, Status> {
        let mut paths = mask.unwrap_or_default().paths;
        if paths == ["*"] {
            paths = known.iter().map(|path| (*path).to_owned()).collect();
        }
        match paths.iter().find(|path| !known.contains(&path.as_str())) {
            Some(path) => {
                // A hostile path is cut where the status is made.
                let problem = format!("{path:?}; of {} is", known.join(", "));
                Err(refused(Error::field("update_mask", problem)))
            }
            None => Ok(Self(paths)),
        }
    }

    /// The value, if the mask names it, or names nothing and it is set.
    pub(super) fn pick<T>(&self, path: &str, value: T, is_set: bool) -> Option<T> {
        let named = if self.0.is_empty() {
            is_set
        } else {
            self.0.iter().any(|named| named == path)
        };
        named.then_some(value)
    }
}

/// The token of the page after an id; empty after the last page.
pub(super) fn page_token(after: Id) -> String {
    if after == 0 {
        return String::new();
    }
    URL_SAFE_NO_PAD.encode(after.to_be_bytes())
}

/// The id that a page goes on after.
///
/// # Errors
/// INVALID_ARGUMENT: it is no token of ours.
pub(super) fn page_after(token: &str) -> Result<Id, Status> {
    if token.is_empty() {
        return Ok(0);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let id = bytes
        .and_then(|bytes| bytes.try_into().ok())
        .map(Id::from_be_bytes);
    id.filter(|id| *id > 0).ok_or_else(|| {
        let problem = "not a next_page_token; that or nothing is";
        refused(Error::field("page_token", problem))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_picks_what_it_names_or_what_is_set() {
        let of = |paths: &[&str]| {
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            Mask::new(Some(prost_types::FieldMask { paths }), &["name", "open"])
        };
        let named = of(&["open"]).unwrap();
        assert_eq!(named.pick("open", false, false), Some(false));
        assert_eq!(named.pick("name", "x", true), None);
        let none = of(&[]).unwrap();
        assert_eq!(none.pick("open", false, false), None);
        assert_eq!(none.pick("name", "x", true), Some("x"));
        let all = of(&["*"]).unwrap();
        assert_eq!(all.pick("name", "", false), Some(""));
        assert!(of(&["owner_id"]).is_err());
    }

    #[test]
    fn page_tokens_come_back() {
        for id in [0, 1, Id::MAX] {
            assert_eq!(page_after(&page_token(id)).unwrap(), id);
        }
        for bad in ["x", "AAAA", "_____________", &page_token(1)[1..]] {
            assert!(page_after(bad).is_err(), "{bad}");
        }
    }
}

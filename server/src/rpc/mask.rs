//! Field masks of updates.

use super::caller::refused;
use crate::domain::Error;
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
}

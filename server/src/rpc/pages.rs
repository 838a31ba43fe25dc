//! Tokens of pages: the place of the last item in its list's order, opaque to clients.

use super::caller::refused;
use crate::domain::{Error, Listed};
use crate::model::Id;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::Status;

/// Where a page ends, in its list's order.
pub(super) trait Place: Sized {
    /// As bytes.
    fn write(&self) -> Vec<u8>;
    /// From them; None if they are no place of such a list.
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// Of lists by id.
impl Place for Id {
    fn write(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let id = Id::from_be_bytes(bytes.try_into().ok()?);
        (id > 0).then_some(id)
    }
}

/// Of lists by rank and id.
impl Place for (i32, Id) {
    fn write(&self) -> Vec<u8> {
        [&self.0.to_be_bytes()[..], &self.1.to_be_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (rank, id) = bytes.split_first_chunk()?;
        Some((i32::from_be_bytes(*rank), Id::read(id)?))
    }
}

/// Of lists by a text.
impl Place for String {
    fn write(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        (!text.is_empty() && text.len() <= 64).then(|| text.to_owned())
    }
}

/// The token of the page after this one; empty after the last.
pub(super) fn next<T, P: Place>(page: &Listed<T>, place: impl Fn(&T) -> P) -> String {
    match page.items.last() {
        Some(last) if page.more => token(&place(last)),
        _ => String::new(),
    }
}

/// The token of the page after a place.
pub(super) fn token(place: &impl Place) -> String {
    URL_SAFE_NO_PAD.encode(place.write())
}

/// The place that a page goes on from; None for the first.
///
/// # Errors
/// INVALID_ARGUMENT: it is no token of such a list.
pub(super) fn from<P: Place>(token: &str) -> Result<Option<P>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let place = bytes.and_then(|bytes| P::read(&bytes));
    place.map(Some).ok_or_else(|| {
        let problem = "not a next_page_token of this list; that or nothing is";
        refused(Error::field("page_token", problem))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    fn comes_back<P: Place + PartialEq + Debug + Clone>(place: P) {
        let page = |more| Listed {
            items: vec![()],
            more,
        };
        let token = next(&page(true), |()| place.clone());
        assert_eq!(from::<P>(&token).unwrap(), Some(place.clone()));
        assert_eq!(next(&page(false), |()| place.clone()), "");
    }

    #[test]
    fn page_tokens_come_back() {
        comes_back::<Id>(1);
        comes_back(Id::MAX);
        comes_back((-7, 1));
        comes_back((i32::MAX, Id::MAX));
        comes_back("abcdefghij".to_owned());
        assert_eq!(from::<Id>("").unwrap(), None);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let id = URL_SAFE_NO_PAD.encode(1i64.write());
        for bad in ["x", "AAAA", "_____________", &id[1..], "AAAAAAAAAAA"] {
            assert!(from::<Id>(bad).is_err(), "{bad}");
            assert!(from::<(i32, Id)>(bad).is_err(), "{bad}");
        }
        assert!(from::<(i32, Id)>(&id).is_err());
        assert!(from::<String>("____").is_err());
    }
}

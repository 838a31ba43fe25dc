//! Whose pages may connect. A token is in the first frame, never in a cookie, so another site's
//! page can't use what a browser holds; the list keeps such pages out all the same.

use http::{HeaderMap, header};

/// Whose pages may connect. Clients that aren't pages say nothing of an origin, and may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    listed: Vec<String>,
}

impl Origins {
    /// Pages of the host that they connect to, and these: `https://app.example.com`, with the port
    /// if it isn't the usual one; or `*` for all.
    ///
    /// # Errors
    /// An entry that is no origin: which.
    pub fn new(listed: &[String]) -> Result<Self, String> {
        for origin in listed {
            let is_origin = origin == "*"
                || origin
                    .split_once("://")
                    .is_some_and(|(scheme, host)| is_name(scheme) && is_host(host));
            if !is_origin {
                return Err(format!(
                    "{origin:?} is no origin: give scheme://host or scheme://host:port, or *"
                ));
            }
        }
        Ok(Self {
            any: listed.iter().any(|origin| origin == "*"),
            listed: listed.iter().map(|o| o.to_ascii_lowercase()).collect(),
        })
    }

    /// Pages of any site.
    #[must_use]
    pub fn any() -> Self {
        Self {
            any: true,
            listed: Vec::new(),
        }
    }

    /// Whether a request with these headers may come, and whose it is if not.
    ///
    /// # Errors
    /// The origin that may not.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), String> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(());
        };
        let text = origin.to_str().unwrap_or_default();
        if origins.next().is_none() && (self.any || self.lists(text) || is_own(text, headers)) {
            return Ok(());
        }
        Err(text.to_owned())
    }

    fn lists(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.listed.contains(&origin)
    }
}

/// Whether the page came from the host that it connects to.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let from = origin.split_once("://").map(|(_, host)| host);
    matches!((host, from), (Some(host), Some(from)) if host.eq_ignore_ascii_case(from))
}

fn is_name(scheme: &str) -> bool {
    !scheme.is_empty()
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn is_host(host: &str) -> bool {
    let is_of_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    !host.is_empty() && host.bytes().all(is_of_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(origins: &Origins, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "chat.example.com:7300".parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        origins.check(&headers).is_ok()
    }

    #[test]
    fn origins_are_compared_whole() {
        let listed = ["https://app.example.com".to_owned()];
        let origins = Origins::new(&listed).unwrap();
        for (origin, expected) in [
            (None, true),
            (Some("https://app.example.com"), true),
            (Some("HTTPS://App.example.com"), true),
            (Some("http://chat.example.com:7300"), true),
            (Some("http://chat.example.com"), false),
            (Some("https://app.example.com.evil.test"), false),
            (Some("https://evil.test/https://app.example.com"), false),
            (Some("http://app.example.com"), false),
            (Some("null"), false),
            (Some(""), false),
        ] {
            assert_eq!(may(&origins, origin), expected, "{origin:?}");
        }
        assert!(may(&Origins::any(), Some("https://evil.test")));
        assert!(!may(&Origins::default(), Some("https://evil.test")));
    }

    #[test]
    fn two_origins_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::ORIGIN, "https://a.test".parse().unwrap());
        headers.append(header::ORIGIN, "https://b.test".parse().unwrap());
        assert!(Origins::any().check(&headers).is_err());
    }

    #[test]
    fn what_is_no_origin_is_not_taken() {
        for wrong in ["app.example.com", "https://", "https://a.test/", "", "://a"] {
            assert!(Origins::new(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert!(Origins::new(&["*".to_owned(), "app://game".to_owned()]).is_ok());
    }
}

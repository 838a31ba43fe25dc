//! Where a request may go, as far as its URL tells.

use super::addresses::is_public;
use http::Uri;
use std::fmt;
use std::net::IpAddr;

/// The longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;

/// What is allowed beyond HTTPS to public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Any address and port; HTTP without TLS, too.
    pub private: bool,
    /// HTTP without TLS.
    pub http: bool,
    /// Addresses that are allowed though they aren't public.
    pub addresses: Vec<IpAddr>,
}

impl Rules {
    /// Whether a connection to the address is allowed.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        self.private || is_public(address) || self.addresses.contains(&address.to_canonical())
    }

    /// Whether the port is allowed: those of web servers, and those that any program may open. The
    /// others belong to protocols that a request could be mistaken for.
    fn allow_port(&self, port: u16) -> bool {
        matches!(port, 80 | 443 | 1_024..) || (self.private && port != 0)
    }
}

/// Why a URL is refused; the text says what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`URL_BYTES_MAX`].
    #[error("is longer than 2048 bytes")]
    Long,
    /// No absolute URL with a host, or one with a fragment.
    #[error("must be a whole URL with a host and without a fragment: https://example.com/path")]
    Malformed,
    /// Neither HTTPS nor allowed HTTP.
    #[error("must begin with https://")]
    Scheme,
    /// It has a user name or password, which would be in logs and lists.
    #[error("must not have a user name or password: the signature tells who sends")]
    Credentials,
    /// A port that isn't allowed.
    #[error("must use port 443, 80, or one from 1024 up")]
    Port,
    /// Its host is an address that isn't allowed.
    #[error("must name a host of the public internet")]
    Address,
}

/// A URL that may be sent to, as far as it tells: what its name resolves to is checked with each
/// connection. Debug shows the host alone: a path or query may be what the receiver knows us by.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    uri: Uri,
    host: String,
    port: u16,
}

impl Target {
    /// Checks a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, rules: &Rules) -> Result<Target, TargetError> {
        if text.len() > URL_BYTES_MAX {
            return Err(TargetError::Long);
        }
        if text.contains('#') {
            return Err(TargetError::Malformed);
        }
        let uri: Uri = text.parse().map_err(|_| TargetError::Malformed)?;
        let target = Target::of(uri)?;
        let secure = target.is_secure();
        if !secure && (target.uri.scheme_str() != Some("http") || !(rules.http || rules.private)) {
            return Err(TargetError::Scheme);
        }
        if !rules.allow_port(target.port) {
            return Err(TargetError::Port);
        }
        if target
            .address()
            .is_some_and(|address| !rules.allow(address))
        {
            return Err(TargetError::Address);
        }
        Ok(target)
    }

    /// The parts of an absolute URL.
    pub(super) fn of(uri: Uri) -> Result<Target, TargetError> {
        let authority = uri.authority().ok_or(TargetError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(TargetError::Credentials);
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return Err(TargetError::Malformed);
        }
        let written = authority.as_str()[authority.host().len()..].strip_prefix(':');
        let port = match (written, uri.scheme_str()) {
            (Some(port), _) => port.parse().map_err(|_| TargetError::Port)?,
            (None, Some("http")) => 80,
            (None, _) => 443,
        };
        let host = host.to_owned();
        Ok(Target { uri, host, port })
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 443 or 80 where the URL has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is HTTPS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// The address, where the host is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Target({}:{})", self.host, self.port)
    }
}

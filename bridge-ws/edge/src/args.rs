//! Flags and environment variables.

use chirm_bridge_ws::Origins;
use http::Uri;
use http::uri::{Authority, Scheme};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Serves browsers in front of remote Chirm gateways: WebSocket at /gateway, everything else handed
/// on. One line on standard output says when it is ready: `chirm-bridge-ws ready on http://…`.
///
/// Gateways must name this bridge in net.trusted_proxies; else they hold all of its browsers to the
/// limits of one address.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "chirm-bridge-ws", version)]
pub(crate) struct Args {
    /// A gateway: http://HOST:PORT (HTTP/2 in cleartext) or https://HOST[:PORT]. Repeat it, or
    /// separate with commas: new sessions go to the one that is well and has the fewest.
    #[arg(
        long,
        value_name = "URL",
        env = "CHIRM_BRIDGE_UPSTREAM",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) upstream: Vec<Target>,
    /// Certificates (PEM) of who signed those of https gateways, beside the system's own.
    #[arg(long, value_name = "FILE", env = "CHIRM_BRIDGE_UPSTREAM_CA")]
    pub(crate) upstream_ca: Option<PathBuf>,
    /// Where browsers connect.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "CHIRM_BRIDGE_LISTEN",
        default_value = "127.0.0.1:7310"
    )]
    pub(crate) listen: SocketAddr,
    /// The certificate's chain (PEM); looked at every 5 s, so a renewed one needs no restart.
    /// Without it the port speaks cleartext.
    #[arg(
        long,
        value_name = "FILE",
        env = "CHIRM_BRIDGE_TLS_CERT",
        requires = "tls_key"
    )]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(
        long,
        value_name = "FILE",
        env = "CHIRM_BRIDGE_TLS_KEY",
        requires = "tls_cert"
    )]
    pub(crate) tls_key: Option<PathBuf>,
    /// Whose pages may connect by WebSocket, beside those that came from this host:
    /// https://app.example.com, or * for all. Repeat it, or separate with commas.
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "CHIRM_BRIDGE_ALLOWED_ORIGIN",
        value_delimiter = ','
    )]
    pub(crate) allowed_origin: Vec<String>,
    /// A reverse proxy in front: the last address in its x-forwarded-for is the client's, and its
    /// connections aren't held to --connections-per-address. Repeat it, or separate with commas.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "CHIRM_BRIDGE_TRUSTED_PROXY",
        value_delimiter = ','
    )]
    pub(crate) trusted_proxy: Vec<IpAddr>,
    /// Browsers' connections at once; the newest are closed.
    #[arg(
        long,
        value_name = "COUNT",
        env = "CHIRM_BRIDGE_CONNECTIONS",
        default_value_t = 15_000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) connections: u32,
    /// Of them, those of one address (IPv6: of a /64); 0: as many as there may be in all.
    #[arg(
        long,
        value_name = "COUNT",
        env = "CHIRM_BRIDGE_CONNECTIONS_PER_ADDRESS",
        default_value_t = 50
    )]
    pub(crate) connections_per_address: u32,
    /// Sessions and requests that share a connection to a gateway: below its
    /// limits.streams_per_connection.
    #[arg(
        long,
        value_name = "COUNT",
        env = "CHIRM_BRIDGE_STREAMS_PER_CONNECTION",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub(crate) streams_per_connection: u32,
    /// Connections that are kept open to each gateway; more are opened as they fill.
    #[arg(
        long,
        value_name = "COUNT",
        env = "CHIRM_BRIDGE_WARM_CONNECTIONS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=64)
    )]
    pub(crate) warm_connections: u32,
    /// Connections to one gateway at most.
    #[arg(
        long,
        value_name = "COUNT",
        env = "CHIRM_BRIDGE_UPSTREAM_CONNECTIONS",
        default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub(crate) upstream_connections: u32,
    /// Over how long browsers are asked to go after SIGTERM, in milliseconds.
    #[arg(
        long,
        value_name = "MS",
        env = "CHIRM_BRIDGE_DRAIN_MS",
        default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(..=600_000)
    )]
    pub(crate) drain_ms: u64,
    /// What is logged: error, warn, info, debug, trace, or directives as
    /// info,chirm_bridge_ws_edge=debug.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "CHIRM_BRIDGE_LOG_LEVEL",
        default_value = "info"
    )]
    pub(crate) log_level: String,
    /// Lines for people or for programs.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "CHIRM_BRIDGE_LOG_FORMAT",
        default_value = "text"
    )]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Args {
    /// Whose pages may connect.
    pub(crate) fn origins(&self) -> anyhow::Result<Origins> {
        Origins::new(&self.allowed_origin)
            .map_err(|problem| anyhow::anyhow!("--allowed-origin: {problem}"))
    }

    /// How the port treats browsers.
    pub(crate) fn port(&self, first_request: Duration) -> anyhow::Result<chirm_net::Options> {
        let net = chirm_net::Net {
            trusted_proxies: self.trusted_proxy.clone(),
            drain: self.drain(),
            ..Default::default()
        };
        let per_address =
            (self.connections_per_address > 0).then_some(self.connections_per_address as usize);
        let limits = chirm_net::Limits {
            connections: self.connections as usize,
            connections_per_address: per_address,
            ..Default::default()
        };
        let options = chirm_net::Options::new(net, limits, first_request);
        match (self.tls_cert.clone(), self.tls_key.clone()) {
            (Some(cert), Some(key)) => Ok(options.with_tls(chirm_net::Tls { cert, key })?),
            _ => Ok(options),
        }
    }

    /// Over how long browsers are asked to go.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

/// Where a gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    /// Without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authority: Authority,
}

impl Target {
    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "give http://HOST:PORT or https://HOST[:PORT], without a path";
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("{error}: {expected}"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(expected.to_owned()),
        };
        let authority = uri.authority().ok_or(expected)?.clone();
        // The value isn't repeated: what stands before the @ may be secret.
        if authority.as_str().contains('@') {
            return Err(format!("it names a user or password: {expected}"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(expected.to_owned());
        }
        let port = match (authority.port(), tls) {
            (Some(port), _) => port.as_str().parse().map_err(|_| expected)?,
            (None, true) => 443,
            (None, false) => return Err(format!("it names no port: {expected}")),
        };
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return Err(expected.to_owned());
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            authority,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn targets_are_read() {
        let target: Target = "https://gateway.example.com".parse().unwrap();
        assert_eq!((target.tls, target.port), (true, 443));
        let target: Target = "http://[::1]:7300/".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 7300));
        assert_eq!(target.to_string(), "http://[::1]:7300");
        for wrong in [
            "",
            "gateway:7300",
            "ftp://gateway:7300",
            "http://gateway",
            "http://gateway:99999",
            "http://gateway:7300/path",
            "http://gateway:7300/?a=b",
            "http://user:secret@gateway:7300",
        ] {
            let problem = wrong.parse::<Target>().unwrap_err();
            assert!(problem.contains("http://HOST:PORT"), "{wrong}: {problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn wrong_values_are_named() {
        let base = ["chirm-bridge-ws", "--upstream", "http://gateway:7300"];
        let parse = |more: &[&str]| Args::try_parse_from(base.iter().chain(more));
        assert!(parse(&[]).is_ok());
        for (flag, value) in [
            ("--streams-per-connection", "0"),
            ("--listen", "7310"),
            ("--trusted-proxy", "proxy"),
            ("--tls-cert", "cert.pem"),
            ("--drain-ms", "soon"),
            ("--log-format", "xml"),
        ] {
            let problem = parse(&[flag, value]).unwrap_err().to_string();
            let named = problem.contains(flag) || problem.contains("--tls-key");
            assert!(named, "{flag} {value}: {problem}");
        }
        let wrong = parse(&["--allowed-origin", "app.example.com"]).unwrap();
        let problem = wrong.origins().unwrap_err().to_string();
        assert!(problem.contains("--allowed-origin"), "{problem}");
    }
}

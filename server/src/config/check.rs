//! What makes no sense, though it is of the right kind.

use super::{Config, Error};

impl Config {
    /// Refuses what would make a server that can't work, or one that is open by mistake.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.check_limits()?;
        self.check_admin()?;
        self.origins()?;
        self.webhooks.check()?;
        self.tracing.check()?;
        self.check_stack()?;
        let gateway = &self.gateway;
        ensure(
            gateway.deadline > gateway.heartbeat,
            "gateway.deadline_ms",
            || "must be above gateway.heartbeat_ms, or every client is closed".to_owned(),
        )?;
        let net = &self.net;
        for (value, key) in [
            (gateway.heartbeat, "gateway.heartbeat_ms"),
            (gateway.identify_deadline, "gateway.identify_deadline_ms"),
            (net.detect_timeout, "net.detect_timeout_ms"),
            (net.handshake_timeout, "net.handshake_timeout_ms"),
            (net.header_timeout, "net.header_timeout_ms"),
            (net.request_timeout, "net.request_timeout_ms"),
            (net.answer_timeout, "net.answer_timeout_ms"),
            (net.idle_timeout, "net.idle_timeout_ms"),
            (net.keepalive, "net.keepalive_ms"),
            (net.keepalive_timeout, "net.keepalive_timeout_ms"),
            (net.tls_reload, "net.tls_reload_ms"),
            (self.auth.access_ttl, "auth.access_ttl_s"),
            (self.auth.refresh_ttl, "auth.refresh_ttl_s"),
            (self.limits.send_window, "limits.send_window_ms"),
        ] {
            ensure(!value.is_zero(), key, || "must be above 0".to_owned())?;
        }
        self.hooks.check()?;
        self.check_jwt()
    }

    fn check_admin(&self) -> Result<(), Error> {
        let Some(at) = self.admin_listen.map(|at| at.ip()) else {
            return Ok(());
        };
        let safe = at.to_canonical().is_loopback() || self.admin_has_tls(at) || self.dev;
        ensure(safe, "admin_listen", || {
            format!("{at} isn't loopback, and without [tls] keys would go in cleartext")
        })
    }

    fn check_limits(&self) -> Result<(), Error> {
        let limits = &self.limits;
        for (value, key) in [
            (limits.connections, "limits.connections"),
            (
                limits.connections_per_address,
                "limits.connections_per_address",
            ),
            (limits.outbound_queue_events, "limits.outbound_queue_events"),
            (limits.outbound_queue_bytes, "limits.outbound_queue_bytes"),
            (limits.ring_events, "limits.ring_events"),
            (limits.request_bytes_max, "limits.request_bytes_max"),
            (limits.identify_bytes_max, "limits.identify_bytes_max"),
            (
                self.net.stream_send_buffer_bytes,
                "net.stream_send_buffer_bytes",
            ),
            (limits.header_bytes_max as usize, "limits.header_bytes_max"),
            (
                limits.streams_per_connection as usize,
                "limits.streams_per_connection",
            ),
            (
                limits.requests_per_connection,
                "limits.requests_per_connection",
            ),
            (limits.calls, "limits.calls"),
            (
                limits.client_frames_per_minute as usize,
                "limits.client_frames_per_minute",
            ),
            (limits.sends_per_window as usize, "limits.sends_per_window"),
            (limits.calls_per_minute as usize, "limits.calls_per_minute"),
            (
                limits.creates_per_minute as usize,
                "limits.creates_per_minute",
            ),
            (limits.service_factor as usize, "limits.service_factor"),
            (limits.audit_days as usize, "limits.audit_days"),
        ] {
            ensure(value > 0, key, || "must be above 0".to_owned())?;
        }
        for (value, key) in [
            (limits.stream_window_bytes, "limits.stream_window_bytes"),
            (
                limits.connection_window_bytes,
                "limits.connection_window_bytes",
            ),
        ] {
            ensure((65_535..=i32::MAX as u32).contains(&value), key, || {
                format!("{value} is outside HTTP/2's 65535 to 2147483647")
            })?;
        }
        Ok(())
    }

    fn check_jwt(&self) -> Result<(), Error> {
        let jwt = &self.auth.jwt;
        ensure(
            !jwt.is_enabled() || !jwt.audience.is_empty(),
            "auth.jwt.audience",
            || {
                "must be set when there is a key, or tokens made for others would be taken"
                    .to_owned()
            },
        )?;
        for (index, key) in jwt.keys.iter().enumerate() {
            let kid = &key.kid;
            ensure(
                key.key.is_some() != key.key_file.is_some(),
                "auth.jwt.keys",
                || format!("{kid:?} needs either key or key_file"),
            )?;
            ensure(
                jwt.keys[..index].iter().all(|other| other.kid != *kid),
                "auth.jwt.keys",
                || format!("{kid:?} stands there twice"),
            )?;
        }
        Ok(())
    }
}

pub(super) fn ensure(
    holds: bool,
    key: &'static str,
    problem: impl FnOnce() -> String,
) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::Value {
            key,
            problem: problem(),
        })
    }
}

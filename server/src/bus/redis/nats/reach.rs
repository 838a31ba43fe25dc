//! How NATS is reached.

use super::super::{OPEN_WITHIN, OpenError, SILENT};
use crate::config::Secret;
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use percent_encoding::percent_decode_str;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long connecting to one address may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The wait before connecting again: from the first to the last, doubled each time.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// The server is asked whether it lives when it was silent for so long; without an answer to three
/// such questions the connection counts as lost.
const PING_EVERY: Duration = Duration::from_secs(1);
/// What is asked of the server and not yet written.
const QUEUED_MAX: usize = 4_096;
/// Events of one topic that came and were not yet looked at.
const UNREAD_MAX: usize = 1_024;

/// How NATS is reached.
#[derive(Clone, Debug, Default)]
pub struct NatsSettings {
    /// Where it is: `nats://` or `tls://`, with user and password or not. Of a cluster some of its
    /// servers; the others are learnt from them.
    pub urls: Vec<Secret>,
    /// As whom; empty: as an address says, or nobody.
    pub user: String,
    /// The user's password.
    pub password: Option<Secret>,
    /// What is shown in place of user and password.
    pub token: Option<Secret>,
    /// What stands before every subject.
    pub prefix: String,
}

/// What the client tells of itself.
#[derive(Default)]
pub(super) struct Signals {
    /// Something is to be looked at.
    pub(super) wake: Notify,
    /// Events came that nobody took in time, and are gone.
    pub(super) dropped: AtomicBool,
}

impl Signals {
    /// Must be quick: what finds the client's queue full isn't told.
    fn note(&self, event: &Event) {
        match event {
            Event::SlowConsumer(_) => self.dropped.store(true, Ordering::SeqCst),
            Event::ServerError(error) => tracing::warn!(%error, "NATS refused something"),
            _ => {}
        }
        self.wake.notify_one();
    }
}

/// Connects. Answers the addresses, to be shown, too.
pub(super) async fn connect(
    settings: &NatsSettings,
    signals: &Arc<Signals>,
) -> Result<(Client, String), OpenError> {
    let (servers, login) = read(settings)?;
    let shown: Vec<String> = servers.iter().map(shown).collect();
    let shown = shown.join(", ");
    let connecting = options(login, signals).connect(servers);
    match timeout(OPEN_WITHIN, connecting).await {
        Ok(Ok(client)) => Ok((client, shown)),
        Ok(Err(error)) => Err(OpenError::nats(&shown, &problem(&error))),
        Err(_) => Err(OpenError::nats(&shown, &hint(SILENT))),
    }
}

fn hint(problem: &str) -> String {
    format!("{problem} (nats.urls)")
}

fn problem(error: &ConnectError) -> String {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "it refuses user, password or token: those of nats.user, nats.password and nats.token, \
             or in nats.urls"
                .into()
        }
        ConnectErrorKind::TimedOut => hint(SILENT),
        _ => hint(&format!(
            "{error}; is it running, and is the address right?"
        )),
    }
}

fn shown(server: &ServerAddr) -> String {
    format!("{}:{}", server.host(), server.port())
}

/// As whom.
enum Login {
    Nobody,
    User(String, String),
    Token(String),
}

/// The addresses without names and passwords, which the client might log; and those.
fn read(settings: &NatsSettings) -> Result<(Vec<ServerAddr>, Login), OpenError> {
    let wrong = "one isn't nats://USER:PASSWORD@HOST:PORT, or tls://…";
    let wrong = || OpenError::setting("nats.urls", wrong);
    let mut servers = Vec::new();
    let mut login = Login::Nobody;
    for url in &settings.urls {
        let server: ServerAddr = url.expose().parse().map_err(|_| wrong())?;
        if server.is_websocket() || server.host().is_empty() {
            return Err(wrong());
        }
        if let (Login::Nobody, Some(user)) = (&login, server.username()) {
            let text = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            login = match server.password() {
                Some(password) => Login::User(text(user), text(password)),
                None => Login::Token(text(user)),
            };
        }
        let mut bare = server.into_inner();
        bare.set_username("").map_err(|()| wrong())?;
        bare.set_password(None).map_err(|()| wrong())?;
        servers.push(ServerAddr::from_url(bare).map_err(|_| wrong())?);
    }
    if servers.is_empty() {
        return Err(OpenError::setting("nats.urls", "no address is named"));
    }
    let expose = |secret: &Secret| secret.expose().to_owned();
    if let Some(token) = &settings.token {
        login = Login::Token(expose(token));
    } else if !settings.user.is_empty() {
        let password = settings.password.as_ref().map(expose);
        login = Login::User(settings.user.clone(), password.unwrap_or_default());
    }
    Ok((servers, login))
}

fn options(login: Login, signals: &Arc<Signals>) -> ConnectOptions {
    let (noting, living) = (Arc::downgrade(signals), Arc::downgrade(signals));
    let options = ConnectOptions::new()
        .name("chirm")
        .connection_timeout(CONNECT_WITHIN)
        .ping_interval(PING_EVERY)
        .client_capacity(QUEUED_MAX)
        .subscription_capacity(UNREAD_MAX)
        .max_reconnects(None)
        .reconnect_delay_callback(move |attempts| wait(attempts, &living))
        .event_callback(move |event| {
            if let Some(signals) = noting.upgrade() {
                signals.note(&event);
            }
            std::future::ready(())
        });
    match login {
        Login::Nobody => options,
        Login::User(user, password) => options.user_and_password(user, password),
        Login::Token(token) => options.token(token),
    }
}

/// How long to wait before the next attempt.
fn wait(attempts: usize, living: &Weak<Signals>) -> Duration {
    if living.strong_count() == 0 {
        // The bus is gone, and the client can't be told to stop trying.
        return Duration::from_secs(u64::from(u32::MAX));
    }
    let doubled = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let wait = AGAIN.0.saturating_mul(2_u32.saturating_pow(doubled));
    wait.min(AGAIN.1).mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(urls: &[&str]) -> NatsSettings {
        let secret = |url: &&str| serde_json::from_value((*url).into()).unwrap();
        NatsSettings {
            urls: urls.iter().map(secret).collect(),
            ..NatsSettings::default()
        }
    }

    #[test]
    fn names_and_passwords_are_taken_out_of_addresses() {
        let urls = ["nats://a%40b:p%2Fw@h:1", "tls://other"];
        let (servers, login) = read(&settings(&urls)).unwrap();
        let bare: Vec<_> = servers.iter().map(ServerAddr::as_url_str).collect();
        assert_eq!(bare, ["nats://h:1", "tls://other"]);
        let shown: Vec<_> = servers.iter().map(shown).collect();
        assert_eq!(shown, ["h:1", "other:4222"]);
        assert!(matches!(login, Login::User(user, word) if user == "a@b" && word == "p/w"));
        let (_, login) = read(&settings(&["nats://token@h"])).unwrap();
        assert!(matches!(login, Login::Token(token) if token == "token"));
        let named = NatsSettings {
            user: "other".into(),
            ..settings(&urls)
        };
        let (_, login) = read(&named).unwrap();
        assert!(matches!(login, Login::User(user, word) if user == "other" && word.is_empty()));
    }

    #[test]
    fn other_addresses_are_refused() {
        for url in ["http://a:hunter2@b", "ws://a:hunter2@b", "nats://", ""] {
            let error = read(&settings(&[url])).err().unwrap().to_string();
            assert!(error.contains("nats.urls"), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let none = read(&settings(&[])).err().unwrap().to_string();
        assert_eq!(none, "nats.urls: no address is named");
    }

    #[test]
    fn waits_are_bounded() {
        let signals = Arc::new(Signals::default());
        let living = Arc::downgrade(&signals);
        for attempts in [0, 1, 2, 9, usize::MAX] {
            assert!(wait(attempts, &living) <= AGAIN.1);
        }
        assert!(wait(50, &living) >= AGAIN.1 / 2);
    }
}

//! Keeps a connection alive: it is asked each second, and built anew when it is silent or broken,
//! however long that takes.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, PushInfo};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How often a connection is asked whether it lives, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(1);
/// So many questions without an answer end a connection.
const MISSES_MAX: u32 = 2;
/// How long connecting may take.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The wait before connecting again: from the first to the last, doubled each time.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// What a connection is for.
pub(super) trait Role: Send + Sync + 'static {
    /// Something that the server said unasked.
    fn pushed(&self, line: &Line, number: u64, info: PushInfo);
    /// It is there; to be done before it counts as settled.
    fn up(&self, line: &Line, live: Live) -> impl Future<Output = ()> + Send;
    /// It is gone.
    fn down(&self, number: u64);
}

/// A connection that answers.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    /// Another one for each connection of this process; above 0.
    pub(super) number: u64,
}

/// A connection to one server, or the lack of one.
pub(super) struct Line {
    /// Host and port.
    pub(super) address: String,
    client: Client,
    live: RwLock<Option<Live>>,
    broken: Notify,
    /// `up` is to be done once more.
    pub(super) renew: Notify,
}

impl Line {
    pub(super) fn new(client: Client) -> Self {
        Self {
            address: client.get_connection_info().addr().to_string(),
            client,
            live: RwLock::new(None),
            broken: Notify::new(),
            renew: Notify::new(),
        }
    }

    /// The connection, if there is one now.
    pub(super) fn live(&self) -> Option<Live> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.clone()
    }

    /// Has it built anew.
    pub(super) fn is_broken(&self) {
        self.broken.notify_one();
    }

    fn set(&self, live: Option<Live>) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
    }

    async fn connect<R: Role>(self: &Arc<Self>, role: &Arc<R>) -> Result<Live, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (line, role) = (Arc::downgrade(self), role.clone());
        let pushed = move |info: PushInfo| -> Result<(), ()> {
            let line = line.upgrade().ok_or(())?;
            role.pushed(&line, number, info);
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(None)
            .set_push_sender(pushed);
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        match timeout(CONNECT_WITHIN, connecting).await {
            Ok(Ok(connection)) => Ok(Live { connection, number }),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".into()),
        }
    }

    /// Keeps it alive for ever.
    pub(super) async fn keep<R: Role>(self: Arc<Self>, role: Arc<R>) {
        let mut wait = AGAIN.0;
        loop {
            match self.connect(&role).await {
                Ok(live) => {
                    tracing::debug!(address = self.address, "connected to Redis");
                    wait = AGAIN.0;
                    let number = live.number;
                    self.set(Some(live.clone()));
                    let why = self.serve(&*role, live).await;
                    self.set(None);
                    role.down(number);
                    metrics::counter!("chirm_redis_disconnects_total").increment(1);
                    tracing::warn!(address = self.address, why, "lost the connection to Redis");
                }
                Err(error) => {
                    tracing::debug!(address = self.address, error, "Redis can't be reached");
                }
            }
            sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            wait = (wait * 2).min(AGAIN.1);
        }
    }

    /// Until it is broken. Answers why.
    async fn serve<R: Role>(&self, role: &R, live: Live) -> &'static str {
        let settle = async {
            loop {
                role.up(self, live.clone()).await;
                self.renew.notified().await;
            }
        };
        let watch = async {
            let mut misses = 0;
            while misses < MISSES_MAX {
                let mut connection = live.connection.clone();
                let ping = redis::cmd("PING");
                let asked = ping.query_async::<()>(&mut connection);
                match timeout(PING_EVERY, asked).await {
                    Ok(Ok(())) => {
                        misses = 0;
                        sleep(PING_EVERY).await;
                    }
                    Ok(Err(error)) if error.is_unrecoverable_error() => return "closed",
                    // It answers: that it is busy, or loads what it has on disk.
                    Ok(Err(_)) => sleep(PING_EVERY).await,
                    Err(_) => misses += 1,
                }
            }
            "silent"
        };
        tokio::select! {
            () = settle => "ended",
            why = watch => why,
            () = self.broken.notified() => "broken",
        }
    }
}

//! How a process that is about to stop lets its clients go: each is asked to, at a random moment
//! of the drain, and is closed a little later.

use bytes::Bytes;
use chirm_proto::v1;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use prost::Message as _;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

/// Between `Reconnect` and the end of a stream.
const GOODBYE: Duration = Duration::from_millis(500);

/// A drain that may come. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Over how long it is spread, once it has begun.
    over: watch::Sender<Option<Duration>>,
    sockets: TaskTracker,
}

/// What one socket does in a drain, step by step; after the last it closes.
pub(crate) type Goodbye = BoxStream<'static, Step>;

/// A step of a goodbye.
pub(crate) enum Step {
    /// The drain has begun.
    Begun,
    /// This is to be sent.
    Frame(Bytes),
}

impl Drain {
    /// One that hasn't begun.
    #[must_use]
    pub fn new() -> Self {
        Self {
            over: watch::Sender::new(None),
            sockets: TaskTracker::new(),
        }
    }

    /// Begins: whoever has identified is sent `Reconnect` within `over` and is closed half a second
    /// later; who hasn't, or comes from now on, is closed at once.
    pub fn begin(&self, over: Duration) {
        self.over.send_replace(Some(over));
        self.sockets.close();
    }

    /// Waits for the end of all sockets, after it has begun.
    pub async fn ended(&self) {
        self.sockets.wait().await;
    }

    pub(crate) fn track(&self, life: impl Future<Output = ()> + Send + 'static) {
        self.sockets.spawn(life);
    }

    pub(crate) fn goodbye(&self) -> Goodbye {
        let mut over = self.over.subscribe();
        let begun = async move {
            let begun = over.wait_for(Option::is_some).await;
            let over = begun.map_or(None, |over| *over);
            // All clones are gone: it can't begin any more.
            let Some(over) = over else {
                return std::future::pending().await;
            };
            over
        };
        let steps = stream::once(begun).flat_map(|over| {
            let asked = async move {
                sleep(rand::random_range(Duration::ZERO..=over)).await;
                Step::Frame(reconnect(rand::random_range(Duration::ZERO..=GOODBYE)))
            };
            let begun = stream::once(std::future::ready(Step::Begun));
            begun.chain(stream::once(asked))
        });
        // A sleep counts from when it is made: within the future, so when it is its turn.
        let last = stream::once(async { sleep(GOODBYE).await });
        let last = last.filter_map(|()| std::future::ready(None));
        steps.chain(last).boxed()
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

fn reconnect(after: Duration) -> Bytes {
    let after = prost_types::Duration::try_from(after).ok();
    let frame = Some(v1::server_frame::Frame::Reconnect(v1::Reconnect { after }));
    v1::ServerFrame { frame }.encode_to_vec().into()
}

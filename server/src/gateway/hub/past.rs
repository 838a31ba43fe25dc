//! What the bus and the store remember of topics. Reading it may take time.

use super::Error;
use crate::bus::{Feed, Publication, Since, Subscriber, Topics};
use crate::gateway::wire;
use crate::model::{Position, TopicKey, TopicKind};
use crate::store::Outbox;
use std::sync::Arc;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Past {
    bus: Arc<dyn Topics>,
    store: Arc<dyn Outbox>,
}

impl Past {
    pub(super) fn new(bus: Arc<dyn Topics>, store: Arc<dyn Outbox>) -> Self {
        Self { bus, store }
    }

    pub(super) fn subscriber(&self) -> (Arc<dyn Subscriber>, Feed) {
        self.bus.subscriber()
    }

    /// Subscribes to a topic, then answers its position: of a server or user the store's.
    pub(super) async fn subscribe(
        &self,
        topic: TopicKey,
        subscriber: &dyn Subscriber,
    ) -> Result<Position, Error> {
        let position = subscriber.subscribe(topic).await?;
        if topic.kind == TopicKind::Channel {
            return Ok(position);
        }
        Ok(self.store.topic_position(topic).await?)
    }

    /// What came after a position, up to `now` at least: from the bus or, of servers and users,
    /// the store.
    pub(super) async fn since(
        &self,
        topic: TopicKey,
        position: Position,
        now: Position,
    ) -> Result<Option<Vec<Arc<Publication>>>, Error> {
        let is_stored = topic.kind != TopicKind::Channel;
        if let Since::Events(events) = self.bus.since(topic, position).await? {
            let last = events.last().map_or(position, |event| event.position);
            // A node that died, or that Redis was away from, may have committed what it never
            // brought to the bus.
            if !is_stored || (last.epoch == now.epoch && last.seq >= now.seq) {
                return Ok(Some(events));
            }
        }
        if !is_stored {
            return Ok(None);
        }
        let Some(events) = self.store.topic_since(topic, position).await? else {
            return Ok(None);
        };
        let publication = |event| Arc::new(wire::publication(event));
        Ok(Some(events.iter().map(publication).collect()))
    }
}

//! A node that listens to a topic.

use super::server::DEADLINE;
use crate::bus::suite::Opened;
use crate::bus::{Delivery, Feed, Subscriber, Topics};
use crate::model::{Position, TopicKey};
use std::sync::Arc;
use tokio::time::timeout;

pub(super) struct Watch {
    pub(super) bus: Opened,
    pub(super) feed: Feed,
    _subscriber: Arc<dyn Subscriber>,
}

impl Watch {
    /// The node is subscribed to the topic.
    pub(super) async fn on(bus: Opened, topic: TopicKey) -> Watch {
        let (subscriber, feed) = bus.handle.topics.subscriber();
        subscriber.subscribe(topic).await.unwrap();
        Watch {
            bus,
            feed,
            _subscriber: subscriber,
        }
    }

    pub(super) fn topics(&self) -> &dyn Topics {
        &*self.bus.handle.topics
    }

    /// Waits until something comes that is as it should be.
    pub(super) async fn hears(&mut self, what: impl Fn(&Delivery) -> bool) {
        let hearing = async { while !what(&self.feed.recv().await.expect("the feed ended")) {} };
        timeout(DEADLINE, hearing).await.expect("not heard");
    }

    pub(super) async fn hears_dirty(&mut self) {
        self.hears(|heard| matches!(heard, Delivery::Dirty(_)))
            .await;
    }

    pub(super) async fn hears_event(&mut self, position: Position) {
        self.hears(|heard| matches!(heard, Delivery::Event(e) if e.position == position))
            .await;
    }
}

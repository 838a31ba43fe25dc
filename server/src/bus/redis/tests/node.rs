//! A node on a Redis, for tests of the rules of ADR 17: one channel, one author, one nonce, and a
//! time that is the test's.

use super::{place_of, settings};
use crate::bus::redis::RedisSettings;
use crate::bus::suite::{Kept, START, draft};
use crate::bus::{
    Draft, Error, Handle, Looked, Operation, OperationKind, Overdue, Reserve, Reserved, Revise,
    Revised, Settled, Ticket,
};
use crate::clock::ManualClock;
use crate::frames;
use crate::model::{EventBody, Id, Message, Position, TopicKey};
use crate::store::Relay;
use std::sync::Arc;
use std::time::Duration;

pub(super) const CHANNEL: Id = 1;
pub(super) const AUTHOR: Id = 2;
pub(super) const NONCE: &str = "n";
pub(super) const TOPIC: TopicKey = TopicKey {
    kind: crate::model::TopicKind::Channel,
    id: CHANNEL,
};

pub(super) struct Node {
    pub(super) bus: Handle,
    pub(super) clock: Arc<ManualClock>,
    _relay: Arc<dyn Relay>,
}

pub(super) async fn node_at(settings: &RedisSettings) -> Node {
    node_of(settings, false).await
}

pub(super) async fn node_of(settings: &RedisSettings, is_new: bool) -> Node {
    let clock = Arc::new(ManualClock::new(START));
    let opened = place_of(settings, None, Kept::default(), (0, is_new), clock.clone()).await;
    Node {
        bus: opened.handle,
        clock,
        _relay: opened.relay,
    }
}

pub(super) async fn node() -> Node {
    node_at(&settings("CHIRM_TEST_REDIS")).await
}

pub(super) fn asked() -> Reserve {
    Reserve {
        channel: CHANNEL,
        author: AUTHOR,
        nonce: NONCE.into(),
        content_hash: 3,
        above: 0,
        repeat: false,
        heard: 0,
        looked: None,
    }
}

pub(super) fn operation(kind: OperationKind, message: Id, revision: Id, epoch: i64) -> Operation {
    let is_send = kind == OperationKind::Create;
    Operation {
        kind,
        channel: CHANNEL,
        message,
        revision,
        author: if is_send { AUTHOR } else { 0 },
        nonce: if is_send { NONCE.into() } else { String::new() },
        epoch,
        began: 0,
    }
}

pub(super) fn send(ticket: Ticket) -> Operation {
    Operation {
        began: ticket.began,
        ..operation(OperationKind::Create, ticket.id, 0, ticket.epoch)
    }
}

pub(super) fn telling(operation: &Operation, deleted: bool) -> Draft {
    let message = Message {
        id: operation.message,
        channel_id: CHANNEL,
        ..Message::default()
    };
    let body = match deleted {
        true => EventBody::MessageDeleted(message),
        false => EventBody::MessageCreated(message),
    };
    Draft {
        payload: frames::encode_body(&body),
        operation: Some(operation.clone()),
        ..draft(TOPIC)
    }
}

impl Node {
    pub(super) async fn reserve(&self, reserve: &Reserve) -> Reserved {
        self.bus
            .reservations
            .reserve(reserve.clone())
            .await
            .unwrap()
    }

    /// Reserves; the store knows of this nonce.
    pub(super) async fn reserve_knowing(
        &self,
        mut reserve: Reserve,
        nonce: Option<Id>,
    ) -> Reserved {
        let Reserved::Look(epoch) = self.reserve(&reserve).await else {
            panic!("it didn't ask")
        };
        reserve.looked = Some(Looked {
            epoch,
            nonce,
            newest: 0,
        });
        self.reserve(&reserve).await
    }

    pub(super) async fn new_ticket(&self) -> Ticket {
        match self.reserve_knowing(asked(), None).await {
            Reserved::New(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn revise(&self, kind: OperationKind, message: Id) -> Ticket {
        let revise = Revise {
            channel: CHANNEL,
            message,
            kind,
            above: message,
            looked: None,
        };
        match self.bus.reservations.revise(revise).await.unwrap() {
            Revised::New(ticket) => ticket,
            look @ Revised::Look(_) => panic!("{look:?}"),
        }
    }

    pub(super) async fn publish(&self, operation: &Operation) -> Result<Position, Error> {
        self.bus.topics.publish(telling(operation, false)).await
    }

    pub(super) async fn settle(
        &self,
        overdue: &Overdue,
        deleted: bool,
        named: Option<Id>,
    ) -> Settled {
        let draft = telling(&overdue.operation, deleted);
        self.bus
            .pending
            .settle(overdue, draft, named)
            .await
            .unwrap()
    }

    pub(super) async fn overdue(&self) -> Vec<Overdue> {
        self.bus.pending.overdue(100).await.unwrap()
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The memory is lost: the epoch's key is gone.
    pub(super) async fn forget(&self, settings: &RedisSettings) {
        let url = settings.urls[0].expose();
        let client = redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let keys = crate::bus::redis::keys::Keys::new(&settings.prefix);
        let mut delete = redis::cmd("DEL");
        delete.arg(&keys.of_topic(TOPIC)[0]);
        delete.query_async::<()>(&mut connection).await.unwrap();
    }
}

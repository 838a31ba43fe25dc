//! Holds a backend to the contracts of [`crate::bus`]. A backend says how it is opened ([`Place`])
//! and names itself in `contract_suite!`; each test here is one sentence of a contract.

pub(crate) mod presences;
pub(crate) mod relayed;
pub(crate) mod reservations;
pub(crate) mod rings;
pub(crate) mod sessions;
pub(crate) mod topics;

use super::{Delivery, Draft, Feed, Handle, Publication};
use crate::clock::{Clock as _, ManualClock};
use crate::model::{Id, Position, SNOWFLAKE_EPOCH_MS, Signal, TopicKey};
use crate::store::Relay;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// How long a session that ended is shown as present.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// What a ring is told to keep: whichever bound is reached first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            events: 1_000,
            bytes: 1 << 20,
            age: Duration::from_secs(600),
        }
    }
}

/// A bus as a node opens it.
pub(crate) struct Opened {
    pub(crate) handle: Handle,
    /// Takes in the events of servers' and users' topics.
    pub(crate) relay: Arc<dyn Relay>,
}

/// A backend.
pub(crate) trait Place {
    /// Opens a bus that remembers nothing of one before. `highest` is the store's highest id.
    async fn open(kept: Kept, highest: Id, clock: Arc<ManualClock>) -> Opened;
}

/// An open bus, and the clock that it was given.
pub(crate) struct World {
    pub(crate) bus: Handle,
    pub(crate) relay: Arc<dyn Relay>,
    pub(crate) clock: Arc<ManualClock>,
}

/// What the wall clock shows at first.
pub(crate) const START: i64 = SNOWFLAKE_EPOCH_MS + 3_600_000;

impl World {
    pub(crate) async fn new<P: Place>() -> World {
        World::with::<P>(Kept::default(), 0).await
    }

    pub(crate) async fn with<P: Place>(kept: Kept, highest: Id) -> World {
        let clock = Arc::new(ManualClock::new(START));
        let Opened { handle, relay } = P::open(kept, highest, clock.clone()).await;
        World {
            bus: handle,
            relay,
            clock,
        }
    }

    /// Time passes.
    pub(crate) fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// What a bus does for some seconds after it may have lost its memory is over.
    pub(crate) async fn settle(&self, id: Id) {
        self.bus
            .topics
            .position(TopicKey::server(id))
            .await
            .unwrap();
        self.advance(Duration::from_secs(11));
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.wall_ms()
    }

    pub(crate) async fn publish(&self, topic: TopicKey) -> Position {
        self.bus.topics.publish(draft(topic)).await.unwrap()
    }
}

pub(crate) fn draft(topic: TopicKey) -> Draft {
    Draft {
        topic,
        payload: Bytes::new(),
        signal: Signal::None,
        message_id: 0,
        operation: None,
    }
}

/// The next event of a feed that is known to come.
pub(crate) async fn next(feed: &mut Feed) -> Arc<Publication> {
    match feed.recv().await {
        Some(Delivery::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

/// Makes a test of each sentence for a backend.
macro_rules! contract_suite {
    ($place:ty) => {
        $crate::bus::suite::contract_suite! { @all [] $place }
        // Of a bus that alone gives out ids, and so may go ahead of the clock as it must.
        $crate::bus::suite::contract_suite! { @tests [] $place;
            alone(reservations): [
                ids_rise_above_what_they_are_told_to,
                ids_far_ahead_of_the_clock_go_on,
            ]
        }
    };
    // Of a bus that several nodes share: what is far ahead of its clock it refuses.
    ($(#[$attribute:meta])+ shared $place:ty) => {
        $crate::bus::suite::contract_suite! { @all [$(#[$attribute])+] $place }
    };
    (@all $attributes:tt $place:ty) => {
        $crate::bus::suite::contract_suite! { @tests $attributes $place;
            topics(topics): [
                a_topic_keeps_its_epoch_from_before_its_first_event,
                positions_rise_by_one_and_are_delivered_in_order,
                of_many_who_publish_at_once_each_has_a_position,
                who_subscribes_twice_hears_once,
                subscribers_hear_of_their_own_topics,
                an_event_has_the_bytes_that_it_was_published_with,
                what_is_announced_has_no_position,
                what_a_full_feed_lost_is_told,
                a_subscriber_that_is_gone_stops_nobody,
                a_lost_memory_is_another_epoch,
            ]
            rings(rings): [
                since_is_complete_or_gone,
                a_position_of_another_epoch_or_of_the_future_is_gone,
                a_ring_keeps_so_many_bytes,
                a_ring_forgets_by_age,
                what_is_too_old_is_let_go_without_being_asked_for,
            ]
            relayed(relayed): [
                relayed_events_keep_their_positions,
                relayed_events_that_never_came_are_no_part_of_a_ring,
                a_relayed_topic_takes_on_the_epoch_of_its_events,
            ]
            reservations(reservations): [
                ids_rise_and_are_not_before_the_clock,
                ids_rise_whatever_the_clock_is_set_to,
                a_nonce_has_one_id,
                a_nonce_counts_for_its_author_and_channel_alone,
                without_a_nonce_nothing_repeats,
                of_many_at_once_with_one_nonce_one_is_new,
                of_many_at_once_each_has_its_own_id,
                a_nonce_given_back_is_the_next_ones,
                a_nonce_is_held_for_ten_minutes,
                a_revision_is_above_its_message_and_the_one_before,
            ]
            sessions(sessions): [
                a_session_is_believed_for_25_seconds,
                an_ended_session_stays_ended,
                an_ended_session_is_remembered_for_a_minute,
                an_ending_overtakes_what_is_put_meanwhile,
            ]
            presences(presences): [
                a_user_shows_the_most_present_of_its_sessions,
                a_reconnect_within_the_grace_shows_nothing,
                who_comes_back_hidden_is_hidden_at_once,
                who_came_back_before_it_was_gone_shows_as_it_came,
                who_hides_tells_nothing,
                who_does_nothing_for_five_minutes_is_idle,
                changes_within_a_tick_are_one,
                what_was_read_between_ticks_is_taken_back,
                a_lost_batch_shows,
                presence_equals_the_truth,
            ]
        }
    };
    (@tests $attributes:tt $place:ty; $($name:ident($part:ident): [$($test:ident,)*])*) => {
        $(mod $name {
            use super::*;
            $($crate::bus::suite::contract_suite! { @test $attributes $place, $part, $test })*
        })*
    };
    (@test [$($attribute:tt)*] $place:ty, $part:ident, $test:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        $($attribute)*
        async fn $test() {
            $crate::bus::suite::$part::$test::<$place>().await;
        }
    };
}
pub(crate) use contract_suite;

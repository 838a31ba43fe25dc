//! Holds a backend to the contracts of [`crate::store`]. A backend says how it is opened
//! ([`Place`]) and names itself in `contract_suite!`; each test here is one sentence of a contract.

pub(crate) mod channels;
pub(crate) mod events;
pub(crate) mod marks;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod moderation;
pub(crate) mod pages;
pub(crate) mod races;
pub(crate) mod read_states;
pub(crate) mod servers;
pub(crate) mod sessions;
pub(crate) mod users;
pub(crate) mod webhooks;

use super::{Account, Handle, Inserted, NewEvent, OutboxEvent, Relay};
use crate::clock::{Clock, ManualClock};
use crate::model::{
    Channel, ChannelType, EventBody, Id, Member, Mentions, Message, Metadata, Role,
    SNOWFLAKE_EPOCH_MS, Server, Session, SessionKind, TopicKey, User,
};
use std::sync::{Arc, Mutex};

/// Where a backend keeps what is its own. Opening it again finds what was there.
pub(crate) trait Place: Sized {
    /// An empty one.
    fn fresh() -> Self;
    /// Opens it. The one before was closed.
    async fn open(&self, relay: Arc<dyn Relay>, clock: Arc<dyn Clock>) -> Handle;
}

/// Keeps what was relayed.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<OutboxEvent>>);

impl Recorder {
    pub(crate) fn events(&self) -> Vec<OutboxEvent> {
        self.0.lock().unwrap().clone()
    }
}

impl Relay for Recorder {
    fn relay(&self, events: Vec<OutboxEvent>) {
        assert!(!events.is_empty(), "nothing isn't relayed");
        self.0.lock().unwrap().extend(events);
    }
}

/// An open store with users 1 to 3, a server (10, of user 1) and its channel 11.
pub(crate) struct World<P> {
    pub(crate) place: P,
    pub(crate) store: Handle,
    pub(crate) relay: Arc<Recorder>,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) const OWNER: Id = 1;
/// Those who have an account from the start.
pub(crate) const USERS: [Id; 3] = [OWNER, 2, 3];
pub(crate) const SERVER: Id = 10;
pub(crate) const CHANNEL: Id = 11;

impl<P: Place> World<P> {
    pub(crate) async fn new() -> World<P> {
        let place = P::fresh();
        let relay = Arc::new(Recorder::default());
        let clock = Arc::new(ManualClock::new(SNOWFLAKE_EPOCH_MS));
        let store = place.open(relay.clone(), clock.clone()).await;
        let world = World {
            place,
            store,
            relay,
            clock,
        };
        for user in USERS {
            world.account(user).await;
        }
        world.server(SERVER, OWNER).await;
        world
    }

    /// Closes the store and opens it again.
    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        self.store = self
            .place
            .open(self.relay.clone(), self.clock.clone())
            .await;
    }

    pub(crate) async fn account(&self, id: Id) {
        let made = self.store.create_account(account(id).into(), vec![]).await;
        assert!(made.unwrap().new);
    }

    /// Makes a server, and its first channel under the next id.
    pub(crate) async fn server(&self, id: Id, owner: Id) {
        let general = channel(id + 1, id, ChannelType::Text);
        let owner = member(id, owner, Role::Owner);
        let server = server(id, owner.user_id);
        let made = self
            .store
            .create_server(server, owner, general, None, 999, vec![]);
        made.await.unwrap();
    }

    pub(crate) async fn join(&self, server: Id, user: Id) {
        let member = member(server, user, Role::Member);
        let added = self.store.add_member(member, None, 1000, 1000, vec![]);
        assert!(added.await.unwrap().1);
    }

    pub(crate) async fn write(&self, id: Id) -> Message {
        let message = message(CHANNEL, id, OWNER, "");
        let inserted = self.store.insert(message.clone()).await.unwrap();
        assert_eq!(inserted, Inserted::New);
        message
    }
}

pub(crate) fn metadata() -> Metadata {
    [("hue".to_owned(), "\"blü\"".to_owned())].into()
}

pub(crate) fn account(id: Id) -> Account {
    Account {
        user: User {
            id,
            username: format!("User{id}"),
            display_name: format!("User {id}"),
            metadata: metadata(),
            ..User::default()
        },
        name_key: format!("user{id}"),
        password_hash: "$argon2id$".into(),
        external_id: String::new(),
        owner_id: 0,
    }
}

pub(crate) fn server(id: Id, owner_id: Id) -> Server {
    Server {
        id,
        name: format!("Server {id}"),
        description: "About".into(),
        owner_id,
        open: true,
        member_count: 1,
        metadata: metadata(),
    }
}

pub(crate) fn member(server_id: Id, user_id: Id, role: Role) -> Member {
    Member {
        server_id,
        user_id,
        role,
        joined_at: SNOWFLAKE_EPOCH_MS,
        timed_out_until: 0,
    }
}

pub(crate) fn channel(id: Id, server_id: Id, kind: ChannelType) -> Channel {
    Channel {
        id,
        server_id,
        kind,
        name: format!("channel-{id}"),
        description: "About".into(),
        rank: 0,
        member_ids: vec![],
        metadata: metadata(),
        slow_mode_s: 0,
    }
}

pub(crate) fn direct(id: Id, member_ids: &[Id]) -> Channel {
    Channel {
        member_ids: member_ids.to_vec(),
        name: String::new(),
        ..channel(id, 0, ChannelType::Direct)
    }
}

pub(crate) fn message(channel_id: Id, id: Id, author_id: Id, nonce: &str) -> Message {
    Message {
        id,
        channel_id,
        author_id,
        content: format!("Message {id}"),
        nonce: nonce.into(),
        ..Message::default()
    }
}

pub(crate) fn session(id: Id, user_id: Id, kind: SessionKind, last_seen_at: i64) -> Session {
    Session {
        id,
        user_id,
        kind,
        name: "Phone".into(),
        access_hash: [1; 32],
        access_expires_at: 5,
        refresh_family_hash: [4; 32],
        refresh_hash: [2; 32],
        refresh_expires_at: 6,
        previous_refresh_hash: [0; 32],
        refreshed_at: 7,
        created_at: 8,
        last_seen_at,
    }
}

/// An event of the topic that can be told by its number.
pub(crate) fn event(topic: TopicKey, number: Id) -> NewEvent {
    NewEvent {
        topic,
        body: EventBody::TopicAdded(TopicKey::channel(number)),
    }
}

/// Makes a test of each sentence for a backend. Attributes before the place are put on each test:
/// `#[ignore = "…"]`, for a backend that needs servers.
macro_rules! contract_suite {
    ($(#[$attribute:meta])* $place:ty) => {
        $crate::store::suite::contract_suite! { @tests [$(#[$attribute])*] $place;
            messages: [
                a_message_is_read_as_it_was_written,
                a_repeat_of_a_nonce_answers_the_earlier_message,
                of_many_at_once_with_one_nonce_one_is_new,
                an_insertion_is_queued_without_being_waited_for,
                a_nonce_counts_for_its_author_and_channel_alone,
                without_a_nonce_nothing_repeats,
                a_channel_that_is_gone_takes_no_message,
                an_id_is_taken_once,
                a_refused_message_leaves_its_neighbours_alone,
                the_highest_revision_wins,
                deleted_is_final_and_leaves_no_content,
                what_is_not_there_cannot_be_changed,
                the_highest_id_outlives_its_channel,
                an_author_is_erased_everywhere_step_by_step,
                a_nonce_is_remembered_for_a_day,
                repeats_beside_new_messages_are_told_apart,
                acknowledged_messages_outlive_a_restart,
            ]
            marks: [
                a_reaction_counts_once_a_user,
                reactions_that_come_and_go_at_once_are_counted_right,
                own_reactions_are_told_from_others,
                a_message_has_twenty_kinds_at_most,
                cleared_reactions_do_not_come_back,
                an_edit_keeps_what_stands_on_a_message,
                what_stands_on_a_message_goes_with_it,
                what_stands_on_messages_goes_with_their_channel,
                a_change_that_races_a_delete_leaves_nothing,
                pins_come_the_latest_first,
                a_channel_has_fifty_pins_at_most,
            ]
            pages: [
                a_page_knows_its_ends,
                a_page_names_the_deleted_in_its_range,
                around_splits_evenly_and_fills_up,
                a_thousand_deleted_end_a_page_but_not_the_walk,
                a_deleted_channel_has_no_pages,
                pages_concatenate_while_writes_go_on,
            ]
            servers: [
                a_server_comes_with_its_owner_and_channel,
                a_request_repeated_answers_the_first_server,
                a_request_is_forgotten_after_a_day,
                a_server_is_changed_and_deleted,
                joining_counts_and_is_idempotent,
                bounds_of_members_and_servers_hold,
                an_invitation_is_spent_by_its_uses,
                an_invitation_ends,
                a_server_has_a_thousand_open_invitations_at_most,
                open_invitations_are_listed_by_code,
                a_request_repeated_answers_the_first_invitation,
                a_ban_takes_out_and_keeps_out,
                a_role_is_set_and_ownership_handed_on,
                leaving_takes_out_of_private_channels,
                members_are_listed_by_id,
                servers_of_a_user_are_listed_by_id,
                who_is_in_many_servers_makes_no_more,
                admins_are_told_from_members,
            ]
            members: [
                members_are_found_among_users,
            ]
            channels: [
                a_channel_is_read_as_it_was_made,
                channels_come_by_rank_and_id,
                a_request_repeated_answers_the_first_channel,
                two_users_have_one_direct_channel,
                a_server_has_so_many_channels_at_most,
                a_user_makes_so_many_direct_channels_at_most,
                a_channel_has_so_many_members_at_most,
                a_channel_is_changed_and_deleted,
                members_of_a_channel_come_and_go,
                direct_channels_come_newest_first,
            ]
            moderation: [
                a_change_of_a_server_brings_its_entry,
                a_change_of_a_channel_brings_its_entry,
                a_log_is_listed_newest_first_by_actor_and_action,
                what_moderators_left_is_trimmed,
                a_time_out_outlives_the_membership,
                an_authors_newest_and_a_nonces_message_are_found,
                many_messages_are_deleted_with_one_entry,
                an_authors_messages_are_deleted_step_by_step,
                a_report_is_open_until_it_is_closed,
                so_many_reports_are_open_at_most,
            ]
            races: [
                who_joins_at_once_is_counted_once_and_within_bounds,
                who_is_banned_while_it_joins_is_out,
                a_user_joins_no_more_servers_at_once_than_it_may,
                a_request_made_at_once_makes_one_thing,
                a_server_fills_up_at_once_and_no_further,
                of_two_who_write_to_each_other_at_once_one_channel_comes,
                a_member_of_no_server_is_in_none_of_its_channels,
                reports_made_at_once_keep_to_their_bounds,
                what_is_read_at_once_goes_nowhere_back,
                what_is_done_at_once_is_all_in_the_log,
            ]
            users: [
                an_account_is_found_by_each_key,
                names_and_external_ids_are_unique,
                a_profile_and_a_password_change,
                a_deleted_account_frees_its_name,
                nothing_begins_for_who_is_gone,
                blocks_count_both_ways_and_are_bounded,
                an_account_begins_with_all_or_nothing,
                a_request_repeated_answers_the_first_account_with_a_new_session,
                an_owner_has_so_many_accounts_at_most,
            ]
            sessions: [
                a_session_is_read_as_it_was_made,
                too_many_sessions_end_the_longest_unseen,
                a_session_needs_its_user_and_what_was_proved,
                a_new_password_ends_the_others,
                a_users_sessions_are_replaced_by_one,
                a_refresh_needs_the_hash_it_replaces,
                a_session_long_over_is_removed,
                service_keys_are_listed,
            ]
            read_states: [
                a_channel_is_read_up_to_when_its_user_joined,
                reading_never_goes_backwards_and_is_told,
                what_was_sent_is_noted_without_a_word,
                states_come_in_the_order_asked,
                a_mention_counts_until_it_is_read_edited_out_or_deleted,
                mentions_of_groups_count_by_rank,
                mentions_are_counted_to_a_thousand,
                a_mute_is_kept_and_told,
                read_states_go_with_who_no_longer_sees_the_channel,
                settings_are_kept_and_told,
                blocks_are_listed_by_id,
            ]
            events: [
                positions_rise_by_one_and_are_relayed_in_order,
                a_refused_change_has_no_events,
                events_after_a_position_are_all_there_or_none,
                a_topic_keeps_a_thousand_events,
                old_events_are_trimmed,
                positions_outlive_a_restart,
                snapshots_carry_their_position,
                a_closed_store_refuses,
                the_check_writes,
            ]
            webhooks: [
                a_webhook_is_read_as_it_was_written,
                what_is_asked_for_is_queued_and_nothing_else,
                who_bans_or_goes_is_told_too,
                of_a_lane_the_next_waits_for_the_first,
                what_nobody_takes_is_kept_and_queued_anew,
                what_waits_too_long_and_what_is_too_much_dies,
                a_webhook_goes_with_its_server,
            ]
        }
    };
    (@tests $attributes:tt $place:ty; $($part:ident: [$($name:ident,)*])*) => {
        $(mod $part {
            use super::*;
            $($crate::store::suite::contract_suite! { @test $attributes $place; $part $name })*
        })*
    };
    (@test [$(#[$attribute:meta])*] $place:ty; $part:ident $name:ident) => {
        #[tokio::test]
        $(#[$attribute])*
        async fn $name() {
            $crate::store::suite::$part::$name::<$place>().await;
        }
    };
}
pub(crate) use contract_suite;

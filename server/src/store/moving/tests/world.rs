//! A deployment with something in every table, and what is seen of it.

use super::*;
use crate::model::{
    AuditAction, AuditEntry, Ban, DirectMessages, Groups, Invite, Mentions, Report, ReportState,
    Role, SessionKind, UnixMs, UserSettings, Webhook, id_before,
};
use crate::store::suite::{account, channel, direct, member, message, server, session};
use crate::store::{Anchor, Handle, Inserted, Page, Reactor, ReadOf, ReportBounds, Settlement};

/// Messages of the channel [`CHANNEL`]: more than are written at once, over some buckets.
pub(in crate::store) const MESSAGES: i64 = 1_300;
pub(in crate::store) const SERVER: Id = 10;
pub(in crate::store) const CHANNEL: Id = 11;
const DIRECT: Id = 13;
const GONE: Id = 14;
const HOOK: Id = 50;

/// 40 days, which the messages are spread over.
const SPREAD_MS: i64 = 40 * 24 * 3_600_000;

/// The id of a message of the channel, the latest being of some minutes before `now`.
pub(in crate::store) fn id(now: UnixMs, number: i64) -> Id {
    id_before(now - SPREAD_MS + number * (SPREAD_MS / MESSAGES)) + 1 + number
}

/// The message of that number, as it is sent.
pub(in crate::store) fn sent(now: UnixMs, number: i64) -> Message {
    let nonce = match number % 3 {
        0 => String::new(),
        1 => format!("nonce \"{number}\""),
        _ => uuid::Uuid::from_u128(number.unsigned_abs().into()).to_string(),
    };
    let mut sent = message(CHANNEL, id(now, number), 1 + number % 2, &nonce);
    match number % 50 {
        7 => sent.metadata = crate::store::suite::metadata(),
        8 => sent.reply_to = id(now, number - 1),
        9 => {
            let Mentions { users, groups } = Mentions::of("<@3> <@1> <@everyone>");
            (sent.mentions, sent.groups) = (users, groups);
            assert!(sent.groups != Groups::default() && !sent.mentions.is_empty());
        }
        10 => sent.sent_hash = Some(u64::MAX - number.unsigned_abs()),
        11 => sent.content = "Zeilen\n\u{1F600} \"\\ \u{0}\u{7f}".into(),
        _ => {}
    }
    sent
}

fn entry(id: Id) -> Option<AuditEntry> {
    Some(AuditEntry {
        id,
        server_id: SERVER,
        actor_id: 1,
        action: AuditAction::ServerUpdated,
        target_id: 2,
        channel_id: CHANNEL,
        user_id: 3,
        count: 0,
        reason: "Because \"ü\"".into(),
        changes: vec![],
        created_at: id,
    })
}

/// Fills an empty store.
pub(in crate::store) async fn fill(store: &Handle, now: UnixMs) {
    people(store, now).await;
    write(store, now).await;
    change(store, now).await;
    around(store, now).await;
}

async fn people(store: &Handle, now: UnixMs) {
    for id in [1, 2, 3, 4] {
        let mut account = account(id);
        account.external_id = if id == 2 {
            "ext:2".into()
        } else {
            String::new()
        };
        store.create_account(account.into(), vec![]).await.unwrap();
        let made = session(70 + id, id, SessionKind::User, 9);
        store.create_session(made, 9, None).await.unwrap();
    }
    store.block(1, 4).await.unwrap();
    let settings = UserSettings {
        direct_messages: DirectMessages::Nobody,
    };
    let event = crate::store::suite::event(TopicKey::user(3), 1);
    store
        .update_settings(3, settings, vec![event])
        .await
        .unwrap();
    let request = Some((1, "request ä".to_owned()));
    let owner = member(SERVER, 1, Role::Owner);
    let general = channel(CHANNEL, SERVER, crate::model::ChannelType::Text);
    let made = store.create_server(server(SERVER, 1), owner, general, request, 9, vec![]);
    made.await.unwrap();
    for user in [2, 3] {
        let joined = member(SERVER, user, Role::Member);
        store
            .add_member(joined, None, 99, 99, vec![])
            .await
            .unwrap();
    }
    let direct = direct(DIRECT, &[1, 2]);
    store
        .create_channel(direct, 1, None, 9, vec![], None)
        .await
        .unwrap();
    let gone = channel(GONE, SERVER, crate::model::ChannelType::Text);
    store
        .create_channel(gone, 1, None, 9, vec![], entry(21))
        .await
        .unwrap();
    store
        .time_out(SERVER, 3, now + 1, vec![], None)
        .await
        .unwrap();
    let ban = Ban {
        server_id: SERVER,
        user_id: 4,
        banned_by: 1,
        reason: "No".into(),
        created_at: 5,
    };
    store.ban(ban, vec![], entry(22)).await.unwrap();
    for code in ["Zb", "ab", "aB"] {
        let invite = Invite {
            code: code.into(),
            server_id: SERVER,
            creator_id: 1,
            max_uses: 3,
            uses: 0,
            expires_at: now * 2,
        };
        store.create_invite(invite, None, None).await.unwrap();
    }
}

async fn write(store: &Handle, now: UnixMs) {
    let numbers: Vec<i64> = (0..MESSAGES).collect();
    for some in numbers.chunks(200) {
        let inserts = some.iter().map(|number| store.insert(sent(now, *number)));
        for insert in futures::future::join_all(inserts).await {
            assert_eq!(insert.unwrap(), Inserted::New);
        }
    }
    for channel in [DIRECT, GONE] {
        let sent = message(channel, id(now, 5) + channel, 1, "");
        store.insert(sent).await.unwrap();
    }
    let read = |channel| ReadOf {
        channel,
        role: Role::Member,
        at_least: 0,
    };
    let read_to = id(now, 900);
    let state = store.acknowledge(3, read(CHANNEL), read_to).await;
    assert_eq!(state.unwrap().last_read_id, read_to);
    store.mute(2, read(CHANNEL), now * 2).await.unwrap();
    // What belongs to a channel that is gone doesn't move.
    store
        .acknowledge(1, read(GONE), id(now, 5) + GONE)
        .await
        .unwrap();
    store.delete_channel(GONE, vec![], entry(23)).await.unwrap();
}

async fn change(store: &Handle, now: UnixMs) {
    for number in (0..MESSAGES).step_by(20) {
        let (id, revision) = (id(now, number), id(now, number) + (1 << 30));
        let mentions = Mentions::default();
        let edit = store.edit(CHANNEL, id, format!("Edited {id}"), mentions, revision, now);
        edit.await.unwrap();
        if number % 40 == 0 {
            let delete = store.delete(CHANNEL, id, revision + 5, None);
            delete.await.unwrap();
        }
    }
    for number in 101..105 {
        store
            .delete(CHANNEL, id(now, number), now, None)
            .await
            .unwrap();
    }
    // One that was given up.
    store.seal(CHANNEL, id(now, 106), 1).await.unwrap();
    for (number, user, emoji) in [
        (1, 1, "👍"),
        (1, 2, "👍"),
        (1, 3, "🎉"),
        (2, 1, "👍"),
        (3, 2, "x"),
    ] {
        let reactor = Reactor {
            channel_id: CHANNEL,
            message_id: id(now, number),
            user_id: user,
            emoji: emoji.into(),
        };
        store.react(reactor.clone(), true).await.unwrap();
        if number == 3 {
            store.react(reactor, false).await.unwrap();
        }
    }
    for number in [2, 4] {
        let pin = id(now, MESSAGES) + number;
        store.pin(CHANNEL, id(now, number), 1, pin).await.unwrap();
    }
}

async fn around(store: &Handle, now: UnixMs) {
    let report = Report {
        id: 31,
        server_id: SERVER,
        channel_id: CHANNEL,
        message_id: id(now, 1),
        author_id: 2,
        reporter_id: 3,
        reason: "Spam".into(),
        state: ReportState::Open,
        created_at: 5,
        resolved_by: 0,
        resolved_at: 0,
        note: String::new(),
    };
    let bounds = ReportBounds {
        server: 9,
        reporter: 9,
    };
    store.create_report(report, bounds).await.unwrap();
    let webhook = Webhook {
        id: HOOK,
        server_id: SERVER,
        creator_id: 1,
        url: "https://example.com/".into(),
        events: 63,
        enabled: true,
        disabled_reason: String::new(),
        key: vec![0, 255, 7],
        previous_key: vec![],
        rotated_at: 0,
        created_at: now,
        queued: 0,
        dropped: 0,
    };
    store.create_webhook(webhook, None, 9).await.unwrap();
    for number in 0..3 {
        let sent = message(DIRECT, id(now, MESSAGES) + 10 + number, 1, "");
        store.insert(sent).await.unwrap();
        let sent = message(CHANNEL, id(now, MESSAGES) + 10 + number, 1, "");
        store.insert(sent).await.unwrap();
    }
    let due = store.due_events(HOOK, now * 2, 9).await.unwrap();
    let first = due.first().expect("something waits").clone();
    let died = Settlement::Dead {
        died_at: now,
        error: "gone".into(),
    };
    store.settle(vec![(first, died)], 9).await.unwrap();
    let due = store.due_events(HOOK, now * 2, 9).await.unwrap();
    let first = due.first().expect("something waits still").clone();
    let again = Settlement::Retry {
        due: now + 77,
        error: "503".into(),
    };
    store.settle(vec![(first, again)], 9).await.unwrap();
}

/// All that a client can see of the channel, and what waits.
#[derive(Debug, PartialEq)]
pub(in crate::store) struct Seen {
    pages: Vec<Page>,
    pins: Vec<crate::model::Pin>,
    reactors: Vec<crate::model::User>,
    log: Vec<AuditEntry>,
    due: Vec<crate::model::QueuedEvent>,
    webhook: Option<Webhook>,
    channels: Vec<crate::model::Channel>,
    states: Vec<crate::model::ReadState>,
    session: Option<crate::model::Session>,
}

pub(in crate::store) async fn see(store: &Handle, now: UnixMs) -> Seen {
    let mut pages = Vec::new();
    let mut anchor = Anchor::Newest;
    loop {
        let page = store.page(CHANNEL, anchor, 100).await.unwrap();
        let more = page.has_older;
        let oldest = page.messages.first().map_or(0, |message| message.id);
        anchor = Anchor::Before(oldest.min(page.deleted_ids.first().copied().unwrap_or(oldest)));
        pages.push(page);
        if !more {
            break;
        }
    }
    let around = Anchor::Around(id(now, 700));
    pages.push(store.page(CHANNEL, around, 31).await.unwrap());
    let any = crate::store::AuditFilter {
        actor: None,
        action: None,
    };
    let kinds = store.get(CHANNEL, id(now, 1)).await.unwrap().unwrap();
    assert_eq!(kinds.reactions.len(), 2);
    let read = ReadOf {
        channel: CHANNEL,
        role: Role::Member,
        at_least: 0,
    };
    Seen {
        pages,
        pins: store.pins(CHANNEL, Id::MAX, 9).await.unwrap(),
        reactors: store.reactors(kinds.reactions[0].kind, 0, 9).await.unwrap(),
        log: store.audit_log(SERVER, any, Id::MAX, 99).await.unwrap(),
        due: store.due_events(HOOK, now * 2, 99).await.unwrap(),
        webhook: store.webhook(HOOK).await.unwrap(),
        channels: store.channels_of_server(SERVER).await.unwrap(),
        states: store.read_states(3, &[read]).await.unwrap(),
        session: store.session(71).await.unwrap(),
    }
}

/// What is new in a store that data were moved to: ids above all that moved, and old positions
/// that are answered by no part of the events.
pub(in crate::store) async fn goes_on(store: &Handle, now: UnixMs, old: Position) {
    let last = id(now, MESSAGES) + 12;
    assert!(store.highest().await.unwrap() >= last);
    let repeat = store.insert(sent(now, MESSAGES - 2)).await.unwrap();
    assert!(matches!(repeat, Inserted::Repeat(message) if message.id == id(now, MESSAGES - 2)));
    let topic = TopicKey::user(3);
    assert!(store.topic_since(topic, old).await.unwrap().is_none());
    let position = store.topic_position(topic).await.unwrap();
    assert_ne!(position.epoch, old.epoch);
    // The numbers of what is new are of nothing that was.
    let kinds = store
        .get(CHANNEL, id(now, 1))
        .await
        .unwrap()
        .unwrap()
        .reactions;
    let reactor = Reactor {
        channel_id: CHANNEL,
        message_id: id(now, 6),
        user_id: 1,
        emoji: "new".into(),
    };
    let tally = store.react(reactor, true).await.unwrap();
    // Four were made, of which one is gone.
    assert!(tally.reaction.kind > kinds.iter().map(|kind| kind.kind).max().unwrap() + 2);
    let changed = store.edit(
        CHANNEL,
        id(now, 20),
        "Edited again".into(),
        Mentions::default(),
        id(now, MESSAGES) + (1 << 32),
        now,
    );
    assert_eq!(changed.await.unwrap().content, "Edited again");
    let deleted = store.delete(CHANNEL, id(now, 60), id(now, MESSAGES) + (1 << 32), None);
    assert!(deleted.await.unwrap().deleted);
}

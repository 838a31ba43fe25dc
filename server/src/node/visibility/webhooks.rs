//! Webhooks that come, change and go, a receiver that sometimes takes nothing for long, and what
//! it got.

use super::*;
use crate::domain::{NewWebhook, WebhookChanges};
use crate::webhooks::tests::receiver::{Got, Receiver, Reply};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Mutex;

/// Webhooks at once, beside those that stay.
const CHANGING_MAX: usize = 6;

/// What happened, and for which webhook: its event's bit, the channel or the server, the message
/// or the user.
type Happened = (usize, u32, Id, Id);

pub(super) struct Webhooks {
    receiver: Receiver,
    /// Those whose requests are refused for now.
    failing: Arc<Mutex<HashSet<usize>>>,
    /// How many there were; their numbers are below.
    pub(super) count: usize,
    /// Those that stay as they are.
    kept: Vec<usize>,
    /// The server that stays.
    pub(super) kept_server: Id,
    /// How often each thing happened that a webhook is to be told of.
    happened: HashMap<Happened, usize>,
    /// How often something waited for a webhook whose rights were taken or changed.
    waited: usize,
}

/// What was judged, over all seeds: a check that has nothing to check proves nothing.
#[derive(Default, Debug)]
pub(super) struct Tally {
    kinds: BTreeMap<&'static str, usize>,
    /// In open, private and direct channels; of members.
    places: BTreeMap<&'static str, usize>,
    /// Of what was lost later on.
    lost: usize,
    /// Of messages that were deleted, or edited, meanwhile.
    taken_back: usize,
    /// Of channels that were deleted meanwhile.
    bare: usize,
    waited: usize,
}

impl Tally {
    pub(super) fn judge(&self) {
        for event in WebhookEvent::ALL {
            assert!(self.kinds.contains_key(event.name()), "{self:?}");
        }
        for place in ["open", "private", "direct", "members"] {
            assert!(self.places.contains_key(place), "{self:?}");
        }
        for count in [self.lost, self.taken_back, self.bare, self.waited] {
            assert!(count > 0, "{self:?}");
        }
    }
}

impl Webhooks {
    pub(super) async fn start() -> Webhooks {
        let failing: Arc<Mutex<HashSet<usize>>> = Arc::default();
        let refused = failing.clone();
        let receiver = Receiver::start(Box::new(move |got, times| {
            let (number, _) = numbers(got);
            // Some requests fail once: what they tell of has changed by the next try.
            let odd = got.id.bytes().map(usize::from).sum::<usize>() % 4 == 0;
            let refuse = refused.lock().unwrap().contains(&number) || (odd && times == 0);
            Reply::Status(if refuse { 503 } else { 204 })
        }));
        Webhooks {
            receiver: receiver.await,
            failing,
            count: 0,
            kept: Vec::new(),
            kept_server: 0,
            happened: HashMap::new(),
            waited: 0,
        }
    }

    /// Takes in what happened, for those that ask before or after what changed meanwhile.
    pub(super) fn happened(
        &mut self,
        truths: &[&Truth; 2],
        event: WebhookEvent,
        place: Thing,
        subject: Id,
    ) {
        let (Thing::Server(id) | Thing::Channel(id)) = place else {
            panic!("{place:?} is no place");
        };
        for number in 0..self.count {
            if truths.iter().any(|truth| truth.asks(number, event, place)) {
                let key = (number, event.bit(), id, subject);
                *self.happened.entry(key).or_insert(0) += 1;
            }
        }
    }
}

impl Play {
    pub(super) fn happened(&mut self, event: WebhookEvent, place: Thing, subject: Id) {
        let truths = [&self.truth; 2];
        self.webhooks.happened(&truths, event, place, subject);
    }

    /// Makes webhooks that stay as they are: for all servers, and of one that stays.
    pub(super) async fn keep_webhooks(&mut self) {
        let first = self.truth.servers.keys().next();
        self.webhooks.kept_server = *first.expect("there");
        let all = WebhookEvent::ALL
            .iter()
            .fold(0, |all, event| all | event.bit());
        for server in [0, self.webhooks.kept_server] {
            let number = self.webhooks.count;
            self.make_webhook(server, all, &self.service.clone()).await;
            self.webhooks.kept.push(number);
        }
    }

    /// A webhook comes, changes or goes; its receiver takes nothing any more.
    pub(super) async fn change_webhooks(&mut self, may_fail: bool) {
        let kept = |number: &usize| self.webhooks.kept.contains(number);
        let changing = self.truth.webhooks.keys().copied();
        let changing: Vec<usize> = changing.filter(|number| !kept(number)).collect();
        let server = self.any_place();
        let by = self.manager(server).await;
        let choice = self.rng.random_range(0..8);
        if changing.is_empty() || (choice < 3 && changing.len() < CHANGING_MAX) {
            let events = self.some_events();
            return self.make_webhook(server, events, &by).await;
        }
        let number = changing[self.rng.random_range(0..changing.len())];
        if choice < 5 && may_fail {
            let any = self.rng.random_range(0..self.webhooks.count);
            self.webhooks.failing.lock().unwrap().insert(any);
        }
        self.change_webhook(number).await;
    }

    /// One of the servers, or all of them.
    fn any_place(&mut self) -> Id {
        let servers: Vec<Id> = self.truth.servers.keys().copied().chain([0]).collect();
        servers[self.rng.random_range(0..servers.len())]
    }

    /// Somebody who may make webhooks there, and may lose that right later. Who may not is refused.
    async fn manager(&mut self, server: Id) -> Caller {
        let user = self.rng.random_range(0..USERS);
        let there = self.truth.servers.get(&server);
        let role = there.and_then(|there| there.role(user));
        let caller = self.caller(user);
        if role >= Some(Role::Admin) {
            return caller;
        }
        let new = NewWebhook {
            server_id: server,
            url: self.webhooks.receiver.url("nobody"),
            events: vec![WebhookEvent::MessageCreated.name().into()],
            request_id: String::new(),
        };
        let made = self.node.domain.create_webhook(&caller, new);
        assert!(made.await.is_err(), "user {user} made a webhook");
        let boss = there.map(|there| self.caller(there.owner));
        boss.unwrap_or_else(|| self.service.clone())
    }

    fn some_events(&mut self) -> u32 {
        let all = WebhookEvent::ALL.iter().map(|event| event.bit());
        let some = all.filter(|_| self.rng.random_bool(0.6));
        match some.fold(0, |some, bit| some | bit) {
            0 => WebhookEvent::RecipientOffline.bit(),
            some => some,
        }
    }

    fn url(&self, number: usize, url: usize) -> String {
        self.webhooks.receiver.url(&format!("{number}/{url}"))
    }

    async fn make_webhook(&mut self, server_id: Id, events: u32, by: &Caller) {
        let number = self.webhooks.count;
        self.webhooks.count += 1;
        let new = NewWebhook {
            server_id,
            url: self.url(number, 0),
            events: names(events),
            request_id: String::new(),
        };
        let made = truth::Webhook {
            id: 0,
            server: server_id,
            events,
            url: 0,
            enabled: true,
        };
        let comes = |truth: &mut Truth| {
            truth.webhooks.insert(number, made);
        };
        let domain = self.node.domain.clone();
        let made = self.change(comes, domain.create_webhook(by, new)).await;
        let webhook = self.truth.webhooks.get_mut(&number);
        webhook.expect("there").id = made.id;
    }

    async fn change_webhook(&mut self, number: usize) {
        let before = self.truth.webhooks[&number].clone();
        let (id, mut after) = (before.id, before.clone());
        let by = self.manager(before.server).await;
        self.note_waiting(|webhook| webhook.id == id).await;
        let domain = self.node.domain.clone();
        let mut changes = WebhookChanges::default();
        match self.rng.random_range(0..5) {
            0 => {
                let goes = |truth: &mut Truth| {
                    truth.webhooks.remove(&number);
                };
                return self.change(goes, domain.delete_webhook(&by, id)).await;
            }
            1 => {
                after.url += 1;
                changes.url = Some(self.url(number, after.url));
            }
            2 | 3 => {
                after.events = self.some_events();
                changes.events = Some(names(after.events));
            }
            _ => {
                after.enabled = !after.enabled;
                changes.enabled = Some(after.enabled);
            }
        }
        let change = |truth: &mut Truth| {
            truth.webhooks.insert(number, after);
        };
        let call = domain.update_webhook(&by, id, changes);
        self.change(change, call).await;
    }

    /// Counts those of which something waits that is about to be changed.
    pub(super) async fn note_waiting(&mut self, of: impl Fn(&truth::Webhook) -> bool) {
        for webhook in self.truth.webhooks.values().filter(|webhook| of(webhook)) {
            let stored = self.node.store.webhook(webhook.id).await.expect("reads");
            self.webhooks.waited += usize::from(stored.expect("there").queued > 0);
        }
    }

    /// Has the receiver take all that waits: what was lost meanwhile was lost long ago.
    pub(super) async fn take_all(&mut self) {
        self.webhooks.failing.lock().unwrap().clear();
        let all = async {
            for webhook in self.truth.webhooks.values().filter(|w| w.enabled) {
                let stored = async || self.node.store.webhook(webhook.id).await;
                while stored().await.expect("reads").expect("there").queued > 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        let taken = tokio::time::timeout(PATIENCE, all).await;
        taken.expect("the receiver takes everything");
    }

    /// Holds all requests against what their receivers could be told, and what they took against
    /// what happened.
    pub(super) fn judge_requests(&self, seed: u64, tally: &mut Tally) {
        let mut told: HashMap<Happened, HashSet<String>> = HashMap::new();
        let mut taken = told.clone();
        for got in self.webhooks.receiver.got() {
            let (number, _) = numbers(&got);
            let judged = self.judge(&got, tally);
            let (event, place, subject) =
                judged.unwrap_or_else(|fault| panic!("seed {seed}: {fault}: {got:?}"));
            let happened = (number, event.bit(), place, subject);
            told.entry(happened).or_default().insert(got.id.clone());
            if got.taken {
                taken.entry(happened).or_default().insert(got.id);
            }
        }
        for (happened, ids) in &told {
            let times = self.webhooks.happened.get(happened).copied().unwrap_or(0);
            assert!(
                ids.len() <= times,
                "seed {seed}: {happened:?}, which happened {times} times, is told as {ids:?}"
            );
        }
        // Of those who are away nothing is told where nobody is.
        let all = |(number, event, _, _): &Happened| {
            let kept = self.webhooks.kept.contains(number);
            kept && *event != WebhookEvent::RecipientOffline.bit()
        };
        for (happened, times) in self.webhooks.happened.iter().filter(|(h, _)| all(h)) {
            let ids = taken.get(happened).map_or(0, HashSet::len);
            assert_eq!(ids, *times, "seed {seed}: {happened:?} isn't told");
        }
        tally.waited += self.webhooks.waited;
    }

    /// What a request tells: its event, where, and of which message or user; or why it should not.
    fn judge(&self, got: &Got, tally: &mut Tally) -> Result<(WebhookEvent, Id, Id), String> {
        let (number, url) = numbers(got);
        let webhook = Who::Webhook(number);
        let event = WebhookEvent::from_name(got.kind()).ok_or("an unknown event")?;
        *tally.kinds.entry(event.name()).or_insert(0) += 1;
        for thing in [Thing::Url(url), Thing::Event(event.bit())] {
            self.may_tell(webhook, thing, got, tally)?;
        }
        let of_members = [WebhookEvent::MemberJoined, WebhookEvent::MemberLeft].contains(&event);
        let parts = ["message", "member", "recipientIds"].map(|part| got.json.get(part).is_some());
        let expected = [
            !of_members,
            of_members,
            event == WebhookEvent::RecipientOffline,
        ];
        ensure(parts == expected, "other parts than its event has")?;
        let (place, subject) = if of_members {
            self.judge_member(webhook, got, tally)?
        } else {
            self.judge_message(webhook, got, tally)?
        };
        Ok((event, place, subject))
    }

    /// Refuses what that one could not be told of when it came.
    fn may_tell(&self, who: Who, thing: Thing, got: &Got, tally: &mut Tally) -> Result<(), String> {
        let could = self.seen.could(who, thing, got.at);
        ensure(could, &format!("{who:?} may not be told of {thing:?}"))?;
        tally.lost += usize::from(!self.seen.holds_now(who, thing));
        Ok(())
    }

    fn judge_member(&self, webhook: Who, got: &Got, tally: &mut Tally) -> Result<(Id, Id), String> {
        let member = &got.json["member"];
        let (server, user) = (id(&member["serverId"]), id(&member["userId"]));
        ensure(server == id(&got.json["serverId"]), "another server's")?;
        let place = Thing::Server(server);
        let who = Who::User(self.user_of(user));
        let was = self.seen.ever_could(who, place, got.at);
        ensure(was, "it never was a member")?;
        // Of a server that is gone it is told that one was a member there.
        let former = member.get("role").is_none() && member.get("joinedAt").is_none();
        if former && !self.truth.servers.contains_key(&server) {
            let told = self.seen.ever_could(webhook, place, got.at);
            ensure(told, "another server's")?;
        } else {
            self.may_tell(webhook, place, got, tally)?;
        }
        if !former {
            self.may_tell(who, place, got, tally)?;
        }
        *tally.places.entry("members").or_insert(0) += 1;
        Ok((server, user))
    }

    fn judge_message(
        &self,
        webhook: Who,
        got: &Got,
        tally: &mut Tally,
    ) -> Result<(Id, Id), String> {
        let message = &got.json["message"];
        let (channel, subject) = (id(&message["channelId"]), id(&message["id"]));
        let place = Thing::Channel(channel);
        let home = self.homes.get(&channel).ok_or("an unknown channel")?;
        let server = id(&got.json["serverId"]);
        let fields = message.as_object().map_or(0, serde_json::Map::len);
        let deleted = message["deleted"] == true;
        if fields == 3 && deleted {
            // The channel is gone: of it nothing is told but that the message is, too.
            let told = self.seen.ever_could(webhook, place, got.at);
            ensure(told, "of a channel that it may not be told of")?;
            ensure([0, *home].contains(&server), "another server's")?;
            tally.bare += 1;
            return Ok((channel, subject));
        }
        self.may_tell(webhook, place, got, tally)?;
        ensure(server == *home, "another server's")?;
        let author = self.authors.get(&subject).ok_or("an unknown message")?;
        let by = self.ids[*author] == id(&message["authorId"]);
        ensure(by, "another's message")?;
        let direct = self.truth.directs.get(&channel);
        let offline = got.kind() == WebhookEvent::RecipientOffline.name();
        ensure(direct.is_none() || offline, "of a direct channel")?;
        ensure(!deleted || !offline, "a deleted message for somebody")?;
        if deleted {
            ensure(got.content().is_empty(), "what was deleted")?;
            tally.taken_back += 1;
        } else {
            let text = self.judge_text(subject, got, tally)?;
            if offline {
                let mentioned = [text.mentioned];
                let meant = direct.map_or(&mentioned[..], |two| &two[..]);
                self.judge_recipients(channel, *author, meant, got, tally)?;
            }
        }
        let open = self.truth.servers.values().any(|s| s.open == channel);
        let kind = match direct {
            Some(_) => "direct",
            None if open => "open",
            None => "private",
        };
        *tally.places.entry(kind).or_insert(0) += 1;
        Ok((channel, subject))
    }

    /// The text that is told, which wasn't edited or deleted long before.
    fn judge_text(&self, message: Id, got: &Got, tally: &mut Tally) -> Result<&Text, String> {
        let number = got.content().split(' ').nth(1);
        let number: Option<usize> = number.and_then(|number| number.parse().ok());
        let number = number.ok_or("no text")?;
        let text = self.texts.get(number).ok_or("an unknown text")?;
        ensure(text.message == message, "another message's text")?;
        let told = Thing::Text(number);
        self.may_tell(Who::Anyone, told, got, tally)?;
        let edited = got.json["message"].get("editedAt").is_some();
        let later = edited && got.kind() != WebhookEvent::MessageUpdated.name();
        tally.taken_back += usize::from(later);
        Ok(text)
    }

    /// Those whom it is for, other than its author, that may see it and aren't here.
    fn judge_recipients(
        &self,
        channel: Id,
        author: usize,
        meant: &[usize],
        got: &Got,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let recipients = got.json["recipientIds"].as_array();
        let recipients = recipients.filter(|recipients| !recipients.is_empty());
        for recipient in recipients.ok_or("for nobody")? {
            let user = self.user_of(id(recipient));
            let other = user != author && meant.contains(&user);
            ensure(other, &format!("not for user {user}"))?;
            for thing in [Thing::Channel(channel), Thing::Away] {
                self.may_tell(Who::User(user), thing, got, tally)?;
            }
        }
        Ok(())
    }
}

fn ensure(holds: bool, fault: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault.to_owned()) }
}

/// The webhook and its URL that a request came to.
fn numbers(got: &Got) -> (usize, usize) {
    let mut numbers = got.path.split('/').skip(1).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(number)), Some(Ok(url))) => (number, url),
        _ => panic!("nobody may be told at {}", got.path),
    }
}

fn names(events: u32) -> Vec<String> {
    let asked = WebhookEvent::ALL.iter();
    let asked = asked.filter(|event| events & event.bit() != 0);
    asked.map(|event| event.name().to_owned()).collect()
}

/// An id of JSON; 0 where there is none.
fn id(value: &Value) -> Id {
    value.as_str().map_or(0, |id| id.parse().expect("a number"))
}

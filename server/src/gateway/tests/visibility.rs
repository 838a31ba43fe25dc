//! Nobody is told what it may not see: random changes of rights under random traffic, each frame
//! held against what its receiver could see when it came.

use super::*;
use crate::bus::{SetPresence, Whose};
use crate::domain::OnMessage;
use crate::model::{Role, Status, TopicKind};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use tokio::task::JoinHandle;

/// What was lost may be told for a second still; one more for a machine that is busy.
const ALLOWED: Duration = Duration::from_secs(2);
const USERS: usize = 6;
const STEPS: usize = 300;

/// What somebody may see or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Thing {
    Server(Id),
    Channel(Id),
    User(Id),
}

/// Who is what, as it is to be.
#[derive(Clone, Default)]
struct Truth {
    /// By server: roles by user.
    members: BTreeMap<Id, BTreeMap<usize, Role>>,
    /// By server: its open channel and its private one.
    channels: BTreeMap<Id, (Id, Id)>,
    /// By server: who is named in its private channel.
    named: BTreeMap<Id, BTreeSet<usize>>,
    banned: BTreeSet<(Id, usize)>,
    directs: BTreeMap<Id, [usize; 2]>,
}

impl Truth {
    fn sees(&self, user: usize) -> BTreeSet<Thing> {
        let mut things = BTreeSet::new();
        for (server, members) in &self.members {
            let Some(role) = members.get(&user) else {
                continue;
            };
            let (open, private) = self.channels[server];
            things.extend([Thing::Server(*server), Thing::Channel(open)]);
            if *role >= Role::Admin || self.named[server].contains(&user) {
                things.insert(Thing::Channel(private));
            }
        }
        for (channel, two) in &self.directs {
            if two.contains(&user) {
                things.insert(Thing::Channel(*channel));
            }
        }
        things
    }
}

/// When each user could see what: moments at which that began and ended.
#[derive(Default)]
struct Seen(HashMap<(usize, Thing), Vec<(Instant, bool)>>);

impl Seen {
    fn note(&mut self, user: usize, thing: Thing, sees: bool) {
        let moments = self.0.entry((user, thing)).or_default();
        if moments.last().is_some_and(|(_, last)| *last) != sees {
            moments.push((Instant::now(), sees));
        }
    }

    /// Whether the user saw it at a moment, or within what is allowed before.
    fn could(&self, user: usize, thing: Thing, at: Instant) -> bool {
        let moments = self.0.get(&(user, thing)).map_or(&[][..], Vec::as_slice);
        let before: Vec<_> = moments.iter().filter(|(since, _)| *since <= at).collect();
        match before.last() {
            None => false,
            Some((_, true)) => true,
            Some((ended, false)) => at.duration_since(*ended) <= ALLOWED,
        }
    }

    fn sees_now(&self, user: usize, thing: Thing) -> bool {
        let moments = self.0.get(&(user, thing));
        moments
            .and_then(|m| m.last())
            .is_some_and(|(_, sees)| *sees)
    }
}

impl Play {
    /// Whether a user could be told of that at a moment. Of another user: while both were in a
    /// server, or have a direct channel.
    fn could(&self, user: usize, thing: Thing, at: Instant) -> bool {
        let Thing::User(id) = thing else {
            return self.seen.could(user, thing, at);
        };
        let other = self.ids.iter().position(|of| *of == id).expect("a user");
        let mut servers = self.truth.members.keys().map(|id| Thing::Server(*id));
        let mut directs = self.truth.directs.values();
        let both = |server| {
            [user, other]
                .iter()
                .all(|of| self.seen.could(*of, server, at))
        };
        user == other
            || directs.any(|two| two.contains(&user) && two.contains(&other))
            || servers.any(both)
    }
}

type Log = Arc<Mutex<Vec<(Instant, Frame)>>>;

/// All that a client gets, as it comes.
fn follow(client: &Client) -> (Log, JoinHandle<()>) {
    let log = Log::default();
    let (outbox, kept) = (client.outbox.clone(), log.clone());
    let task = tokio::spawn(async move {
        while let Some(frame) = std::future::poll_fn(|cx| outbox.poll_frame(cx)).await {
            kept.lock().unwrap().push((Instant::now(), decode(&frame)));
        }
    });
    (log, task)
}

/// What a frame tells of.
fn told(frame: &Frame, own: Id) -> Vec<Thing> {
    let topic = |topic: Option<&v1::Topic>| match topic.and_then(|t| wire::topic_key(Some(t))) {
        Some(topic) if topic.kind == TopicKind::Channel => vec![Thing::Channel(topic.id)],
        Some(topic) if topic.kind == TopicKind::Server => vec![Thing::Server(topic.id)],
        Some(topic) => vec![Thing::User(topic.id)],
        None => Vec::new(),
    };
    match frame {
        Frame::Event(event) => match &event.event {
            Some(v1::event::Event::Mentioned(m)) => vec![Thing::Channel(m.channel_id)],
            Some(v1::event::Event::ReadStateChanged(r)) => {
                let state = r.read_state.as_ref().expect("a state");
                vec![Thing::Channel(state.channel_id)]
            }
            _ => topic(event.topic.as_ref()),
        },
        Frame::Snapshot(snapshot) => topic(snapshot.topic.as_ref()),
        Frame::Gap(gap) => topic(gap.topic.as_ref()),
        Frame::ChannelActivity(activity) => vec![Thing::Channel(activity.channel_id)],
        Frame::TypingStarted(t) => vec![Thing::Channel(t.channel_id), Thing::User(t.user_id)],
        Frame::PresenceChanged(changed) => {
            let users = changed.presences.iter().map(|p| p.user_id);
            users.filter(|user| *user != own).map(Thing::User).collect()
        }
        Frame::MemberListChanged(changed) => {
            let items = changed.ops.iter().flat_map(|op| &op.items);
            let members = items.filter_map(|item| match &item.item {
                Some(v1::member_list_item::Item::Member(m)) => Some(Thing::User(m.user_id)),
                _ => None,
            });
            members.chain([Thing::Server(changed.server_id)]).collect()
        }
        _ => Vec::new(),
    }
}

struct Play {
    world: World,
    users: Vec<User>,
    ids: Vec<Id>,
    truth: Truth,
    seen: Seen,
    rng: StdRng,
    messages: HashMap<Id, Vec<Id>>,
}

impl Play {
    async fn new(seed: u64) -> Self {
        let world = World::new(|config| config.gateway.grace = Duration::from_millis(500)).await;
        let mut users = Vec::new();
        for n in 0..USERS {
            users.push(world.user(&format!("user {n}")).await);
        }
        let ids: Vec<Id> = users.iter().map(|user| user.caller.user_id).collect();
        let mut truth = Truth::default();
        for (owner, user) in users.iter().enumerate().take(2) {
            let (server, open) = world.server(user, &[]).await;
            let private = channel(&world, user, server, ChannelType::Private, vec![]).await;
            truth
                .members
                .insert(server, BTreeMap::from([(owner, Role::Owner)]));
            truth.channels.insert(server, (open, private));
            truth.named.insert(server, BTreeSet::from([owner]));
        }
        for two in [[2, 3], [0, 4]] {
            let other = vec![ids[two[1]]];
            let direct = channel(&world, &users[two[0]], 0, ChannelType::Direct, other).await;
            truth.directs.insert(direct, two);
        }
        let mut play = Self {
            world,
            users,
            ids,
            truth,
            seen: Seen::default(),
            rng: StdRng::seed_from_u64(seed),
            messages: HashMap::new(),
        };
        play.note(&play.truth.clone(), true);
        play
    }

    /// Notes what can be seen, or can't any more, from now on.
    fn note(&mut self, truth: &Truth, gained: bool) {
        for user in 0..USERS {
            let things = truth.sees(user);
            for thing in &things {
                if gained {
                    self.seen.note(user, *thing, true);
                }
            }
            if !gained {
                let known = self.seen.0.keys().filter(|(of, _)| *of == user);
                let lost: Vec<Thing> = known.map(|(_, thing)| *thing).collect();
                for thing in lost.into_iter().filter(|thing| !things.contains(thing)) {
                    self.seen.note(user, thing, false);
                }
            }
        }
    }

    /// Does a change of rights: what it gives may be seen from its begin on, what it takes until
    /// it is acknowledged.
    async fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Truth),
        call: impl Future<Output = Result<T, domain::Error>>,
    ) {
        let mut next = self.truth.clone();
        change(&mut next);
        self.note(&next, true);
        if let Err(error) = call.await {
            panic!("refused: {error:?}");
        }
        self.note(&next, false);
        self.truth = next;
    }

    async fn rights(&mut self) {
        let servers: Vec<Id> = self.truth.members.keys().copied().collect();
        let server = servers[self.rng.random_range(0..2)];
        let user = self.rng.random_range(0..USERS);
        let owner = servers.iter().position(|id| *id == server).expect("there");
        let (id, caller) = (self.ids[user], self.users[user].caller.clone());
        let boss = self.users[owner].caller.clone();
        let domain = self.world.domain.clone();
        if user == owner {
            return;
        }
        if self.truth.banned.contains(&(server, user)) {
            let lift = |truth: &mut Truth| {
                truth.banned.remove(&(server, user));
            };
            return self
                .change(lift, domain.unban_user(&boss, server, id))
                .await;
        }
        if !self.truth.members[&server].contains_key(&user) {
            let join = |truth: &mut Truth| {
                let members = truth.members.get_mut(&server).expect("there");
                members.insert(user, Role::Member);
            };
            return self.change(join, domain.join_by_id(&caller, server)).await;
        }
        self.member_rights(server, user, &boss).await;
    }

    /// A change of what a member may do, or its end.
    async fn member_rights(&mut self, server: Id, user: usize, boss: &Caller) {
        let (id, caller) = (self.ids[user], self.users[user].caller.clone());
        let domain = self.world.domain.clone();
        let (_, private) = self.truth.channels[&server];
        let out = move |truth: &mut Truth| {
            truth.members.get_mut(&server).expect("there").remove(&user);
            truth.named.get_mut(&server).expect("there").remove(&user);
        };
        let named = self.truth.named[&server].contains(&user);
        match self.rng.random_range(0..6) {
            0 => self.change(out, domain.leave_server(&caller, server)).await,
            1 => {
                let kick = domain.kick_member(boss, server, id, String::new());
                self.change(out, kick).await;
            }
            2 => {
                let ban = domain.ban_user(boss, server, id, String::new(), 0);
                let out = move |truth: &mut Truth| {
                    out(truth);
                    truth.banned.insert((server, user));
                };
                self.change(out, ban).await;
            }
            3 => {
                let roles = [Role::Member, Role::Moderator, Role::Admin];
                let role = roles[self.rng.random_range(0..3)];
                let set = move |truth: &mut Truth| {
                    let members = truth.members.get_mut(&server).expect("there");
                    members.insert(user, role);
                };
                self.change(set, domain.update_member(boss, server, id, role))
                    .await;
            }
            _ if named => {
                let take = |truth: &mut Truth| {
                    truth.named.get_mut(&server).expect("there").remove(&user);
                };
                let call = domain.remove_channel_member(boss, private, id);
                self.change(take, call).await;
            }
            _ => {
                let name = |truth: &mut Truth| {
                    truth.named.get_mut(&server).expect("there").insert(user);
                };
                let call = domain.add_channel_member(boss, private, id);
                self.change(name, call).await;
            }
        }
    }

    /// Something that others are told of. What its author may not do is refused.
    async fn traffic(&mut self, clients: &mut [(Client, Log, JoinHandle<()>)]) {
        let user = self.rng.random_range(0..USERS);
        let mut channels: Vec<Id> = self.truth.directs.keys().copied().collect();
        channels.extend(self.truth.channels.values().flat_map(|(a, b)| [*a, *b]));
        let channel_id = channels[self.rng.random_range(0..channels.len())];
        let caller = self.users[user].caller.clone();
        let domain = &self.world.domain;
        let sent = self.messages.get(&channel_id).and_then(|sent| sent.last());
        let last = sent.copied().unwrap_or(1);
        match self.rng.random_range(0..8) {
            0 => drop(domain.start_typing(&caller, channel_id).await),
            1 => {
                let on = OnMessage {
                    channel_id,
                    message_id: last,
                    emoji: "+1".into(),
                };
                drop(domain.add_reaction(&caller, on).await);
            }
            2 => drop(domain.pin_message(&caller, channel_id, last).await),
            3 => drop(
                domain
                    .edit_message(&caller, channel_id, last, "again".into())
                    .await,
            ),
            4 => {
                let statuses = [Status::Idle, Status::Online, Status::DoNotDisturb];
                let set = SetPresence {
                    status: Some(statuses[self.rng.random_range(0..3)]),
                    text: None,
                };
                let whose = Whose::Credential(caller.session_id);
                drop(domain.set_presence(&caller, whose, set).await);
            }
            5 if self.rng.random_bool(0.3) => {
                clients[user].2.abort();
                let log = clients[user].1.clone();
                let client = self.connect(user);
                let (fresh, task) = follow(&client);
                let before = std::mem::take(&mut *log.lock().unwrap());
                fresh.lock().unwrap().splice(0..0, before);
                clients[user] = (client, fresh, task);
            }
            _ => {
                let whom = self.ids[self.rng.random_range(0..USERS)];
                let send = SendMessage {
                    channel_id,
                    content: format!("hello <@{whom}> <@&moderator>"),
                    ..SendMessage::default()
                };
                if let Ok(message) = domain.send_message(&caller, send).await {
                    self.messages
                        .entry(channel_id)
                        .or_default()
                        .push(message.id);
                }
            }
        }
    }

    /// Looks at everything, whether or not it may be seen.
    fn connect(&self, user: usize) -> Client {
        let list = |server_id: &Id| v1::MemberListView {
            server_id: *server_id,
            ranges: vec![v1::MemberRange {
                start: 0,
                count: 100,
            }],
        };
        let channels = self.truth.channels.values().flat_map(|(a, b)| [*a, *b]);
        let channels: Vec<_> = channels.chain(self.truth.directs.keys().copied()).collect();
        let looked = channels.iter().map(|id| (*id, None)).collect::<Vec<_>>();
        let identify = v1::Identify {
            intents: vec![v1::Intent::Presence as i32, v1::Intent::Typing as i32],
            view: Some(v1::View {
                users: self.ids.clone(),
                member_lists: self.truth.members.keys().map(list).collect(),
                ..view(&looked)
            }),
            ..identify(&self.users[user])
        };
        self.world.connect(identify, 1_024)
    }
}

async fn channel(
    world: &World,
    owner: &User,
    server_id: Id,
    kind: ChannelType,
    member_ids: Vec<Id>,
) -> Id {
    let name = if server_id == 0 { "" } else { "private" };
    let new = NewChannel {
        server_id,
        kind,
        name: name.into(),
        description: String::new(),
        rank: 0,
        member_ids,
        metadata: Default::default(),
        request_id: String::new(),
        slow_mode_s: 0,
    };
    let made = world.domain.create_channel(&owner.caller, new).await;
    made.expect("creates").id
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_what_it_may_not_see() {
    for seed in 0..3 {
        let mut play = Play::new(seed).await;
        let mut clients = Vec::new();
        for user in 0..USERS {
            let client = play.connect(user);
            let (log, task) = follow(&client);
            clients.push((client, log, task));
        }
        for step in 0..STEPS {
            if step % 4 == 0 {
                play.rights().await;
            } else {
                play.traffic(&mut clients).await;
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        tokio::time::sleep(ALLOWED).await;
        let (mut checked, mut lost) = (HashMap::new(), 0);
        for (user, (_, log, _)) in clients.iter().enumerate() {
            for (at, frame) in log.lock().unwrap().iter() {
                for thing in told(frame, play.ids[user]) {
                    let could = play.could(user, thing, *at);
                    assert!(
                        could,
                        "seed {seed}: user {user} was told of {thing:?}: {frame:?}"
                    );
                    *checked.entry(std::mem::discriminant(frame)).or_insert(0) += 1;
                    lost += usize::from(!play.seen.sees_now(user, thing));
                }
            }
        }
        assert!(checked.len() >= 5, "few kinds of frames came: {checked:?}");
        assert!(lost > 0, "nobody ever lost anything");
    }
}

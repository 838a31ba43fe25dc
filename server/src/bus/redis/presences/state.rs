//! What a node has to say of its sessions, part by part, and what it has heard of all.

use super::heard::Heard;
use super::wire::{self, Answer, Entry, Message, Said};
use crate::bus::local::batches::Readers;
use crate::bus::local::here::{Here, Moment, User};
use crate::bus::redis::keys::{PARTS, part_of};
use crate::bus::{SetPresence, Whose};
use crate::model::{Id, Presence, Touched, UnixMs};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// Users of one call.
pub(super) const BATCH: usize = 128;
/// That a user is here still is said so often: a little earlier for some, so that they spread.
const AGAIN: (Duration, Duration) = (Duration::from_secs(9), Duration::from_secs(12));
/// A node that says nothing of a user for so long has it no more; the script has a lower bound.
const LIVE_MS: i64 = 60_000;
/// Others do what this node would have done when a grace is over, a little later.
const AFTER_GRACE: Duration = Duration::from_secs(3);
/// What others left is looked at only when they have had the time to say that it is theirs: after
/// an outage, too.
const REAP_AFTER: Duration = Duration::from_secs(15);
/// What others told of a part is asked for so often, if there is nothing to say.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// In a new epoch all nodes have said their users again after so long: when each has asked, and
/// the script no longer keeps to itself what they say.
const SAID_AGAIN: Duration = Duration::from_secs(6);
/// After an outage of this length others may have done anything.
const OUTAGE: Duration = Duration::from_secs(30);
/// Without Redis, who went is remembered for so long.
const GONE_KEPT: Duration = Duration::from_secs(60);
/// Changes that wait for the next tick. Beyond, all is to be read anew.
const CHANGES_MAX: usize = 100_000;
/// What was touched in a part and isn't told yet. Beyond, others are to read all anew.
const TOUCHED_MAX: usize = 4_096;
/// Sets of other nodes' sessions that wait. Beyond, they are lost.
const SETS_MAX: usize = 4_096;

/// What is kept beside a user's sessions.
#[derive(Default)]
pub(super) struct Beside {
    /// The version of the sessions that Redis has.
    version: String,
    due: Duration,
    /// When the words were set; 0: never.
    text_at: i64,
    /// They were set here, and Redis didn't say when.
    text_is_new: bool,
    active_said: UnixMs,
}

#[derive(Default)]
struct Part {
    /// The epoch in which all users were said.
    known: String,
    /// Another, in which they are being said.
    renewing: Option<String>,
    /// Users to be said whole.
    queue: BTreeSet<Id>,
    /// Users of whom it is to be said that they are here still.
    due: BTreeSet<(Duration, Id)>,
    /// What is under way: it may have been heard, or not.
    flying: Vec<Id>,
    flying_touched: Vec<Touched>,
    touched: HashSet<Touched>,
    lost: bool,
    sets: HashMap<(Id, Id), wire::Set>,
    reap: Vec<(String, String)>,
    /// Since when all calls were answered, and the last that was.
    well_since: Option<Duration>,
    answered_at: Option<Duration>,
    heard: Heard,
}

impl Part {
    fn has_more(&self, now: Duration) -> bool {
        !self.queue.is_empty() || self.due.first().is_some_and(|(due, _)| *due <= now)
    }
}

/// What is asked beside what is to be said.
#[derive(Default)]
pub(super) struct Asked {
    /// All that is to be said is; else of the users asked for alone.
    pub(super) all: bool,
    pub(super) read: Vec<Id>,
    pub(super) set: Option<wire::Set>,
}

pub(super) struct State {
    pub(super) here: Here<Beside>,
    parts: Vec<Part>,
    changes: HashMap<Id, Presence>,
    touched: HashSet<Touched>,
    pub(super) readers: Readers,
    /// When all is to be read anew.
    reread_at: Option<Duration>,
    pub(super) node: String,
}

impl State {
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            here: Here::new(grace),
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            changes: HashMap::new(),
            touched: HashSet::new(),
            readers: Readers::default(),
            reread_at: None,
            node: format!("{:016x}", rand::random::<u64>()),
        }
    }

    fn part(&mut self, part: u8) -> &mut Part {
        &mut self.parts[usize::from(part)]
    }

    /// The user's words were set here.
    pub(super) fn words_are_new(&mut self, user: Id) {
        if let Some(user) = self.here.user(user) {
            user.beside.text_is_new = true;
        }
    }

    pub(super) fn touch(&mut self, touched: Touched) {
        // Here it shows even without Redis.
        self.touched.insert(touched);
        let (Touched::Member(id, _) | Touched::User(id) | Touched::Server(id)) = touched;
        let part = self.part(part_of(id));
        if part.touched.len() >= TOUCHED_MAX {
            part.touched.clear();
            part.lost = true;
        }
        part.touched.insert(touched);
    }

    /// The user did something; the sessions of that credential are elsewhere, if there are any.
    pub(super) fn active_elsewhere(&mut self, user: Id, credential: Id) {
        let part = self.part(part_of(user));
        if part.sets.len() < SETS_MAX {
            let set = set_of(user, credential, &SetPresence::default());
            part.sets.insert((user, credential), set);
        }
    }

    /// The parts of which something is to be said, or asked.
    pub(super) fn parts_due(&mut self, now: Duration) -> Vec<u8> {
        self.collect();
        let is_due = |part: &Part| {
            let asked = part.answered_at.map(|at| now.saturating_sub(at));
            asked.is_none_or(|passed| passed >= ASK_EVERY)
                || part.well_since.is_none()
                || part.has_more(now)
                || part.lost
                || !(part.touched.is_empty() && part.flying_touched.is_empty())
                || !(part.sets.is_empty() && part.reap.is_empty() && part.flying.is_empty())
        };
        let parts = (0..).zip(&self.parts);
        parts
            .filter(|(_, part)| is_due(part))
            .map(|(number, _)| number)
            .collect()
    }

    fn collect(&mut self) {
        for id in self.here.take_dirty() {
            self.part(part_of(id)).queue.insert(id);
        }
    }

    /// What is to be said next of a part.
    pub(super) fn prepare(&mut self, part: u8, asked: &mut Asked, at: Moment) -> Said {
        self.collect();
        let node = self.node.clone();
        let State { here, parts, .. } = self;
        let part = &mut parts[usize::from(part)];
        part.queue.extend(part.flying.drain(..));
        part.touched.extend(part.flying_touched.drain(..));
        let whole: Vec<Id> = if asked.all {
            part.queue.iter().copied().take(BATCH).collect()
        } else {
            let asked = asked.read.iter();
            asked
                .filter(|id| part.queue.contains(id))
                .copied()
                .collect()
        };
        let mut say = Vec::new();
        for id in whole {
            part.queue.remove(&id);
            if let Some(user) = here.user(id) {
                say.push(entry(id, user, true, at.now));
                part.flying.push(id);
            }
        }
        while asked.all
            && say.len() < BATCH
            && let Some((_, id)) = part.due.first().filter(|(due, _)| *due <= at.now)
        {
            let id = *id;
            part.due.pop_first();
            if let Some(user) = here.user(id).filter(|_| !part.flying.contains(&id)) {
                say.push(entry(id, user, false, at.now));
                part.flying.push(id);
            }
        }
        let mut said = Said {
            node,
            known: part.known.clone(),
            users: Vec::new(),
            say,
            reap: Vec::new(),
            set: asked.set.take().into_iter().collect(),
            touched: Vec::new(),
            lost: false,
            read: asked.read.iter().map(Id::to_string).collect(),
        };
        if asked.all {
            said.reap = std::mem::take(&mut part.reap);
            said.set.extend(part.sets.drain().map(|(_, set)| set));
            part.flying_touched = part.touched.drain().collect();
            said.touched = part
                .flying_touched
                .iter()
                .copied()
                .map(wire::touched)
                .collect();
            said.lost = part.lost;
        }
        said.named()
    }

    /// Whether there is more to say of a part.
    pub(super) fn has_more(&mut self, part: u8, now: Duration) -> bool {
        self.collect();
        let part = self.part(part);
        if part.has_more(now) {
            return true;
        }
        if let Some(epoch) = part.renewing.take() {
            part.known = epoch;
        }
        false
    }

    /// A call failed: what it said may have been heard, or not.
    pub(super) fn failed(&mut self, number: u8, now: Duration) {
        let State { here, parts, .. } = self;
        let part = &mut parts[usize::from(number)];
        part.well_since = None;
        let at = part.answered_at;
        if at.is_some_and(|at| now.saturating_sub(at) < GONE_KEPT) {
            return;
        }
        let waiting = part.flying.drain(..).chain(std::mem::take(&mut part.queue));
        let (gone, waiting): (Vec<Id>, Vec<Id>) =
            waiting.partition(|id| here.user(*id).is_none_or(|user| user.sessions.is_empty()));
        gone.into_iter().for_each(|id| here.forget(id));
        part.queue.extend(waiting);
    }

    /// A call was answered.
    pub(super) fn answered(&mut self, number: u8, said: &Said, answer: &Answer, at: Moment) {
        self.settle(number, said, at.now);
        let message = answer.m.as_deref().map(serde_json::from_str::<Message>);
        let message = message.and_then(Result::ok);
        let part = self.part(number);
        let with = message.is_some();
        let other = part.heard.is_at(&answer.e, answer.s, with, at.now);
        let waiting = part.heard.next();
        if part.well_since.is_none() || other {
            part.well_since = Some(at.now);
        }
        let outage = part.answered_at.replace(at.now);
        let outage = outage.is_some_and(|last| at.now.saturating_sub(last) >= OUTAGE);
        if part.known.is_empty() {
            part.known.clone_from(&answer.e);
        }
        let is_other = part.known != answer.e && part.renewing.as_ref() != Some(&answer.e);
        let well = at.now.saturating_sub(part.well_since.unwrap_or(at.now));
        if well >= REAP_AFTER {
            let due = answer.due.iter().filter_map(|due| due.split_once(' '));
            part.reap = due.map(|(node, user)| (user.into(), node.into())).collect();
        }
        if is_other {
            part.renewing = Some(answer.e.clone());
            let of_part: Vec<Id> = self
                .here
                .ids()
                .filter(|id| part_of(*id) == number)
                .collect();
            self.part(number).queue.extend(of_part);
        }
        if other || outage {
            self.reread(at.now + SAID_AGAIN);
        }
        waiting.into_iter().for_each(|message| self.apply(message));
        if let Some(message) = message {
            self.hear(number, message, at.now);
        }
        self.adopt(answer, at);
    }

    /// What was said is known.
    fn settle(&mut self, number: u8, said: &Said, now: Duration) {
        let State { here, parts, .. } = self;
        let part = &mut parts[usize::from(number)];
        part.flying.clear();
        part.flying_touched.clear();
        part.lost &= !said.lost;
        for entry in &said.say {
            let Ok(id) = entry.u.parse() else { continue };
            let Some(user) = here.user(id) else { continue };
            part.due.remove(&(user.beside.due, id));
            if entry.v.is_empty() && user.sessions.is_empty() {
                here.forget(id);
                continue;
            }
            user.beside.version.clone_from(&entry.v);
            if let Some(at) = entry.a.as_ref().and_then(|at| at.parse().ok()) {
                user.beside.active_said = at;
            }
            if entry.t.as_ref().is_some_and(|text| *text == user.text) {
                user.beside.text_is_new = false;
            }
            user.beside.due = now + rand::random_range(AGAIN.0..AGAIN.1);
            part.due.insert((user.beside.due, id));
        }
    }

    /// What others did with this node's users.
    fn adopt(&mut self, answer: &Answer, at: Moment) {
        for user in &answer.want {
            let Ok(id) = user.parse() else { continue };
            self.part(part_of(id)).queue.insert(id);
        }
        for (user, text_at, text) in &answer.texts {
            let user = user.parse().ok().and_then(|id| self.here.user(id));
            if let Some(user) = user.filter(|user| !user.beside.text_is_new) {
                (user.text, user.beside.text_at) = (text.clone(), *text_at);
            }
        }
        for (user, wishes) in &answer.wishes {
            let Ok(id) = user.parse() else { continue };
            for (credential, rank) in wishes {
                let Ok(credential) = credential.parse() else {
                    continue;
                };
                let set = SetPresence {
                    status: wire::status(*rank).filter(|_| *rank > 0),
                    text: None,
                };
                self.here.set(id, Whose::Credential(credential), set, at);
            }
        }
    }

    /// A message of a part came.
    pub(super) fn hear(&mut self, number: u8, message: Message, now: Duration) {
        let (messages, other) = self.part(number).heard.take(message, now);
        if other {
            self.reread(now + SAID_AGAIN);
        }
        messages.into_iter().for_each(|message| self.apply(message));
    }

    fn apply(&mut self, message: Message) {
        for user in &message.c {
            if let Some(presence) = wire::presence(user) {
                self.changes.insert(presence.user_id, presence);
            }
        }
        let touched = message
            .t
            .iter()
            .filter_map(|text| wire::parse_touched(text));
        self.touched.extend(touched);
        for (node, user) in &message.p {
            if *node == self.node
                && let Ok(id) = user.parse()
            {
                self.part(part_of(id)).queue.insert(id);
            }
        }
        // A node whose ticks nobody runs has no readers either.
        if self.changes.len() + self.touched.len() > CHANGES_MAX {
            self.changes.clear();
            self.touched.clear();
            self.reread(Duration::ZERO);
        }
    }

    fn reread(&mut self, at: Duration) {
        self.reread_at = Some(self.reread_at.map_or(at, |other| other.max(at)));
    }

    /// Tells what changed within a tick.
    pub(super) fn tell(&mut self, now: Duration) {
        for number in 0..PARTS {
            let (messages, lost) = self.parts[number].heard.is_lost(now);
            messages.into_iter().for_each(|message| self.apply(message));
            if lost {
                self.reread(now);
            }
        }
        if self.reread_at.is_some_and(|at| at <= now) {
            self.reread_at = None;
            self.readers.renew();
        }
        let changes = self.changes.drain().map(|(_, presence)| presence);
        let touched = self.touched.drain().collect();
        self.readers.tell(changes.collect(), touched);
        metrics::gauge!("chirm_users_present").set(self.here.len() as f64);
    }
}

/// What is said of a user.
fn entry(id: Id, user: &User<Beside>, whole: bool, now: Duration) -> Entry {
    let sessions = wire::sessions(&user.sessions, now);
    let beside = &user.beside;
    let version = match (user.sessions.is_empty(), whole) {
        (true, _) => String::new(),
        (false, true) => wire::version(&sessions),
        (false, false) => beside.version.clone(),
    };
    let text = whole && (beside.text_is_new || beside.text_at > 0);
    let lives = user.sessions.iter().any(|session| session.until.is_none());
    let until = user.sessions.iter().filter_map(|session| session.until);
    let left = until.max().unwrap_or_default().saturating_sub(now) + AFTER_GRACE;
    Entry {
        u: id.to_string(),
        v: version,
        s: whole.then_some(sessions),
        a: (user.active_at > beside.active_said).then(|| user.active_at.to_string()),
        t: text.then(|| user.text.clone()),
        ta: if beside.text_is_new {
            0
        } else {
            beside.text_at
        },
        left: if lives {
            LIVE_MS
        } else {
            i64::try_from(left.as_millis()).unwrap_or(LIVE_MS)
        },
    }
}

/// What is set of a credential's sessions elsewhere.
pub(super) fn set_of(user: Id, credential: Id, set: &SetPresence) -> wire::Set {
    wire::Set {
        u: user.to_string(),
        c: credential.to_string(),
        s: set.status.map(wire::rank),
        t: set.text.clone(),
    }
}

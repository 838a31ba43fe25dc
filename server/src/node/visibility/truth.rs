//! Who is what, as it is to be; what follows from that by docs/permissions.md and
//! docs/webhooks.md; and when that held.

use super::ALLOWED;
use crate::model::{Id, Role, WebhookEvent};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::time::Instant;

/// Who is told, or who holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Who {
    User(usize),
    Webhook(usize),
    /// Whoever it is: some things nobody is told any more.
    Anyone,
}

/// What somebody may be told or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Thing {
    Server(Id),
    Channel(Id),
    User(Id),
    /// That a user has no session. Of the user itself.
    Away,
    /// A text of a message, by its number, until it is edited or deleted. Of anyone.
    Text(usize),
    /// A kind of event, by its bit. Of a webhook.
    Event(u32),
    /// At this one of its URLs, by its number. Of a webhook.
    Url(usize),
}

/// A server as it is to be.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) owner: usize,
    /// Roles by user, the owner among them.
    pub(super) members: BTreeMap<usize, Role>,
    pub(super) banned: BTreeSet<usize>,
    pub(super) open: Id,
    /// A private channel, if there is one now, and who is named in it.
    pub(super) private: Option<(Id, BTreeSet<usize>)>,
}

impl Server {
    pub(super) fn channels(&self) -> impl Iterator<Item = Id> {
        let private = self.private.as_ref().map(|(id, _)| *id);
        [self.open].into_iter().chain(private)
    }

    pub(super) fn role(&self, user: usize) -> Option<Role> {
        self.members.get(&user).copied()
    }

    /// Takes a user out.
    pub(super) fn lose(&mut self, user: usize) {
        self.members.remove(&user);
        if let Some((_, named)) = &mut self.private {
            named.remove(&user);
        }
    }
}

/// A webhook as it is to be.
#[derive(Clone)]
pub(super) struct Webhook {
    pub(super) id: Id,
    /// The server, or 0 for all.
    pub(super) server: Id,
    /// Bits of events.
    pub(super) events: u32,
    /// The number of its URL.
    pub(super) url: usize,
    pub(super) enabled: bool,
}

/// All of it.
#[derive(Clone, Default)]
pub(super) struct Truth {
    pub(super) servers: BTreeMap<Id, Server>,
    pub(super) directs: BTreeMap<Id, [usize; 2]>,
    /// Users without a session.
    pub(super) away: BTreeSet<usize>,
    /// The texts that messages have, by their numbers: channel and message.
    pub(super) texts: BTreeMap<usize, (Id, Id)>,
    pub(super) webhooks: BTreeMap<usize, Webhook>,
}

impl Truth {
    pub(super) fn server(&mut self, id: Id) -> &mut Server {
        self.servers.get_mut(&id).expect("there")
    }

    /// The channels that there are.
    pub(super) fn channels(&self) -> Vec<Id> {
        let of_servers = self.servers.values().flat_map(Server::channels);
        of_servers.chain(self.directs.keys().copied()).collect()
    }

    pub(super) fn things(&self, who: Who) -> BTreeSet<Thing> {
        match who {
            Who::User(user) => self.things_of_user(user),
            Who::Webhook(number) => self.things_of_webhook(number),
            Who::Anyone => {
                let channels = self.channels();
                let texts = self.texts.iter();
                let there = texts.filter(|(_, (channel, _))| channels.contains(channel));
                there.map(|(number, _)| Thing::Text(*number)).collect()
            }
        }
    }

    /// By docs/permissions.md: its servers; of their channels those that are open, and the private
    /// ones that name it, or all for admins; its direct channels.
    fn things_of_user(&self, user: usize) -> BTreeSet<Thing> {
        let mut things = BTreeSet::new();
        for (id, server) in &self.servers {
            let Some(role) = server.role(user) else {
                continue;
            };
            things.extend([Thing::Server(*id), Thing::Channel(server.open)]);
            if let Some((private, named)) = &server.private
                && (role >= Role::Admin || named.contains(&user))
            {
                things.insert(Thing::Channel(*private));
            }
        }
        let directs = self.directs.iter().filter(|(_, two)| two.contains(&user));
        things.extend(directs.map(|(channel, _)| Thing::Channel(*channel)));
        if self.away.contains(&user) {
            things.insert(Thing::Away);
        }
        things
    }

    /// By docs/webhooks.md: while it is switched on, of all channels of its server, or of all
    /// servers and direct channels; who made it plays no part.
    fn things_of_webhook(&self, number: usize) -> BTreeSet<Thing> {
        let mut things = BTreeSet::new();
        let Some(webhook) = self.webhooks.get(&number).filter(|w| w.enabled) else {
            return things;
        };
        things.insert(Thing::Url(webhook.url));
        let asked = WebhookEvent::ALL.iter().map(|event| event.bit());
        let asked = asked.filter(|bit| webhook.events & bit != 0);
        things.extend(asked.map(Thing::Event));
        for (id, server) in &self.servers {
            if [0, *id].contains(&webhook.server) {
                things.insert(Thing::Server(*id));
                things.extend(server.channels().map(Thing::Channel));
            }
        }
        if webhook.server == 0 {
            things.extend(self.directs.keys().copied().map(Thing::Channel));
        }
        things
    }

    /// Whether a webhook is to be told of such an event there, a server or a channel.
    pub(super) fn asks(&self, number: usize, event: WebhookEvent, place: Thing) -> bool {
        let things = self.things_of_webhook(number);
        let direct = matches!(place, Thing::Channel(id) if self.directs.contains_key(&id));
        let told = !direct || event == WebhookEvent::RecipientOffline;
        told && things.contains(&Thing::Event(event.bit())) && things.contains(&place)
    }
}

/// When each could be told what: moments at which that began and ended.
#[derive(Default)]
pub(super) struct Seen(HashMap<(Who, Thing), Vec<(Instant, bool)>>);

impl Seen {
    pub(super) fn note(&mut self, who: Who, thing: Thing, since: Instant, holds: bool) {
        let moments = self.0.entry((who, thing)).or_default();
        let last = moments.last().is_some_and(|(_, last)| *last);
        if last != holds {
            moments.push((since, holds));
        }
    }

    /// Everybody may be told what follows from this, from a moment on.
    pub(super) fn gain(&mut self, truth: &Truth, everybody: &[Who], since: Instant) {
        for who in everybody {
            for thing in truth.things(*who) {
                self.note(*who, thing, since, true);
            }
        }
    }

    /// Nobody may be told what doesn't follow from this, from now on.
    pub(super) fn lose(&mut self, truth: &Truth, everybody: &[Who]) {
        let now = Instant::now();
        for who in everybody {
            let things = truth.things(*who);
            let known = self.0.keys().filter(|(of, _)| of == who);
            let lost: Vec<Thing> = known.map(|(_, thing)| *thing).collect();
            for thing in lost.into_iter().filter(|thing| !things.contains(thing)) {
                self.note(*who, thing, now, false);
            }
        }
    }

    fn moments(&self, who: Who, thing: Thing) -> &[(Instant, bool)] {
        self.0.get(&(who, thing)).map_or(&[][..], Vec::as_slice)
    }

    /// Whether it held at a moment, or within what is allowed before.
    pub(super) fn could(&self, who: Who, thing: Thing, at: Instant) -> bool {
        let moments = self.moments(who, thing).iter();
        match moments.rev().find(|(since, _)| *since <= at) {
            None => false,
            Some((_, true)) => true,
            Some((ended, false)) => at.duration_since(*ended) <= ALLOWED,
        }
    }

    /// Whether it held at a moment, or at any before.
    pub(super) fn ever_could(&self, who: Who, thing: Thing, at: Instant) -> bool {
        let first = self.moments(who, thing).first();
        first.is_some_and(|(since, _)| *since <= at)
    }

    pub(super) fn holds_now(&self, who: Who, thing: Thing) -> bool {
        let last = self.moments(who, thing).last();
        last.is_some_and(|(_, holds)| *holds)
    }
}

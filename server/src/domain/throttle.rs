//! How fast: GCRA per key. Beyond the keys that are remembered, calls and sends are let through,
//! sign-ins refused.

use super::{Caller, Error, Reason};
use crate::config::Limits;
use crate::model::Id;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// Keys that one limiter remembers.
const KEYS_MAX: usize = 200_000;
/// The window of all rates but those of sends.
const MINUTE: Duration = Duration::from_secs(60);
/// Sign-ins of one name from one address: so many at once, then one in six seconds.
const SIGN_INS: u32 = 10;
/// Sign-ins and sign-ups from one address, all names together.
const ADDRESS_SIGN_INS: u32 = 60;
/// Refreshes and exchanges of tokens from one address, in the same time: there is no guessing
/// them, but each is work, and all devices of a place may come back at once.
const ADDRESS_EXCHANGES: u32 = 600;

struct Limiter<K: Eq + Hash + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    keys_max: usize,
}

impl<K: Eq + Hash + Clone> Limiter<K> {
    fn new(count: u32, window: Duration) -> Self {
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let period = (window / count.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(period)
            .unwrap_or_else(|| Quota::per_second(count))
            .allow_burst(count);
        Self {
            limiter: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            keys_max: KEYS_MAX,
        }
    }

    fn check(&self, key: &K) -> Result<(), Error> {
        self.limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            Error::new(Reason::RateLimited, "Too fast; wait, then try again.").retry_after(wait)
        })
    }

    /// Whether there is room for another key, once idle ones are forgotten.
    fn has_room(&self) -> bool {
        if self.limiter.len() < self.keys_max {
            return true;
        }
        self.limiter.retain_recent();
        self.limiter.len() < self.keys_max
    }
}

/// A rate of users, and `limits.service_factor` times that of the favoured. Beyond the keys that
/// are remembered it lets through.
struct Rate<K: Eq + Hash + Clone> {
    users: Limiter<K>,
    favoured: Limiter<K>,
}

impl<K: Eq + Hash + Clone> Rate<K> {
    fn new(count: u32, window: Duration, limits: &Limits) -> Self {
        Self {
            users: Limiter::new(count, window),
            favoured: Limiter::new(count.saturating_mul(limits.service_factor), window),
        }
    }

    fn check(&self, caller: &Caller, key: &K) -> Result<(), Error> {
        let limiter = if caller.is_favoured() {
            &self.favoured
        } else {
            &self.users
        };
        if !limiter.has_room() {
            return Ok(());
        }
        limiter.check(key)
    }

    fn forget_idle(&self) {
        self.users.limiter.retain_recent();
        self.favoured.limiter.retain_recent();
    }
}

/// All limiters.
pub(super) struct Throttle {
    enabled: bool,
    calls: Rate<Id>,
    creates: Rate<Id>,
    sends: Rate<(Id, Id)>,
    transients: Rate<(Id, Id)>,
    reads: Rate<(Id, Id)>,
    sign_ins: Limiter<(Option<IpAddr>, String)>,
    addresses: Limiter<IpAddr>,
    exchanges: Limiter<IpAddr>,
}

impl Throttle {
    pub(super) fn new(limits: &Limits) -> Self {
        let (count, window) = (limits.sends_per_window, limits.send_window);
        Self {
            enabled: limits.enabled,
            calls: Rate::new(limits.calls_per_minute, MINUTE, limits),
            creates: Rate::new(limits.creates_per_minute, MINUTE, limits),
            sends: Rate::new(count, window, limits),
            transients: Rate::new(count.saturating_mul(2), window, limits),
            reads: Rate::new(count.saturating_mul(2), window, limits),
            sign_ins: Limiter::new(SIGN_INS, MINUTE),
            addresses: Limiter::new(ADDRESS_SIGN_INS, MINUTE),
            exchanges: Limiter::new(ADDRESS_EXCHANGES, MINUTE),
        }
    }

    /// A call, whatever it asks for.
    pub(super) fn call(&self, caller: &Caller) -> Result<(), Error> {
        self.open(&self.calls, caller, caller.user_id)
    }

    /// A server, channel, invitation or bot to make, or a server to join.
    pub(super) fn create(&self, caller: &Caller) -> Result<(), Error> {
        self.open(&self.creates, caller, caller.user_id)
    }

    /// A message to a channel.
    pub(super) fn send(&self, caller: &Caller, channel: Id) -> Result<(), Error> {
        self.open(&self.sends, caller, (caller.user_id, channel))
    }

    /// An edit, a reaction, a pin, typing or a custom event.
    pub(super) fn transient(&self, caller: &Caller, channel: Id) -> Result<(), Error> {
        self.open(&self.transients, caller, (caller.user_id, channel))
    }

    /// An acknowledgement or a mute.
    pub(super) fn read(&self, caller: &Caller, channel: Id) -> Result<(), Error> {
        self.open(&self.reads, caller, (caller.user_id, channel))
    }

    /// A sign-in or sign-up under a name from an address.
    pub(super) fn sign_in(&self, from: Option<IpAddr>, name_key: &str) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        if !self.sign_ins.has_room() || !self.addresses.has_room() {
            return Err(
                Error::new(Reason::RateLimited, "Too many sign-ins everywhere; wait.")
                    .retry_after(MINUTE),
            );
        }
        if let Some(address) = from {
            self.addresses.check(&network(address))?;
        }
        self.sign_ins
            .check(&(from.map(network), name_key.to_owned()))
    }

    /// A token of any kind that is changed for new ones, from an address.
    pub(super) fn exchange(&self, from: Option<IpAddr>) -> Result<(), Error> {
        match from {
            Some(address) if self.enabled && self.exchanges.has_room() => {
                self.exchanges.check(&network(address))
            }
            _ => Ok(()),
        }
    }

    /// Forgets keys that are idle.
    pub(super) fn forget_idle(&self) {
        self.calls.forget_idle();
        self.creates.forget_idle();
        self.sends.forget_idle();
        self.transients.forget_idle();
        self.reads.forget_idle();
        self.sign_ins.limiter.retain_recent();
        self.addresses.limiter.retain_recent();
        self.exchanges.limiter.retain_recent();
    }

    fn open<K: Eq + Hash + Clone>(
        &self,
        rate: &Rate<K>,
        caller: &Caller,
        key: K,
    ) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        rate.check(caller, &key)
    }
}

/// One user of IPv6 commands a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => std::net::Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SessionKind;

    fn user(user_id: Id) -> Caller {
        Caller {
            user_id,
            session_id: 0,
            kind: SessionKind::User,
            service_bot: false,
        }
    }

    /// Ten keys of each kind may be remembered, and that many users have been here.
    fn full() -> Throttle {
        let mut throttle = Throttle::new(&Limits {
            sends_per_window: 1,
            send_window: Duration::from_secs(3_600),
            ..crate::config::Config::default().limits
        });
        throttle.sign_ins.keys_max = 10;
        throttle.sends.users.keys_max = 10;
        for id in 0..10 {
            throttle.sign_in(None, &format!("user {id}")).unwrap();
            throttle.send(&user(id), 1).unwrap();
        }
        throttle
    }

    #[test]
    fn beyond_the_keys_remembered_sign_ins_are_refused_and_sends_let_through() {
        let throttle = full();
        for name in ["user 0", "somebody"] {
            let refused = throttle.sign_in(None, name).unwrap_err();
            assert_eq!(refused.reason, Reason::RateLimited);
            assert!(refused.retry_after.is_some());
        }
        for _ in 0..5 {
            throttle.send(&user(10), 1).unwrap();
        }
    }

    #[test]
    fn with_room_each_users_sends_are_counted() {
        let mut throttle = full();
        throttle.sends.users.keys_max = 12;
        throttle.send(&user(10), 1).unwrap();
        assert!(throttle.send(&user(10), 1).is_err());
    }

    #[test]
    fn a_user_of_ipv6_is_a_network() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
    }
}

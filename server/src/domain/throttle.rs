//! How fast: GCRA per key. Sends fail open when too many keys are remembered, sign-ins fail closed.

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
/// Sign-ins of one name from one address: so many at once, then one in six seconds.
const SIGN_INS: u32 = 10;
const SIGN_IN_WINDOW: Duration = Duration::from_secs(60);
/// Sign-ins and sign-ups from one address, all names together.
const ADDRESS_SIGN_INS: u32 = 60;
/// Refreshes and exchanges of tokens from one address, in the same time: there is no guessing
/// them, but each is work, and all devices of a place may come back at once.
const ADDRESS_EXCHANGES: u32 = 600;

struct Limiter<K: Eq + Hash + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
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
        if self.limiter.len() < KEYS_MAX {
            return true;
        }
        self.limiter.retain_recent();
        self.limiter.len() < KEYS_MAX
    }
}

/// All limiters.
pub(super) struct Throttle {
    enabled: bool,
    sends: Limiter<(Id, Id)>,
    service_sends: Limiter<(Id, Id)>,
    transients: Limiter<(Id, Id)>,
    service_transients: Limiter<(Id, Id)>,
    sign_ins: Limiter<(Option<IpAddr>, String)>,
    addresses: Limiter<IpAddr>,
    exchanges: Limiter<IpAddr>,
}

impl Throttle {
    pub(super) fn new(limits: &Limits) -> Self {
        let (count, window) = (limits.sends_per_window, limits.send_window);
        let many = count.saturating_mul(limits.service_factor);
        Self {
            enabled: limits.enabled,
            sends: Limiter::new(count, window),
            service_sends: Limiter::new(many, window),
            transients: Limiter::new(count.saturating_mul(2), window),
            service_transients: Limiter::new(many.saturating_mul(2), window),
            sign_ins: Limiter::new(SIGN_INS, SIGN_IN_WINDOW),
            addresses: Limiter::new(ADDRESS_SIGN_INS, SIGN_IN_WINDOW),
            exchanges: Limiter::new(ADDRESS_EXCHANGES, SIGN_IN_WINDOW),
        }
    }

    /// A message to a channel.
    pub(super) fn send(&self, caller: &Caller, channel: Id) -> Result<(), Error> {
        let limiter = if caller.is_favoured() {
            &self.service_sends
        } else {
            &self.sends
        };
        self.open(limiter, &(caller.user_id, channel))
    }

    /// Typing or a custom event.
    pub(super) fn transient(&self, caller: &Caller, channel: Id) -> Result<(), Error> {
        let favoured = caller.is_favoured();
        let limiter = if favoured {
            &self.service_transients
        } else {
            &self.transients
        };
        self.open(limiter, &(caller.user_id, channel))
    }

    /// A sign-in or sign-up under a name from an address.
    pub(super) fn sign_in(&self, from: Option<IpAddr>, name_key: &str) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        if !self.sign_ins.has_room() || !self.addresses.has_room() {
            return Err(
                Error::new(Reason::RateLimited, "Too many sign-ins everywhere; wait.")
                    .retry_after(SIGN_IN_WINDOW),
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
        for limiter in [
            &self.sends,
            &self.service_sends,
            &self.transients,
            &self.service_transients,
        ] {
            limiter.limiter.retain_recent();
        }
        self.sign_ins.limiter.retain_recent();
        self.addresses.limiter.retain_recent();
        self.exchanges.limiter.retain_recent();
    }

    fn open(&self, limiter: &Limiter<(Id, Id)>, key: &(Id, Id)) -> Result<(), Error> {
        if !self.enabled || !limiter.has_room() {
            return Ok(());
        }
        limiter.check(key)
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

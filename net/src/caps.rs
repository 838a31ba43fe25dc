//! How many connections there are, in all and of each address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{counter, gauge};
use tokio::sync::Notify;

/// Counts connections and refuses those above the caps.
#[derive(Debug)]
pub(super) struct Caps {
    total_max: usize,
    /// None: as many as [`Caps::total_max`].
    per_address_max: Option<usize>,
    /// Addresses whose connections are those of many users.
    exempt: Vec<IpAddr>,
    open: Mutex<Open>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// Only addresses with a connection, so never more than there are connections.
    of_address: HashMap<IpAddr, usize>,
}

/// Stands for one open connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    caps: Arc<Caps>,
    /// What it counts as; none for those that are exempt.
    subject: Option<IpAddr>,
}

impl Caps {
    pub(super) fn new(
        total_max: usize,
        per_address_max: Option<usize>,
        exempt: Vec<IpAddr>,
    ) -> Arc<Caps> {
        let exempt = exempt.iter().map(IpAddr::to_canonical).collect();
        let open = Mutex::default();
        Arc::new(Caps {
            total_max,
            per_address_max,
            exempt,
            open,
            emptied: Notify::new(),
        })
    }

    /// A permit for a connection of `address`, or none if that is one too many.
    pub(super) fn take(self: &Arc<Caps>, address: IpAddr) -> Option<Permit> {
        // The very address: its neighbours in a /64 are others.
        let exempt = self.exempt.contains(&address.to_canonical());
        let subject = (!exempt).then(|| subject(address));
        let mut open = self.lock();
        let has = |subject| open.of_address.get(subject).copied().unwrap_or(0);
        let per_address_max = self.per_address_max.unwrap_or(usize::MAX);
        let refused = if open.total >= self.total_max {
            Some("total")
        } else if subject.as_ref().map_or(0, has) >= per_address_max {
            Some("address")
        } else {
            None
        };
        if let Some(reason) = refused {
            counter!("chirm_net_connections_refused_total", "reason" => reason).increment(1);
            return None;
        }
        open.total += 1;
        if let Some(subject) = subject {
            *open.of_address.entry(subject).or_default() += 1;
        }
        gauge!("chirm_net_connections").increment(1);
        Some(Permit {
            caps: Arc::clone(self),
            subject,
        })
    }

    /// Returns once no permit is held.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().total == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // The counts are whole at every point where a panic could start.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.caps.lock();
        open.total -= 1;
        if let Some(subject) = self.subject
            && let Entry::Occupied(mut entry) = open.of_address.entry(subject)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        gauge!("chirm_net_connections").decrement(1);
        if open.total == 0 {
            self.caps.emptied.notify_waiters();
        }
    }
}

/// What is counted as one address: of IPv6 the /64, which one customer has whole.
fn subject(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let caps = Caps::new(10, Some(2), vec![]);
        let first = caps.take(ip("192.0.2.1")).unwrap();
        let _second = caps.take(ip("::ffff:192.0.2.1")).unwrap();
        assert!(caps.take(ip("192.0.2.1")).is_none());
        let _other = caps.take(ip("192.0.2.2")).unwrap();
        drop(first);
        assert!(caps.take(ip("192.0.2.1")).is_some());
        assert_eq!(caps.lock().of_address.len(), 2);
    }

    #[test]
    fn ipv6_is_counted_by_64_bits_and_proxies_are_not() {
        let caps = Caps::new(10, Some(1), vec![ip("2001:db8:1::1")]);
        let _first = caps.take(ip("2001:db8::1")).unwrap();
        assert!(caps.take(ip("2001:db8::2:1")).is_none());
        let _proxy = caps.take(ip("2001:db8:1::1")).unwrap();
        let _more = caps.take(ip("2001:db8:1::1")).unwrap();
        // What is beside the proxy is not the proxy, and has its own share.
        let _beside = caps.take(ip("2001:db8:1::2")).unwrap();
        assert!(caps.take(ip("2001:db8:1::3")).is_none());
    }

    #[tokio::test]
    async fn the_total_holds_and_emptiness_is_told() {
        let caps = Caps::new(1, None, vec![]);
        let permit = caps.take(ip("192.0.2.1")).unwrap();
        assert!(caps.take(ip("192.0.2.2")).is_none());
        let waiting = tokio::spawn({
            let caps = Arc::clone(&caps);
            async move { caps.empty().await }
        });
        tokio::task::yield_now().await;
        drop(permit);
        waiting.await.unwrap();
        assert!(caps.lock().of_address.is_empty());
    }
}

//! Which way to the relay is tried first: UDP, or a WebSocket where a network lets no UDP through.
//!
//! Both are tried, one a little behind the other, and the first that is answered is taken. What a network has taught is
//! remembered under its name for a while. Pure: it is told the time. Not here: dialling (`dial`), when (`dialer`).

use std::collections::BTreeMap;
use std::time::Duration;

use gridbeat_base::Monotonic;

use crate::Path;

/// How long UDP is alone at first. On most links it is answered by then.
const WEB_SOCKET_BEHIND: Duration = Duration::from_millis(300);

/// How long a WebSocket is alone where UDP was blocked: three round trips more than a link usually has.
const UDP_BEHIND: Duration = Duration::from_secs(2);

/// How long it is believed that a network blocks UDP. Then UDP goes first again.
const BELIEVED: Duration = Duration::from_secs(30 * 60);

/// A connection over UDP that falls silent before this age is one that a firewall let begin.
const YOUNG: Duration = Duration::from_secs(10);

/// Networks that are remembered, at most.
const NETWORKS_MAX: usize = 64;

/// What is known of the networks that the device has been in.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// The present network, as far as it has a name.
    network: String,
    /// Until when each is believed to block UDP.
    blocked: BTreeMap<String, Monotonic>,
}

/// Which way goes first, and how far behind the other one begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Order {
    pub(crate) first: Path,
    pub(crate) lead: Duration,
}

impl Order {
    pub(crate) const UDP_FIRST: Self = Self {
        first: Path::Udp,
        lead: WEB_SOCKET_BEHIND,
    };
    pub(crate) const WEB_SOCKET_FIRST: Self = Self {
        first: Path::WebSocket,
        lead: UDP_BEHIND,
    };
}

impl Paths {
    /// Notes that the network is another one. Of one without a name nothing is known.
    pub(crate) fn network_changed(&mut self, name: Option<String>) {
        self.network = name.unwrap_or_default();
        self.blocked.remove("");
    }

    /// Returns the order for a dial.
    pub(crate) fn order(&self, now: Monotonic) -> Order {
        match self.blocked.get(&self.network) {
            Some(until) if now < *until => Order::WEB_SOCKET_FIRST,
            Some(_) | None => Order::UDP_FIRST,
        }
    }

    /// Returns the order for a rival of a connection that began at `began` and is silent.
    pub(crate) fn order_beside(&self, path: Path, began: Monotonic, now: Monotonic) -> Order {
        if path == Path::Udp && now.since(began) < YOUNG {
            return Order::WEB_SOCKET_FIRST;
        }
        self.order(now)
    }

    /// Notes by which way the relay was heard, when both were tried.
    pub(crate) fn heard(&mut self, path: Path, now: Monotonic) {
        match path {
            Path::Udp => {
                self.blocked.remove(&self.network);
            }
            Path::WebSocket => {
                if self.blocked.len() >= NETWORKS_MAX {
                    self.blocked.retain(|_, until| now < *until);
                }
                if self.blocked.len() < NETWORKS_MAX {
                    self.blocked
                        .insert(self.network.clone(), now.plus(BELIEVED));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn what_a_network_has_taught_is_remembered_under_its_name_for_a_while() {
        let mut paths = Paths::default();
        assert_eq!(paths.order(at(0)), Order::UDP_FIRST);
        paths.network_changed(Some("office".to_owned()));
        paths.heard(Path::WebSocket, at(1));
        assert_eq!(paths.order(at(2)), Order::WEB_SOCKET_FIRST);
        paths.network_changed(Some("street".to_owned()));
        assert_eq!(paths.order(at(3)), Order::UDP_FIRST);
        paths.network_changed(Some("office".to_owned()));
        assert_eq!(paths.order(at(4)), Order::WEB_SOCKET_FIRST);
        assert_eq!(paths.order(at(1 + 30 * 60)), Order::UDP_FIRST);
    }

    #[test]
    fn of_a_network_without_a_name_nothing_is_known_after_the_next_change() {
        let mut paths = Paths::default();
        paths.heard(Path::WebSocket, at(1));
        assert_eq!(paths.order(at(2)), Order::WEB_SOCKET_FIRST);
        paths.network_changed(None);
        assert_eq!(paths.order(at(3)), Order::UDP_FIRST);
    }

    #[test]
    fn udp_that_falls_silent_right_after_it_began_has_a_rival_over_tcp() {
        let paths = Paths::default();
        let order = paths.order_beside(Path::Udp, at(5), at(7));
        assert_eq!(order, Order::WEB_SOCKET_FIRST);
        assert_eq!(
            paths.order_beside(Path::Udp, at(5), at(60)),
            Order::UDP_FIRST
        );
    }

    #[test]
    fn a_network_where_udp_is_heard_again_is_believed() {
        let mut paths = Paths::default();
        paths.heard(Path::WebSocket, at(1));
        paths.heard(Path::Udp, at(2));
        assert_eq!(paths.order(at(3)), Order::UDP_FIRST);
    }

    #[test]
    fn no_more_networks_are_remembered_than_have_room() {
        let mut paths = Paths::default();
        for number in 0..200 {
            paths.network_changed(Some(format!("network {number}")));
            paths.heard(Path::WebSocket, at(1));
        }
        assert_eq!(paths.blocked.len(), NETWORKS_MAX);
    }
}

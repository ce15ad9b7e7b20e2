//! Choosing a subnet that does not collide with the host's networks.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::link::Route;

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subnet {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
}

impl Subnet {
    const fn new(a: u8, b: u8, c: u8, prefix: u8) -> Self {
        Self {
            address: Ipv4Addr::new(a, b, c, 0),
            prefix,
        }
    }

    /// The first address, which the bridge takes.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) + 1)
    }

    /// The addresses for sandboxes: all but the network's, the gateway's and the broadcast's.
    pub(crate) fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        let first = u32::from(self.address);
        let last = first | !mask(self.prefix);
        (first + 2..last).map(Ipv4Addr::from)
    }

    /// Whether the networks have an address in common: a route to everywhere has none.
    fn collides(self, route: &Route) -> bool {
        let common = mask(self.prefix.min(route.prefix));
        route.prefix > 0
            && u32::from(self.address) & common == u32::from(route.destination) & common
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// Chooses the first candidate that no route of the host leads to.
pub(crate) fn choose(preferred: Option<Subnet>, routes: &[Route]) -> Option<Subnet> {
    let free = |subnet: &Subnet| !routes.iter().any(|route| subnet.collides(route));
    preferred.into_iter().chain(candidates()).find(free)
}

/// Wide networks first; then some that hosts rarely use, for hosts that route all of 10.0.0.0/8.
fn candidates() -> impl Iterator<Item = Subnet> {
    let wide = (88..=127).map(|b| Subnet::new(10, b, 0, 16));
    let middle = (20..=31).rev().map(|b| Subnet::new(172, b, 0, 16));
    let narrow = (200..=254).map(|c| Subnet::new(192, 168, c, 24));
    wide.chain(middle).chain(narrow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(preferred: Option<Subnet>, routes: &[([u8; 4], u8)], expected: Subnet) {
        let routes: Vec<Route> = routes
            .iter()
            .map(|(address, prefix)| Route {
                destination: Ipv4Addr::from(*address),
                prefix: *prefix,
                interface: 2,
            })
            .collect();
        assert_eq!(choose(preferred, &routes), Some(expected), "{routes:?}");
    }

    #[test]
    fn the_first_free_subnet_is_chosen() {
        let everywhere = ([0, 0, 0, 0], 0);
        check(None, &[everywhere], Subnet::new(10, 88, 0, 16));
        check(
            None,
            &[everywhere, ([10, 88, 0, 0], 16)],
            Subnet::new(10, 89, 0, 16),
        );
        check(None, &[([10, 88, 3, 0], 24)], Subnet::new(10, 89, 0, 16));
        check(None, &[([10, 88, 3, 9], 32)], Subnet::new(10, 89, 0, 16));
        check(None, &[([10, 0, 0, 0], 8)], Subnet::new(172, 31, 0, 16));
        check(
            None,
            &[([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12)],
            Subnet::new(192, 168, 200, 24),
        );
        let before = Some(Subnet::new(10, 95, 0, 16));
        check(before, &[everywhere], Subnet::new(10, 95, 0, 16));
        check(before, &[([10, 95, 0, 0], 16)], Subnet::new(10, 88, 0, 16));
    }

    #[test]
    fn addresses_leave_out_the_special_ones() {
        let subnet = Subnet::new(192, 168, 200, 24);
        let addresses: Vec<Ipv4Addr> = subnet.addresses().collect();
        assert_eq!(subnet.gateway(), Ipv4Addr::new(192, 168, 200, 1));
        assert_eq!(addresses.first(), Some(&Ipv4Addr::new(192, 168, 200, 2)));
        assert_eq!(addresses.last(), Some(&Ipv4Addr::new(192, 168, 200, 254)));
    }
}

//! The network of sandboxes: a bridge with address translation, and leases of its addresses.

pub(crate) mod attachment;
mod bridge;
mod link;
mod netlink;
mod nftables;
mod resolver;
mod subnet;

use std::net::Ipv4Addr;

pub use bridge::{Bridge, Lease};
pub(crate) use link::Links;
pub use resolver::host_resolv_conf;

/// The hardware address of whoever has an IPv4 address, as docker makes it: locally administered,
/// and the same whenever the address is given out again, so that no neighbour's cache is wrong.
fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// Whether the kernel answers for nftables.
pub(crate) fn has_nftables() -> bool {
    nftables::is_present()
}

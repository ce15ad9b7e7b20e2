//! Interfaces, addresses and routes by rtnetlink(7).

use std::io;
use std::net::Ipv4Addr;

use super::netlink::{Request, Socket, attribute, word};

/// Room of the headers that rtnetlink puts before attributes.
const LINK_HEADER_SIZE: usize = 16; // ifinfomsg
const ROUTE_HEADER_SIZE: usize = 12; // rtmsg

const CREATE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// The attribute of a veth's link data that describes its other end (linux/veth.h).
const VETH_INFO_PEER: u16 = 1;
/// The attribute of a bridge port that sends frames back out of where they came in
/// (linux/if_link.h).
const BRIDGE_PORT_MODE: u16 = 4;

/// A connection to the interfaces of the network namespace it was made in.
pub(crate) struct Links(Socket);

/// One route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Ipv4Addr,
    pub(crate) prefix: u8,
    /// The index of the interface.
    pub(crate) interface: u32,
}

/// A veth pair to make: one end on a bridge here, the other in a process' network namespace.
#[derive(Clone, Debug)]
pub(crate) struct VethPair<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) bridge_index: u32,
    pub(crate) sandbox_name: &'a str,
    pub(crate) sandbox_pid: i32,
    pub(crate) sandbox_hardware_address: [u8; 6],
    pub(crate) mtu: u32,
}

impl Links {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self(Socket::open(None)?))
    }

    /// Returns the index of an interface, or `None` if there is none of the name.
    pub(crate) fn index(&self, name: &str) -> io::Result<Option<u32>> {
        let links = self.links()?;
        Ok(links
            .into_iter()
            .find(|link| link.name == name)
            .map(|link| link.index))
    }

    /// Returns the MTU of an interface.
    pub(crate) fn mtu(&self, index: u32) -> io::Result<Option<u32>> {
        let links = self.links()?;
        Ok(links
            .into_iter()
            .find(|link| link.index == index)
            .map(|link| link.mtu))
    }

    fn links(&self) -> io::Result<Vec<Link>> {
        let request = Request::new(libc::RTM_GETLINK, 0, &link_header(0, 0, 0));
        let answers = self.0.dump(request)?;
        Ok(answers
            .iter()
            .filter_map(|answer| Link::parse(&answer.body))
            .collect())
    }

    /// Creates a bridge and switches it on.
    pub(crate) fn create_bridge(
        &self,
        name: &str,
        mtu: u32,
        hardware_address: [u8; 6],
    ) -> io::Result<()> {
        let header = link_header(0, libc::IFF_UP, libc::IFF_UP);
        let request = Request::new(libc::RTM_NEWLINK, CREATE, &header)
            .with_string(libc::IFLA_IFNAME, name)
            .with(libc::IFLA_MTU, &mtu.to_ne_bytes())
            // Given explicitly, it stays: a bridge otherwise takes on that of its lowest port.
            .with(libc::IFLA_ADDRESS, &hardware_address)
            .nested(libc::IFLA_LINKINFO, |info| {
                info.with_string(libc::IFLA_INFO_KIND, "bridge")
            });
        self.0.request(request)
    }

    /// Creates a veth pair with one end up on a bridge and the other in a sandbox.
    pub(crate) fn create_veth(&self, pair: &VethPair<'_>) -> io::Result<()> {
        let header = link_header(0, libc::IFF_UP, libc::IFF_UP);
        let request = Request::new(libc::RTM_NEWLINK, CREATE, &header)
            .with_string(libc::IFLA_IFNAME, pair.host_name)
            .with(libc::IFLA_MTU, &pair.mtu.to_ne_bytes())
            .with(libc::IFLA_MASTER, &pair.bridge_index.to_ne_bytes())
            .nested(libc::IFLA_LINKINFO, |info| {
                info.with_string(libc::IFLA_INFO_KIND, "veth").nested(
                    libc::IFLA_INFO_DATA,
                    |data| {
                        data.nested(VETH_INFO_PEER, |peer| {
                            peer.raw(&link_header(0, 0, 0))
                                .with_string(libc::IFLA_IFNAME, pair.sandbox_name)
                                .with(libc::IFLA_MTU, &pair.mtu.to_ne_bytes())
                                .with(libc::IFLA_ADDRESS, &pair.sandbox_hardware_address)
                                .with(libc::IFLA_NET_NS_PID, &pair.sandbox_pid.to_ne_bytes())
                        })
                    },
                )
            });
        self.0.request(request)
    }

    /// Lets a bridge port send frames back to where they came from: a sandbox reaches its own
    /// published ports that way.
    pub(crate) fn set_hairpin(&self, name: &str) -> io::Result<()> {
        let request = Request::new(libc::RTM_NEWLINK, 0, &link_header(0, 0, 0))
            .with_string(libc::IFLA_IFNAME, name)
            .nested(libc::IFLA_LINKINFO, |info| {
                info.with_string(libc::IFLA_INFO_SLAVE_KIND, "bridge")
                    .nested(libc::IFLA_INFO_SLAVE_DATA, |data| {
                        data.with(BRIDGE_PORT_MODE, &[1])
                    })
            });
        self.0.request(request)
    }

    /// Switches an interface on.
    pub(crate) fn set_up(&self, index: u32) -> io::Result<()> {
        let header = link_header(index, libc::IFF_UP, libc::IFF_UP);
        self.0.request(Request::new(libc::RTM_NEWLINK, 0, &header))
    }

    /// Deletes an interface; one that is gone already is as good.
    pub(crate) fn delete(&self, name: &str) -> io::Result<()> {
        let request = Request::new(libc::RTM_DELLINK, 0, &link_header(0, 0, 0))
            .with_string(libc::IFLA_IFNAME, name);
        match self.0.request(request) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            deleted => deleted,
        }
    }

    /// Gives an interface an address; one it has already is as good.
    pub(crate) fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut header = [
            libc::AF_INET as u8,
            prefix,
            0,
            libc::RT_SCOPE_UNIVERSE,
            0,
            0,
            0,
            0,
        ];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        let broadcast = Ipv4Addr::from(u32::from(address) | host_bits);
        let request = Request::new(libc::RTM_NEWADDR, CREATE, &header)
            .with(libc::IFA_LOCAL, &address.octets())
            .with(libc::IFA_ADDRESS, &address.octets())
            .with(libc::IFA_BROADCAST, &broadcast.octets());
        match self.0.request(request) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            added => added,
        }
    }

    /// Sends all that has no other route to a gateway.
    pub(crate) fn add_default_route(&self, gateway: Ipv4Addr) -> io::Result<()> {
        let header = [
            libc::AF_INET as u8,
            0, // length of the destination's prefix
            0,
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_BOOT,
            libc::RT_SCOPE_UNIVERSE,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        let request = Request::new(libc::RTM_NEWROUTE, CREATE, &header)
            .with(libc::RTA_GATEWAY, &gateway.octets());
        self.0.request(request)
    }

    /// Lists the IPv4 routes of the main table.
    pub(crate) fn routes(&self) -> io::Result<Vec<Route>> {
        let mut header = [0; ROUTE_HEADER_SIZE];
        header[0] = libc::AF_INET as u8;
        let answers = self.0.dump(Request::new(libc::RTM_GETROUTE, 0, &header))?;
        Ok(answers
            .iter()
            .filter_map(|answer| Route::parse(&answer.body))
            .collect())
    }
}

struct Link {
    index: u32,
    name: String,
    mtu: u32,
}

impl Link {
    fn parse(body: &[u8]) -> Option<Self> {
        let name = attribute(body, LINK_HEADER_SIZE, libc::IFLA_IFNAME)?;
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        Some(Self {
            index: word(body, 4),
            name: String::from_utf8_lossy(name).into_owned(),
            mtu: word(attribute(body, LINK_HEADER_SIZE, libc::IFLA_MTU)?, 0),
        })
    }
}

impl Route {
    fn parse(body: &[u8]) -> Option<Self> {
        let prefix = *body.get(1)?;
        if *body.get(4)? != libc::RT_TABLE_MAIN || *body.get(7)? != libc::RTN_UNICAST {
            return None;
        }
        let destination: [u8; 4] = attribute(body, ROUTE_HEADER_SIZE, libc::RTA_DST)
            .unwrap_or(&[0; 4])
            .try_into()
            .ok()?;
        let interface = word(attribute(body, ROUTE_HEADER_SIZE, libc::RTA_OIF)?, 0);
        Some(Self {
            destination: destination.into(),
            prefix,
            interface,
        })
    }
}

/// An `ifinfomsg`: which interface, and which of its flags to set to what.
fn link_header(index: u32, flags: i32, change: i32) -> [u8; LINK_HEADER_SIZE] {
    let mut header = [0; LINK_HEADER_SIZE];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

//! Connecting one sandbox: a veth pair, its end on the bridge and its end inside.

use std::net::Ipv4Addr;

use super::link::{Links, VethPair};
use crate::error::{At, Error, Step};
use crate::spec::{BridgeAttachment, Network};

/// The name of the interface inside every connected sandbox.
const SANDBOX_INTERFACE: &str = "eth0";

/// The index of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;

/// Creates the pair between a bridge, which `links` sees, and the network namespace of a process,
/// and returns the name of the end on the bridge. It goes with that namespace or by
/// [`disconnect`].
pub(crate) fn connect(
    links: &Links,
    attachment: &BridgeAttachment,
    pid: i32,
) -> Result<String, Error> {
    let step = || Step::ConnectToBridge;
    let bridge = links
        .index(&attachment.bridge)
        .at_path(step(), &attachment.bridge)?;
    let bridge_index = bridge
        .ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENODEV))
        .at_path(step(), &attachment.bridge)?;
    let host_name = unused_name().at_path(step(), &attachment.bridge)?;
    let pair = VethPair {
        host_name: &host_name,
        bridge_index,
        sandbox_name: SANDBOX_INTERFACE,
        sandbox_pid: pid,
        sandbox_hardware_address: super::hardware_address(attachment.address),
        mtu: attachment.mtu,
    };
    links
        .create_veth(&pair)
        .and_then(|()| links.set_hairpin(&host_name))
        .at_path(step(), &attachment.bridge)?;
    Ok(host_name)
}

/// Makes a name up. Seven hexadecimal digits, as docker's: enough that a collision, which the
/// kernel would refuse, is not to be expected.
fn unused_name() -> std::io::Result<String> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("veth{:07x}", u32::from_ne_bytes(bytes) >> 4))
}

/// Deletes the pair by its end on the bridge.
pub(crate) fn disconnect(host_name: &str) -> Result<(), Error> {
    let links = Links::open().at(Step::OpenNetlink)?;
    links
        .delete(host_name)
        .at_path(Step::ConnectToBridge, host_name)
}

/// Configures the interfaces inside the network namespace this process is in.
pub(crate) fn configure(network: &Network) -> Result<(), Error> {
    match network {
        Network::Host | Network::Process(_) => Ok(()),
        Network::None => {
            let links = Links::open().at(Step::OpenNetlink)?;
            links.set_up(LOOPBACK).at_path(Step::ConfigureNetwork, "lo")
        }
        Network::Bridge(attachment) => {
            let links = Links::open().at(Step::OpenNetlink)?;
            links
                .set_up(LOOPBACK)
                .at_path(Step::ConfigureNetwork, "lo")?;
            configure_interface(
                &links,
                attachment.address,
                attachment.prefix,
                attachment.gateway,
            )
            .at_path(Step::ConfigureNetwork, SANDBOX_INTERFACE)
        }
    }
}

fn configure_interface(
    links: &Links,
    address: Ipv4Addr,
    prefix: u8,
    gateway: Ipv4Addr,
) -> std::io::Result<()> {
    let index = links.index(SANDBOX_INTERFACE)?;
    let index = index.ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENODEV))?;
    links.add_address(index, address, prefix)?;
    links.set_up(index)?;
    links.add_default_route(gateway)
}

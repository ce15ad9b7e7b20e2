//! Binding published ports, and the threads that serve them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::mapping::{PortMapping, Protocol, PublishedPort, split_protocol};
use super::{tcp, udp};
use crate::Error;
use crate::error::At;
use crate::record::ContainerRecord;

/// The published ports of one container: bound, and served once it runs.
#[derive(Default)]
pub(crate) struct Listeners {
    bound: Vec<Bound>,
    ports: Vec<PublishedPort>,
    threads: Vec<JoinHandle<()>>,
    /// Hanging up on its other sides stops the threads.
    stop: Option<UnixStream>,
}

struct Bound {
    socket: OwnedFd,
    port: PublishedPort,
}

/// Docker's queue length of connections that were not accepted yet.
const BACKLOG: i32 = 128;

/// Binds all ports that a container publishes.
///
/// # Errors
/// [`Error::PortUnavailable`] with docker's words; nothing stays bound then.
pub(crate) fn publish(record: &ContainerRecord) -> Result<Listeners, Error> {
    let mut listeners = Listeners::default();
    for mapping in record.host.ports.iter().chain(&exposed(record)) {
        listeners.bind(mapping)?;
    }
    listeners.ports.sort();
    Ok(listeners)
}

/// With `-P`, the exposed ports that no mapping is for, each on a free port of the host.
fn exposed(record: &ContainerRecord) -> Vec<PortMapping> {
    let keys = record
        .config
        .exposed_ports
        .iter()
        .flatten()
        .map(|(key, _)| key);
    let mapping = |key: &String| {
        let (port, protocol) = split_protocol(key)?;
        let container_port = port.parse().ok()?;
        Some(PortMapping {
            host_ip: None,
            host_port: None,
            container_port,
            protocol,
        })
    };
    let is_new = |new: &PortMapping| {
        let same = |known: &PortMapping| known.key() == new.key();
        record.host.publish_all && !record.host.ports.iter().any(same)
    };
    keys.filter_map(mapping).filter(is_new).collect()
}

impl Listeners {
    /// Returns what is published.
    pub(crate) fn published(&self) -> Vec<PublishedPort> {
        self.ports.clone()
    }

    /// Binds one port: on all addresses of both families unless one is given, as docker does.
    fn bind(&mut self, mapping: &PortMapping) -> Result<(), Error> {
        let wanted = mapping.host_port.unwrap_or(0);
        let Some(address) = mapping.host_ip else {
            let port = self.bind_address(mapping, Ipv4Addr::UNSPECIFIED.into(), wanted)?;
            // The same number; a host without IPv6 does without, and a free IPv4 port that is
            // taken on IPv6 is still of use.
            return match self.bind_address(mapping, Ipv6Addr::UNSPECIFIED.into(), port) {
                Err(error) if wanted != 0 && is_in_use(&error) => Err(error),
                _ => Ok(()),
            };
        };
        self.bind_address(mapping, address, wanted).map(drop)
    }

    fn bind_address(
        &mut self,
        mapping: &PortMapping,
        host_ip: IpAddr,
        port: u16,
    ) -> Result<u16, Error> {
        let address = SocketAddr::new(host_ip, port);
        let socket = bind_socket(address, mapping.protocol).map_err(|error| {
            let reason = match error {
                Errno::ADDRINUSE => IN_USE.to_owned(),
                error => io::Error::from(error).to_string(),
            };
            Error::PortUnavailable {
                address: address.to_string(),
                reason,
            }
        })?;
        let bound = rustix::net::getsockname(&socket).at("inspect", "a listening socket")?;
        let bound = SocketAddr::try_from(bound).at("inspect", "a listening socket")?;
        let port = PublishedPort {
            container_port: mapping.container_port,
            protocol: mapping.protocol,
            host_ip,
            host_port: bound.port(),
        };
        self.ports.push(port);
        self.bound.push(Bound { socket, port });
        Ok(bound.port())
    }

    /// Starts to forward what arrives to the container.
    pub(crate) fn serve(&mut self, container: Ipv4Addr) -> Result<(), Error> {
        if self.bound.is_empty() {
            return Ok(());
        }
        let (stop, stopped) = UnixStream::pair().at("create", "a socket pair")?;
        for Bound { socket, port } in self.bound.drain(..) {
            let stopped = stopped.try_clone().at("duplicate", "a socket")?;
            let target = SocketAddr::new(container.into(), port.container_port);
            self.threads
                .push(std::thread::spawn(move || match port.protocol {
                    Protocol::Tcp => tcp::serve(&socket.into(), target, &stopped),
                    Protocol::Udp => udp::serve(&socket.into(), target, &stopped),
                }));
        }
        self.stop = Some(stop);
        Ok(())
    }

    /// Frees the ports. Connections that are open end with the process.
    pub(crate) fn close(mut self) {
        self.stop = None;
        for thread in self.threads.drain(..) {
            // A panic of a proxy is no reason not to put the rest in order.
            let _ = thread.join();
        }
    }
}

/// Docker's words for an address in use.
const IN_USE: &str = "port is already allocated";

fn is_in_use(error: &Error) -> bool {
    matches!(error, Error::PortUnavailable { reason, .. } if reason == IN_USE)
}

fn bind_socket(address: SocketAddr, protocol: Protocol) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of a former listener that still linger are no reason to refuse.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Waits until one of `sockets` can be read; `None` when the container has ended.
pub(super) fn wait_readable(
    sockets: &[&dyn AsFd],
    stopped: &UnixStream,
    timeout: Option<&rustix::event::Timespec>,
) -> Option<Vec<bool>> {
    let mut waited: Vec<_> = sockets
        .iter()
        .map(|socket| socket.as_fd())
        .chain([stopped.as_fd()])
        .map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN))
        .collect();
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut waited, timeout)).ok()?;
    let mut ready: Vec<bool> = waited.iter().map(|fd| !fd.revents().is_empty()).collect();
    match ready.pop() {
        Some(false) => Some(ready),
        _ => None,
    }
}

//! The supervisor of a lane: it makes a network namespace, stays in it, and starts one sandbox after
//! another there. The namespace goes with it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{At, Error, Step};
use crate::message::{Channel, Failure, Reply, Request};
use crate::network::{Links, attachment};
use crate::spec::{Network, SandboxSpec};
use crate::supervisor::{First, attend, leave_streams, remove_idle_bridge, start_sandbox};
use crate::sys;

/// Serves a lane until its caller stops it or dies.
pub(crate) fn serve(
    channel: &Channel,
    caller: Option<OwnedFd>,
    network: &Network,
) -> io::Result<()> {
    leave_streams()?;
    let host = match enter(network) {
        Ok(host) => host,
        Err(error) => return channel.send(&Reply::Failed(Failure::from(error)), &[]),
    };
    channel.send(&Reply::Ready, &[])?;
    loop {
        match channel.receive()? {
            Some((Request::Spawn(spec), streams)) => {
                if run(channel, &spec, streams)? == First::CallerDied {
                    break;
                }
            }
            Some(_) => return Ok(()),
            None => break,
        }
    }
    match (network, host, caller) {
        (Network::Bridge(bridge), Some(host), Some(caller)) => {
            move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network))?;
            remove_idle_bridge(bridge, &caller)
        }
        _ => Ok(()),
    }
}

/// Enters a new network namespace, unless the lane's is the host's, and returns the one that it
/// came from.
fn enter(network: &Network) -> Result<Option<OwnedFd>, Error> {
    if matches!(network, Network::Host | Network::Process(_)) {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let host = rustix::fs::open("/proc/self/ns/net", flags, Mode::empty());
    let host = host.at(Step::CreateNamespaces)?;
    // It stays with the namespace in which it was opened.
    let links = Links::open().at(Step::OpenNetlink)?;
    sys::unshare_network_namespace().at(Step::CreateNamespaces)?;
    if let Network::Bridge(bridge) = network {
        attachment::connect(&links, bridge, rustix::process::getpid().as_raw_pid())?;
    }
    attachment::configure(network)?;
    Ok(Some(host))
}

fn run(channel: &Channel, spec: &SandboxSpec, streams: Vec<OwnedFd>) -> io::Result<First> {
    if let [output, errors] = &streams[..] {
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(errors)?;
    }
    drop(streams);
    match start_sandbox(spec, None) {
        Ok(supervised) => attend(channel, supervised),
        Err(error) => {
            leave_streams()?;
            channel.send(&Reply::Failed(Failure::from(error)), &[])?;
            Ok(First::Child)
        }
    }
}

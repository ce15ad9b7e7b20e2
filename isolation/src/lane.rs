//! Sandboxes one after another, without the cost of a process and a network for each.

use std::os::fd::{AsFd, OwnedFd};

use crate::error::{At, Error, Step};
use crate::launch::{Supervisor, lost};
use crate::message::{Reply, Request};
use crate::spec::{Exit, Network, SandboxSpec, Stdio};

/// A supervisor that starts one sandbox at a time, in a network that they share.
///
/// Nothing of a sandbox is there when the next begins: its processes are gone, and none of them
/// may change the network, unless it was given the capability to. The lane ends when this is
/// dropped or the calling process dies; with it, its network namespace.
#[derive(Debug)]
pub struct Lane {
    supervisor: Supervisor,
}

/// The running sandbox of a lane. Dropping it kills it.
#[derive(Debug)]
pub struct LaneSandbox<'l> {
    lane: &'l mut Lane,
    ended: bool,
}

impl Lane {
    /// Opens a lane with a network of its own, or with the host's.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with the step that failed.
    pub fn open(network: &Network) -> Result<Self, Error> {
        let (supervisor, _) = Supervisor::start(Stdio::Inherit)?;
        supervisor.send(&Request::OpenLane(network.clone()), &[])?;
        match supervisor.receive()? {
            (Reply::Ready, _) => Ok(Self { supervisor }),
            _ => Err(lost()).at(Step::ExchangeMessages),
        }
    }

    /// Starts a sandbox with these as standard output and error, and nothing as input. The network
    /// that it names is the lane's: [`Network::Host`].
    ///
    /// # Errors
    ///
    /// As [`crate::spawn`]; the lane is of further use.
    pub fn spawn(
        &mut self,
        spec: &SandboxSpec,
        output: &OwnedFd,
        errors: &OwnedFd,
    ) -> Result<LaneSandbox<'_>, Error> {
        let request = Request::Spawn(Box::new(spec.clone()));
        self.supervisor
            .send(&request, &[output.as_fd(), errors.as_fd()])?;
        self.supervisor.receive_started()?;
        Ok(LaneSandbox {
            lane: self,
            ended: false,
        })
    }
}

impl LaneSandbox<'_> {
    /// Waits for the end of the first process. All that belonged to the sandbox alone is removed
    /// then.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with [`Step::WaitForExit`] when the supervisor was killed; the sandbox is
    /// dead in that case too.
    pub fn wait(mut self) -> Result<Exit, Error> {
        self.ended = true;
        self.lane.supervisor.receive_ended()
    }
}

impl Drop for LaneSandbox<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // When it ended by itself meanwhile, the lane takes this as its own end.
            let _ = self.lane.supervisor.send(&Request::Stop, &[]);
            let _ = self.lane.supervisor.receive_ended();
        }
    }
}

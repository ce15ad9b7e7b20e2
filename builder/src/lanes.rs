//! The lanes in which RUN steps go one after another: as many as steps run at once, each with a
//! network that its steps use in turn.

use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};

use mica_isolation::network::{Bridge, Lease};
use mica_isolation::{Lane, Network};

use crate::error::ErrorKind;
use crate::request::{NetworkMode, Sandbox};

/// The lanes of one build. They are opened when steps need them and kept until its end.
#[derive(Default)]
pub(crate) struct Lanes {
    idle: Mutex<Vec<NetworkLane>>,
    /// The bridge, made for the first lane that is on it.
    bridge: OnceLock<Bridge>,
}

/// A lane and the address that it has on the bridge.
pub(crate) struct NetworkLane {
    /// The lane. It goes before the address is free again.
    pub(crate) lane: Lane,
    mode: NetworkMode,
    lease: Option<Lease>,
}

impl Lanes {
    /// Takes an idle lane with such a network, or opens one.
    pub(crate) fn take(
        &self,
        settings: &Sandbox,
        mode: NetworkMode,
    ) -> Result<NetworkLane, ErrorKind> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = idle.iter().position(|lane| lane.mode == mode) {
            return Ok(idle.swap_remove(index));
        }
        drop(idle);
        self.open(settings, mode)
    }

    /// Gives back a lane whose network is as it was.
    pub(crate) fn give_back(&self, lane: NetworkLane) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(lane);
    }

    fn open(&self, settings: &Sandbox, mode: NetworkMode) -> Result<NetworkLane, ErrorKind> {
        let lease = match mode {
            NetworkMode::Bridge => {
                Some(self.bridge(settings)?.lease().map_err(ErrorKind::Network)?)
            }
            NetworkMode::Host | NetworkMode::None => None,
        };
        let network = match (&lease, mode) {
            (Some(lease), _) => Network::Bridge(lease.attachment()),
            (None, NetworkMode::Host) => Network::Host,
            (None, _) => Network::None,
        };
        let lane = Lane::open(&network).map_err(ErrorKind::Network)?;
        Ok(NetworkLane { lane, mode, lease })
    }

    fn bridge(&self, settings: &Sandbox) -> Result<&Bridge, ErrorKind> {
        if let Some(bridge) = self.bridge.get() {
            return Ok(bridge);
        }
        let state = settings.runroot.join("network");
        fs::create_dir_all(&state).map_err(ErrorKind::io("create", &state))?;
        let bridge = Bridge::ensure(&settings.bridge, &state, settings.bridge_when_idle)
            .map_err(ErrorKind::Network)?;
        Ok(self.bridge.get_or_init(|| bridge))
    }

    /// Closes the lanes, frees their addresses, and lets go of the bridge.
    pub(crate) fn close(&mut self) -> Result<(), mica_isolation::Error> {
        let idle = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
        for NetworkLane { lane, lease, .. } in idle.drain(..) {
            drop(lane);
            lease.map_or(Ok(()), Lease::close)?;
        }
        self.bridge.take().map_or(Ok(()), Bridge::close)
    }
}

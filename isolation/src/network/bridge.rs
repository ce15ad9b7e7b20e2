//! The bridge that sandboxes are connected to, shared by all processes of one state directory.
//!
//! ```text
//! <state>/lock         held while bridge, table or leases change
//! <state>/users        held shared by every Bridge and Lease: the bridge is idle when nobody does
//! <state>/bridge.json  the subnet
//! <state>/leases/<ip>  held by the process whose sandbox has the address
//! ```
//!
//! All are kernel locks (flock(2)), so a killed process holds none of them.

use std::fs::{DirBuilder, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::link::Links;
use super::nftables;
use super::subnet::{self, Subnet};
use crate::error::{At, Error, Step};
use crate::spec::{BridgeAttachment, WhenIdle};

/// The MTU of a host without a default route: Ethernet's.
const DEFAULT_MTU: u32 = 1500;

/// A bridge in use. It stays at least as long as this or a [`Lease`] of any process does.
#[derive(Debug)]
pub struct Bridge {
    name: String,
    state: PathBuf,
    subnet: Subnet,
    mtu: u32,
    when_idle: WhenIdle,
    user: Option<File>,
}

/// An address on a bridge, held by this process. Dropping it frees the address; dropping the last
/// use of the bridge removes that as well, unless it is to be kept.
#[derive(Debug)]
pub struct Lease {
    attachment: BridgeAttachment,
    state: PathBuf,
    files: Option<(File, File)>,
}

impl Bridge {
    /// Returns a bridge with address translation to the outside, made if it is missing.
    ///
    /// `name` is an interface name of at most 15 bytes that belongs to `state_dir` alone.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with [`Step::CreateBridge`] or [`Step::CreateTranslation`] where the kernel
    /// lacks them or the caller the rights; [`Error::NoFreeSubnet`].
    pub fn ensure(name: &str, state_dir: &Path, when_idle: WhenIdle) -> Result<Self, Error> {
        let leases = state_dir.join("leases");
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&leases);
        made.at_path(Step::WriteState, &leases)?;
        let _lock = lock(state_dir)?;
        let user = hold(&state_dir.join("users"), FlockOperation::LockShared)?;
        let links = Links::open().at(Step::OpenNetlink)?;
        let mtu = outgoing_mtu(&links).at(Step::ReadRoutes)?;
        let recorded = read_subnet(state_dir)?;
        let exists = links
            .index(name)
            .at_path(Step::CreateBridge, name)?
            .is_some();
        let subnet = match recorded {
            Some(subnet) if exists => subnet,
            _ => create(&links, name, state_dir, recorded, mtu)?,
        };
        Ok(Self {
            name: name.to_string(),
            state: state_dir.to_path_buf(),
            subnet,
            mtu,
            when_idle,
            user: Some(user),
        })
    }

    /// Returns the bridge's own address, which is its sandboxes' gateway.
    pub fn gateway(&self) -> Ipv4Addr {
        self.subnet.gateway()
    }

    /// Takes a free address.
    ///
    /// # Errors
    ///
    /// [`Error::NoFreeAddress`] when all are taken; [`Error::Setup`] when the state directory
    /// cannot be written.
    pub fn lease(&self) -> Result<Lease, Error> {
        let _lock = lock(&self.state)?;
        let user = hold(&self.state.join("users"), FlockOperation::LockShared)?;
        for address in self.subnet.addresses() {
            let path = self.state.join("leases").join(address.to_string());
            if let Some(file) = try_hold(&path)? {
                let attachment = self.attachment(address);
                let state = self.state.clone();
                return Ok(Lease {
                    attachment,
                    state,
                    files: Some((file, user)),
                });
            }
        }
        Err(Error::NoFreeAddress {
            bridge: self.name.clone(),
        })
    }

    fn attachment(&self, address: Ipv4Addr) -> BridgeAttachment {
        BridgeAttachment {
            bridge: self.name.clone(),
            address,
            prefix: self.subnet.prefix,
            gateway: self.gateway(),
            mtu: self.mtu,
            state_directory: self.state.clone(),
            when_idle: self.when_idle,
        }
    }

    /// Lets go of the bridge, and removes it when it is idle and not to be kept, as dropping does;
    /// but says what went wrong.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with [`Step::RemoveBridge`] or the file concerned.
    pub fn close(mut self) -> Result<(), Error> {
        self.user = None;
        Self::leave(&self.name, &self.state, self.when_idle)
    }

    /// Does what is to be done after one use of a bridge has ended.
    pub(crate) fn leave(name: &str, state_dir: &Path, when_idle: WhenIdle) -> Result<(), Error> {
        match when_idle {
            WhenIdle::Keep => Ok(()),
            WhenIdle::Remove => Self::release_if_idle(name, state_dir),
        }
    }

    /// Removes a bridge with its table and files if no process uses it: for what a killed process
    /// left behind.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with [`Step::RemoveBridge`] or the file concerned.
    pub fn release_if_idle(name: &str, state_dir: &Path) -> Result<(), Error> {
        let users = state_dir.join("users");
        // The first file of a bridge to come and the last to go.
        if !users.exists() {
            return Ok(());
        }
        let _lock = lock(state_dir)?;
        match try_hold(&users)? {
            None => Ok(()),
            Some(_) => remove(name, state_dir),
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if self.user.take().is_some() {
            // The next use of the bridge finds it and takes it over; `close` says what is wrong.
            let _ = Self::leave(&self.name, &self.state, self.when_idle);
        }
    }
}

impl Lease {
    /// Returns the leased address.
    pub fn address(&self) -> Ipv4Addr {
        self.attachment.address
    }

    /// Returns what connects a sandbox with this address.
    pub fn attachment(&self) -> BridgeAttachment {
        self.attachment.clone()
    }

    /// Frees the address, and removes the bridge when it is idle and not to be kept, as dropping
    /// does; but says what went wrong.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with the file concerned or [`Step::RemoveBridge`].
    pub fn close(mut self) -> Result<(), Error> {
        self.release()
    }

    fn release(&mut self) -> Result<(), Error> {
        let Some(files) = self.files.take() else {
            return Ok(());
        };
        let path = self
            .state
            .join("leases")
            .join(self.attachment.address.to_string());
        {
            let _lock = lock(&self.state)?;
            std::fs::remove_file(&path).at_path(Step::WriteState, path)?;
            drop(files);
        }
        Bridge::leave(
            &self.attachment.bridge,
            &self.state,
            self.attachment.when_idle,
        )
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = self.release();
    }
}

fn create(
    links: &Links,
    name: &str,
    state: &Path,
    recorded: Option<Subnet>,
    mtu: u32,
) -> Result<Subnet, Error> {
    // Left without its record by a process that was killed in between.
    links.delete(name).at_path(Step::RemoveBridge, name)?;
    let routes = links.routes().at(Step::ReadRoutes)?;
    let chosen = subnet::choose(recorded, &routes);
    let subnet = chosen.ok_or_else(|| Error::NoFreeSubnet {
        bridge: name.to_string(),
    })?;
    links
        .create_bridge(name, mtu, super::hardware_address(subnet.gateway()))
        .and_then(|()| links.index(name))
        .and_then(|index| index.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV)))
        .and_then(|index| links.add_address(index, subnet.gateway(), subnet.prefix))
        .at_path(Step::CreateBridge, name)?;
    let translated = nftables::create(name, subnet.address, subnet.prefix)
        .at_path(Step::CreateTranslation, name);
    let ready = translated
        .and_then(|()| enable_forwarding())
        .and_then(|()| write_subnet(state, subnet));
    if ready.is_err() {
        // What is reported is the failure, not that of taking back what was made before it.
        let _ = remove(name, state);
    }
    ready.map(|()| subnet)
}

fn remove(name: &str, state: &Path) -> Result<(), Error> {
    let links = Links::open().at(Step::OpenNetlink)?;
    links.delete(name).at_path(Step::RemoveBridge, name)?;
    nftables::remove(name).at_path(Step::RemoveBridge, name)?;
    // The lock file stays: whoever waits for it must find the same one after.
    let leases = state.join("leases");
    for entry in std::fs::read_dir(&leases).at_path(Step::ReadState, &leases)? {
        remove_file(&entry.at_path(Step::ReadState, &leases)?.path())?;
    }
    remove_file(&state.join("bridge.json"))?;
    remove_file(&state.join("users"))
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).at_path(Step::WriteState, path)
        }
        _ => Ok(()),
    }
}

/// Lets the kernel route between interfaces, as every container engine does.
fn enable_forwarding() -> Result<(), Error> {
    let path = "/proc/sys/net/ipv4/ip_forward";
    let present = std::fs::read_to_string(path).at_path(Step::EnableForwarding, path)?;
    match present.trim() {
        "1" => Ok(()),
        _ => std::fs::write(path, "1").at_path(Step::EnableForwarding, path),
    }
}

/// The MTU of the way out: a packet that is larger would be dropped there.
fn outgoing_mtu(links: &Links) -> io::Result<u32> {
    let routes = links.routes()?;
    let default = routes.iter().find(|route| route.prefix == 0);
    let mtu = default
        .map(|route| links.mtu(route.interface))
        .transpose()?
        .flatten();
    Ok(mtu.unwrap_or(DEFAULT_MTU))
}

fn read_subnet(state: &Path) -> Result<Option<Subnet>, Error> {
    let path = state.join("bridge.json");
    match std::fs::read(&path) {
        // A file that makes no sense is as good as none: the bridge is made anew.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at_path(Step::ReadState, path),
    }
}

fn write_subnet(state: &Path, subnet: Subnet) -> Result<(), Error> {
    let path = state.join("bridge.json");
    let temporary = state.join("bridge.json.new");
    serde_json::to_vec(&subnet)
        .map_err(io::Error::from)
        .and_then(|bytes| std::fs::write(&temporary, bytes))
        .and_then(|()| std::fs::rename(&temporary, &path))
        .at_path(Step::WriteState, path)
}

fn lock(state: &Path) -> Result<File, Error> {
    hold(&state.join("lock"), FlockOperation::LockExclusive)
}

/// Opens and locks a file, waiting for it.
fn hold(path: &Path, operation: FlockOperation) -> Result<File, Error> {
    let file = open(path)?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation))
        .at_path(Step::WriteState, path)?;
    Ok(file)
}

/// Opens and locks a file for this process alone, unless another holds it.
fn try_hold(path: &Path) -> Result<Option<File>, Error> {
    let file = open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        locked => {
            locked.at_path(Step::WriteState, path)?;
            let links = file.metadata().at_path(Step::ReadState, path)?.nlink();
            Ok((links > 0).then_some(file))
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let options = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    options.at_path(Step::WriteState, path)
}

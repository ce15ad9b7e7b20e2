//! From a stopped container to a running one.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use mica_isolation::network::Lease;
use mica_isolation::{Network, Sandbox, Stdio};
use mica_store::Durability;
use rustix::pipe::PipeFlags;

use super::log::Log;
use super::serve::{Input, Output, Server};
use super::{Starter, describe};
use crate::containers::Containers;
use crate::error::At;
use crate::lock;
use crate::ports::{self, Listeners};
use crate::protocol::Event;
use crate::record::ContainerRecord;
use crate::sandbox::{Surroundings, specification};
use crate::state::{Address, State};
use crate::{ContainerId, Error, LogStream, NetworkMode, etc_files, socket};

/// Starts a container and tells the starter. A failure is written down in the container's state.
pub(super) fn begin(
    containers: Containers,
    id: &ContainerId,
    starter: &mut Starter,
) -> Result<Server, Error> {
    let directory = containers.run_directory(id);
    std::fs::create_dir_all(&directory).at("create the directory", &directory)?;
    let lock = lock::exclusive(&containers.monitor_lock(id))?;
    let record = containers.record(id)?;
    let before = containers.written_state(id)?;
    match launch(&containers, &record) {
        Ok(launched) => serve(containers, record, lock, launched, starter),
        Err(error) => {
            let failed = State {
                exit_code: error.exit_code(),
                error: describe(&error),
                ..before
            };
            containers.write_state(id, &failed)?;
            Err(error)
        }
    }
}

/// A sandbox that runs, with all that belongs to it.
struct Launched {
    sandbox: Sandbox,
    state: State,
    lease: Option<Lease>,
    listeners: Listeners,
    log: Log,
    input: Option<OwnedFd>,
    outputs: Vec<Output>,
}

fn launch(containers: &Containers, record: &ContainerRecord) -> Result<Launched, Error> {
    let attachment = attach_network(containers, record)?;
    // Ports in use are to be reported before the command could have any effect.
    let listeners = match &attachment.address {
        Some(_) => ports::publish(record)?,
        None => Listeners::default(),
    };
    if attachment.files == containers.directory(&record.id) {
        etc_files::write(&attachment.files, record, attachment.address.as_ref())?;
    }
    let log_path = containers.log_path(&record.id);
    let log = Log::open(&log_path).at("open", &log_path)?;
    let (sandbox, input, outputs) = spawn(containers, record, &attachment)?;
    let state = State {
        address: attachment.address,
        ports: listeners.published(),
        ..State::running(sandbox.pid())
    };
    Ok(Launched {
        sandbox,
        state,
        lease: attachment.lease,
        listeners,
        log,
        input,
        outputs,
    })
}

/// A container's network, and whose `/etc/hosts` goes with it.
struct Attachment {
    network: Network,
    lease: Option<Lease>,
    address: Option<Address>,
    files: PathBuf,
}

fn attach_network(containers: &Containers, record: &ContainerRecord) -> Result<Attachment, Error> {
    let own = |network| Attachment {
        network,
        lease: None,
        address: None,
        files: containers.directory(&record.id),
    };
    match &record.host.network {
        NetworkMode::Host => Ok(own(Network::Host)),
        NetworkMode::None => Ok(own(Network::None)),
        NetworkMode::Container(other) => {
            let other = containers.find(other)?;
            let state = containers.state(&other)?;
            if !state.is_running() {
                return Err(Error::NetworkOfStopped {
                    id: other.to_string(),
                });
            }
            let network = Network::Process(state.pid);
            Ok(Attachment {
                files: network_files(containers, &other)?,
                ..own(network)
            })
        }
        NetworkMode::Bridge => {
            let lease = containers.lease_address()?;
            let end = lease.attachment();
            let address = Address {
                address: end.address,
                prefix: end.prefix,
                gateway: end.gateway,
            };
            let (lease, address) = (Some(lease), Some(address));
            Ok(Attachment {
                lease,
                address,
                ..own(Network::Bridge(end))
            })
        }
    }
}

/// The files of the container whose network it is, however many containers share it in a chain.
fn network_files(containers: &Containers, id: &ContainerId) -> Result<PathBuf, Error> {
    let mut id = id.clone();
    while let NetworkMode::Container(other) = containers.record(&id)?.host.network {
        id = containers.find(&other)?;
    }
    Ok(containers.directory(&id))
}

/// The sandbox, the container's standard input and its outputs.
type Spawned = (Sandbox, Option<OwnedFd>, Vec<Output>);

fn spawn(
    containers: &Containers,
    record: &ContainerRecord,
    attachment: &Attachment,
) -> Result<Spawned, Error> {
    let snapshot = containers.store().open_snapshot(record.id.as_str())?;
    let surroundings = Surroundings {
        root: snapshot.mount(durability(record)),
        mount_point: snapshot.root(),
        network: attachment.network.clone(),
        files: &attachment.files,
    };
    let specification = specification(record, surroundings)?;
    if record.tty {
        return spawn_with_terminal(&specification);
    }
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).at("create", Path::new("pipe"));
    let (stdin, input) = match record.open_stdin {
        true => pipe().map(|(read, write)| (Some(read), Some(write)))?,
        false => (None, None),
    };
    let (out_read, stdout) = pipe()?;
    let (error_read, stderr) = pipe()?;
    let sandbox = mica_isolation::spawn(
        &specification,
        Stdio::Files {
            stdin,
            stdout,
            stderr,
        },
    )?;
    let outputs = vec![
        Output::new(out_read, LogStream::Stdout),
        Output::new(error_read, LogStream::Stderr),
    ];
    Ok((sandbox, input, outputs))
}

/// What a container leaves need not survive a power cut when it is removed at its end.
fn durability(record: &ContainerRecord) -> Durability {
    match record.host.auto_remove {
        true => Durability::Volatile,
        false => Durability::Durable,
    }
}

/// A terminal is all three streams.
fn spawn_with_terminal(specification: &mica_isolation::SandboxSpec) -> Result<Spawned, Error> {
    let mut sandbox = mica_isolation::spawn(specification, crate::exec::nowhere()?)?;
    let Some(terminal) = sandbox.take_terminal() else {
        return Err(Error::NotStarted {
            code: 125,
            message: "no terminal was made".to_owned(),
        });
    };
    let input = terminal.try_clone().at("duplicate", "/dev/ptmx")?;
    Ok((
        sandbox,
        Some(input),
        vec![Output::new(terminal, LogStream::Stdout)],
    ))
}

fn serve(
    containers: Containers,
    record: ContainerRecord,
    lock: lock::Lock,
    launched: Launched,
    starter: &mut Starter,
) -> Result<Server, Error> {
    let listener = socket::listen(&containers.attach_socket(&record.id))?;
    containers.write_state(&record.id, &launched.state)?;
    let mut server = Server {
        input: launched.input.map(|file| Input::new(file, &record)),
        containers,
        record,
        state: launched.state,
        lock,
        sandbox: launched.sandbox,
        lease: launched.lease,
        listeners: launched.listeners,
        log: launched.log,
        outputs: launched.outputs,
        listener,
        clients: Vec::new(),
    };
    if let Some(lease) = &server.lease {
        server.listeners.serve(lease.address())?;
    }
    server.add_starter(starter)?;
    Ok(server)
}

impl Server {
    /// The starter is told that the command runs, and stays as a client.
    fn add_starter(&mut self, starter: &mut Starter) -> Result<(), Error> {
        let stream = starter
            .stream
            .try_clone()
            .at("duplicate", "the starter's socket")?;
        let decoder = std::mem::take(&mut starter.decoder);
        self.add_client(stream, decoder, starter.streams, &Event::Started)
    }
}

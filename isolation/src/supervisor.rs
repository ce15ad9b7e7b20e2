//! The supervisor: a fresh single-threaded process that starts one sandbox, waits for it and
//! removes what belonged to it, also when its caller is gone.
//!
//! Two ties hold. When the caller dies, the channel closes and the supervisor kills the sandbox.
//! When the supervisor dies, the kernel kills PID 1 (`PR_SET_PDEATHSIG`; it acts at the end of the
//! parent *thread*, so it is tied to this process and not to a caller's thread), and with PID 1
//! its PID namespace, mounts and interfaces.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags};
use rustix::thread::ThreadNameSpaceType;

use crate::cgroup::Cgroup;
use crate::error::{At, Error, Step};
use crate::init::{self, Inherited, Joined};
use crate::lane_supervisor;
use crate::launch::SUPERVISOR_NAME;
use crate::message::{Channel, Failure, Progress, Reply, Request};
use crate::network::{Bridge, Links, attachment};
use crate::spec::{
    BridgeAttachment, Capabilities, Exit, Namespaces, Network, Process, SandboxSpec, Share,
};
use crate::sys::{self, Cloned};

/// Becomes a sandbox's supervisor and never returns, if that is what this process was started as.
///
/// Must be called first thing in `main`, before any thread is started, by every binary that uses
/// this crate: the sandbox's processes are this program started again.
pub fn run_child_if_requested() {
    if std::env::args_os()
        .next()
        .is_some_and(|name| name == SUPERVISOR_NAME)
    {
        // On failure the caller is gone: there is nobody to tell.
        std::process::exit(i32::from(supervise().is_err()));
    }
}

/// Keeps the files that this process inherited, such as a lock of the shell that started it, from
/// the processes that it starts.
///
/// # Errors
///
/// The kernel's, for close_range(2).
pub fn keep_inherited_files() -> io::Result<()> {
    sys::close_on_exec_from(3)
}

/// A started process and what is to be removed after it.
pub(crate) struct Supervised {
    child: ChildProcess,
    terminal: Option<OwnedFd>,
    cgroup: Option<Cgroup>,
    /// The cgroup's count of processes killed for memory before this one started.
    oom_kills_before: u64,
    belongings: Belongings,
}

struct ChildProcess {
    pid: i32,
    pidfd: OwnedFd,
}

/// What was made for a sandbox outside of it. Dropping it removes it.
#[derive(Default)]
struct Belongings {
    /// With the inodes of its directories: after the caller's death somebody else may have removed
    /// it, and a new sandbox may live under the same path.
    cgroup: Option<(Cgroup, Vec<u64>)>,
    host_interface: Option<String>,
    bridge: Option<BridgeAttachment>,
}

fn supervise() -> io::Result<()> {
    let channel = take_channel()?;
    let caller = rustix::process::getppid()
        .and_then(|caller| rustix::process::pidfd_open(caller, PidfdFlags::empty()).ok());
    sys::ignore_stop_signals();
    // The kernel named it after the descriptor it was started from.
    rustix::thread::set_name(c"mica-sandbox")?;
    // Out of the caller's session and terminal; it fails only for a group's leader.
    let _ = rustix::process::setsid();
    // Processes of a joined sandbox must not look into this one, which holds files of the host.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let Some((request, mut descriptors)) = channel.receive()? else {
        return Ok(());
    };
    let stdin = descriptors.pop();
    let started = match request {
        Request::Spawn(spec) => start_sandbox(&spec, stdin),
        Request::Exec {
            pid,
            cgroup,
            process,
        } => join_sandbox(pid, cgroup.as_deref(), &process, stdin),
        Request::OpenLane(network) => return lane_supervisor::serve(&channel, caller, &network),
        Request::Stop => return Ok(()),
    };
    match started {
        Ok(supervised) => accompany(&channel, caller, supervised),
        Err(error) => channel.send(&Reply::Failed(Failure::from(error)), &[]),
    }
}

/// Moves the channel off standard input, where it came in, to a descriptor that `execve` closes.
fn take_channel() -> io::Result<Channel> {
    let channel = rustix::stdio::stdin().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(null()?)?;
    Ok(channel.into())
}

fn null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Starts a sandbox with this process' standard output and error.
pub(crate) fn start_sandbox(
    spec: &SandboxSpec,
    stdin: Option<OwnedFd>,
) -> Result<Supervised, Error> {
    let mut belongings = Belongings::default();
    if let Some(wanted) = &spec.cgroup {
        let cgroup = Cgroup::create(wanted)?;
        let inodes = cgroup.inodes();
        let (cgroup, _) = belongings.cgroup.insert((cgroup, inodes));
        if spec.process.capabilities != Capabilities::ALL {
            cgroup.restrict_devices()?;
        }
    }
    let cgroup = belongings.cgroup.as_ref().map(|(cgroup, _)| cgroup.clone());
    let oom_kills_before = cgroup.as_ref().map_or(0, Cgroup::oom_kills);
    let joined = open_joined(&spec.namespaces)?;
    let (ours, theirs) = Channel::pair().at(Step::ExchangeMessages)?;
    let flags = new_namespaces(&spec.namespaces);
    match sys::clone_process(flags).at(Step::CreateNamespaces)? {
        Cloned::Child => {
            drop(ours); // so that the supervisor's death shows on the other end
            let cgroup = cgroup.as_ref();
            init::run_first(
                spec,
                Inherited {
                    joined: &joined,
                    cgroup,
                    stdin,
                    channel: &theirs,
                },
            )
        }
        Cloned::Parent { pid, pidfd } => {
            drop((theirs, stdin, joined));
            let child = ChildProcess { pid, pidfd };
            let ready = admit(cgroup.as_ref(), &child)
                .and_then(|()| connect(&spec.namespaces.network, &child, &mut belongings));
            let terminal = let_go(&ours, &child, ready)?;
            Ok(Supervised {
                child,
                terminal,
                cgroup,
                oom_kills_before,
                belongings,
            })
        }
    }
}

fn join_sandbox(
    target: i32,
    cgroup: Option<&Path>,
    process: &Process,
    stdin: Option<OwnedFd>,
) -> Result<Supervised, Error> {
    let cgroup = cgroup.map(Cgroup::open).transpose()?;
    let oom_kills_before = cgroup.as_ref().map_or(0, Cgroup::oom_kills);
    let target = open_process(target)?;
    // Only children enter a joined PID namespace, so it comes before cloning; the other
    // namespaces are the child's to join, so that this process keeps seeing the host.
    init::join_one(target.as_fd(), ThreadNameSpaceType::PROCESS_ID)?;
    let others = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    let joined = vec![(target, others)];
    let (ours, theirs) = Channel::pair().at(Step::ExchangeMessages)?;
    match sys::clone_process(0).at(Step::CreateNamespaces)? {
        Cloned::Child => {
            drop(ours);
            let inherited = Inherited {
                joined: &joined,
                cgroup: None,
                stdin,
                channel: &theirs,
            };
            init::run_joining(process, inherited)
        }
        Cloned::Parent { pid, pidfd } => {
            drop((theirs, stdin, joined));
            let child = ChildProcess { pid, pidfd };
            let ready = admit(cgroup.as_ref(), &child);
            let terminal = let_go(&ours, &child, ready)?;
            let belongings = Belongings::default();
            Ok(Supervised {
                child,
                terminal,
                cgroup,
                oom_kills_before,
                belongings,
            })
        }
    }
}

fn admit(cgroup: Option<&Cgroup>, child: &ChildProcess) -> Result<(), Error> {
    cgroup.map_or(Ok(()), |cgroup| cgroup.add(child.pid))
}

fn connect(
    network: &Network,
    child: &ChildProcess,
    belongings: &mut Belongings,
) -> Result<(), Error> {
    if let Network::Bridge(bridge) = network {
        let links = Links::open().at(Step::OpenNetlink)?;
        belongings.host_interface = Some(attachment::connect(&links, bridge, child.pid)?);
        belongings.bridge = Some(bridge.clone());
    }
    Ok(())
}

/// Lets the child go on if all is ready, and returns its terminal once its command runs. A child
/// that cannot go on is killed.
fn let_go(
    channel: &Channel,
    child: &ChildProcess,
    ready: Result<(), Error>,
) -> Result<Option<OwnedFd>, Error> {
    let started = ready
        .and_then(|()| channel.send_go().at(Step::ExchangeMessages))
        .or_else(|error| match error {
            // The child gave up early: what it says is the reason.
            Error::Setup {
                step: Step::ExchangeMessages,
                ..
            } => Ok(()),
            error => Err(error),
        })
        .and_then(|()| await_command(channel));
    if started.is_err() {
        let _ = sys::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
        let _ = sys::wait_with_usage(child.pid);
    }
    started
}

/// Reads what the child says until `execve` closes its end.
fn await_command(channel: &Channel) -> Result<Option<OwnedFd>, Error> {
    let mut terminal = None;
    while let Some((progress, descriptors)) = channel.receive().at(Step::ExchangeMessages)? {
        match progress {
            Progress::Terminal => terminal = descriptors.into_iter().next(),
            Progress::Failed(failure) => return Err(failure.into()),
        }
    }
    Ok(terminal)
}

/// The namespaces to make: mounts always, the cgroup namespace later by the child itself.
fn new_namespaces(namespaces: &Namespaces) -> libc::c_int {
    let private = |share: &Share, flag| if *share == Share::Private { flag } else { 0 };
    let network = match namespaces.network {
        Network::None | Network::Bridge(_) => libc::CLONE_NEWNET,
        Network::Host | Network::Process(_) => 0,
    };
    libc::CLONE_NEWNS
        | network
        | private(&namespaces.pid, libc::CLONE_NEWPID)
        | private(&namespaces.ipc, libc::CLONE_NEWIPC)
        | private(&namespaces.uts, libc::CLONE_NEWUTS)
}

/// Opens the processes whose namespaces are shared; the PID namespace is joined here and now.
fn open_joined(namespaces: &Namespaces) -> Result<Joined, Error> {
    if let Share::Process(pid) = namespaces.pid {
        init::join_one(open_process(pid)?.as_fd(), ThreadNameSpaceType::PROCESS_ID)?;
    }
    let mut joined = Joined::new();
    if let Network::Process(pid) = namespaces.network {
        joined.push((open_process(pid)?, ThreadNameSpaceType::NETWORK));
    }
    if let Share::Process(pid) = namespaces.ipc {
        joined.push((
            open_process(pid)?,
            ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
        ));
    }
    if let Share::Process(pid) = namespaces.uts {
        joined.push((
            open_process(pid)?,
            ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
        ));
    }
    Ok(joined)
}

fn open_process(pid: i32) -> Result<OwnedFd, Error> {
    let process = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
    process
        .and_then(|process| rustix::process::pidfd_open(process, PidfdFlags::empty()))
        .at_path(Step::OpenProcess, pid.to_string())
}

/// Stays with a started process to its end, and takes the bridge along if the caller died.
fn accompany(channel: &Channel, caller: Option<OwnedFd>, supervised: Supervised) -> io::Result<()> {
    let bridge = supervised.belongings.bridge.clone();
    match (attend(channel, supervised)?, bridge, caller) {
        (First::CallerDied, Some(bridge), Some(caller)) => remove_idle_bridge(&bridge, &caller),
        _ => Ok(()),
    }
}

/// Stays with a started process until its end or the caller's, whichever comes first, removes what
/// belonged to it, and tells.
pub(crate) fn attend(channel: &Channel, supervised: Supervised) -> io::Result<First> {
    let Supervised {
        child,
        terminal,
        cgroup,
        oom_kills_before,
        belongings,
    } = supervised;
    leave_streams()?;
    let descriptors: Vec<BorrowedFd<'_>> = [Some(&child.pidfd), terminal.as_ref()]
        .into_iter()
        .flatten()
        .map(AsFd::as_fd)
        .collect();
    let told = channel.send(&Reply::Started { pid: child.pid }, &descriptors);
    drop(terminal);
    let first = if told.is_err() {
        First::CallerDied
    } else {
        wait_for_either(channel, &child)?
    };
    if first != First::Child {
        // It may have ended meanwhile.
        let _ = sys::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
    }
    let (status, usage) = sys::wait_with_usage(child.pid)?;
    let oom_kills = cgroup.as_ref().map_or(0, Cgroup::oom_kills);
    let exit = Exit {
        status,
        usage,
        out_of_memory: oom_kills > oom_kills_before,
    };
    drop(belongings);
    if first != First::CallerDied {
        channel.send(&Reply::Ended(exit), &[])?;
    }
    Ok(first)
}

/// Does what the caller would have done with its lease. Its locks are free once it has ended, which
/// comes a moment after its end of the channel is closed.
pub(crate) fn remove_idle_bridge(bridge: &BridgeAttachment, caller: &OwnedFd) -> io::Result<()> {
    let limit = rustix::event::Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut [PollFd::new(caller, PollFlags::IN)], Some(&limit))?;
    Bridge::leave(&bridge.bridge, &bridge.state_directory, bridge.when_idle)
        .map_err(io::Error::other)
}

/// Lets go of the streams that are the sandbox's: their readers wait for the last writer.
pub(crate) fn leave_streams() -> io::Result<()> {
    let null = null()?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// The process ended.
    Child,
    /// The caller dropped the sandbox.
    Dropped,
    /// The caller died.
    CallerDied,
}

fn wait_for_either(channel: &Channel, child: &ChildProcess) -> io::Result<First> {
    loop {
        let mut descriptors = [
            PollFd::new(&child.pidfd, PollFlags::IN),
            PollFd::new(channel, PollFlags::IN),
        ];
        match rustix::event::poll(&mut descriptors, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        if !descriptors[0].revents().is_empty() {
            return Ok(First::Child);
        }
        return Ok(match channel.receive::<Request>() {
            Ok(Some(_)) => First::Dropped,
            Ok(None) | Err(_) => First::CallerDied,
        });
    }
}

impl Drop for Belongings {
    fn drop(&mut self) {
        // Nobody waits for what fails here; the next use of the same cgroup path takes it over.
        if let Some(name) = &self.host_interface {
            let _ = attachment::disconnect(name);
        }
        if let Some((cgroup, inodes)) = &self.cgroup
            && cgroup.inodes() == *inodes
        {
            // PID 1's end is that of its PID namespace; a shared one has survivors.
            let _ = cgroup.kill_all().and_then(|()| cgroup.remove());
        }
    }
}

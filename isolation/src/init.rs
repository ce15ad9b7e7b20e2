//! What the first process of a sandbox does before it is the command.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mica_oci::Access;
use rustix::fs::Mode;
use rustix::thread::ThreadNameSpaceType;

use crate::attach::{self, Root};
use crate::cgroup::Cgroup;
use crate::error::{At, Error, Step};
use crate::message::{Channel, Failure, Progress};
use crate::network::attachment;
use crate::process::{self, Console, Prepared};
use crate::spec::{Process, SandboxSpec, Share};
use crate::sys;
use crate::{mounts, root};

/// Namespaces of running processes that are joined after cloning.
pub(crate) type Joined = Vec<(OwnedFd, ThreadNameSpaceType)>;

/// What PID 1 inherits from its supervisor.
pub(crate) struct Inherited<'a> {
    pub(crate) joined: &'a Joined,
    pub(crate) cgroup: Option<&'a Cgroup>,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) channel: &'a Channel,
}

/// Sets a sandbox up from inside and becomes its command.
pub(crate) fn run_first(spec: &SandboxSpec, inherited: Inherited<'_>) -> ! {
    let channel = inherited.channel;
    finish(&spec.process, channel, || set_up(spec, inherited))
}

/// Joins a running sandbox and becomes a command in it.
pub(crate) fn run_joining(process: &Process, inherited: Inherited<'_>) -> ! {
    let channel = inherited.channel;
    finish(process, channel, || join(process, inherited))
}

fn finish(
    process: &Process,
    channel: &Channel,
    set_up: impl FnOnce() -> Result<Prepared, Error>,
) -> ! {
    let error = match set_up() {
        Ok(prepared) => process::execute(process, prepared),
        Err(error) => error,
    };
    // The supervisor may be gone: then this process is about to be killed anyway.
    let _ = channel.send(&Progress::Failed(Failure::from(error)), &[]);
    std::process::exit(1)
}

fn set_up(spec: &SandboxSpec, inherited: Inherited<'_>) -> Result<Prepared, Error> {
    start_clean()?;
    join_namespaces(inherited.joined)?;
    root::make_private()?;
    let root = root::mount_root(&spec.root, &spec.mount_point)?;
    mounts::mount_standard(&root, spec)?;
    // Up to here this ran beside the supervisor, which meanwhile filled the cgroup and connected
    // the network.
    inherited.channel.wait_for_go().at(Step::ExchangeMessages)?;
    sys::unshare_cgroup_namespace().at(Step::CreateNamespaces)?;
    if let Some(cgroup) = inherited.cgroup {
        mounts::mount_cgroups(&root, cgroup)?;
    }
    attachment::configure(&spec.namespaces.network)?;
    mounts::mount_extra(&root, &spec.mounts)?;
    root::enter(&root, &spec.mount_point)?;
    root::mask(&root, &spec.paths.masked)?;
    root::protect(&root, &spec.paths.readonly)?;
    set_hostname(spec)?;
    let (stdin, channel) = (inherited.stdin, inherited.channel);
    let prepared = process::prepare(&root, &spec.process, Console::Bind, stdin, channel)?;
    if spec.root_access == Access::ReadOnly {
        attach::make_read_only(root.as_fd()).at_path(Step::MakeReadOnly, "/")?;
    }
    Ok(prepared)
}

fn join(process: &Process, inherited: Inherited<'_>) -> Result<Prepared, Error> {
    start_clean()?;
    inherited.channel.wait_for_go().at(Step::ExchangeMessages)?;
    join_namespaces(inherited.joined)?;
    let root = Root::open("/".as_ref()).at_path(Step::ChangeRoot, "/")?;
    process::prepare(
        &root,
        process,
        Console::Leave,
        inherited.stdin,
        inherited.channel,
    )
}

fn start_clean() -> Result<(), Error> {
    process::follow_supervisor()?;
    sys::reset_signals();
    rustix::process::umask(Mode::empty()); // modes are given in full
    Ok(())
}

fn join_namespaces(joined: &Joined) -> Result<(), Error> {
    for (process, kinds) in joined {
        join_one(process.as_fd(), *kinds)?;
    }
    Ok(())
}

/// Joins namespaces of a process by its pidfd (setns(2), Linux 5.8).
pub(crate) fn join_one(process: BorrowedFd<'_>, kinds: ThreadNameSpaceType) -> Result<(), Error> {
    rustix::thread::move_into_thread_name_spaces(process, kinds).at(Step::JoinNamespace)
}

fn set_hostname(spec: &SandboxSpec) -> Result<(), Error> {
    match &spec.hostname {
        Some(name) if spec.namespaces.uts == Share::Private => {
            rustix::system::sethostname(name.as_bytes()).at_path(Step::SetHostname, name)
        }
        _ => Ok(()),
    }
}

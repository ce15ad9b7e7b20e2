//! From a finished root to the running command: user, terminal, limits, rights, `execve`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::Signal;
use rustix::thread::{Gid, Uid};

use crate::attach::{self, PointKind, Root};
use crate::capabilities;
use crate::error::{At, Error, Step};
use crate::message::{Channel, Progress};
use crate::seccomp;
use crate::spec::{Process, Resource, ResourceLimit, Seccomp, WindowSize};
use crate::sys;
use crate::terminal;
use crate::user::{self, Identity};

/// Whether the terminal is also the sandbox's `/dev/console`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Console {
    /// For the first process of a sandbox.
    Bind,
    /// For a process that joins a running one.
    Leave,
}

/// What [`prepare`] found out for [`execute`].
pub(crate) struct Prepared {
    identity: Identity,
}

/// Does what needs the rights of the caller's root: user, working directory, terminal.
pub(crate) fn prepare(
    root: &Root,
    process: &Process,
    console: Console,
    stdin: Option<OwnedFd>,
    channel: &Channel,
) -> Result<Prepared, Error> {
    let identity = user::find(&process.user, &process.additional_groups)?;
    enter_working_directory(root, &process.working_directory)?;
    // A session of its own: no signal of the caller's terminal reaches it. It fails only for a
    // process that leads a group already.
    let _ = rustix::process::setsid();
    match process.terminal {
        Some(size) => open_terminal(root, size, console, &identity, channel)?,
        None => take_streams(stdin, &identity)?,
    }
    Ok(Prepared { identity })
}

fn enter_working_directory(root: &Root, path: &Path) -> Result<(), Error> {
    root.create_directories(path)
        .at_path(Step::CreateWorkingDirectory, path)?;
    rustix::process::chdir(path).at_path(Step::EnterWorkingDirectory, path)
}

fn open_terminal(
    root: &Root,
    size: WindowSize,
    console: Console,
    identity: &Identity,
    channel: &Channel,
) -> Result<(), Error> {
    let (master, slave) = terminal::open(size).at(Step::OpenTerminal)?;
    terminal::make_controlling(&slave).at(Step::OpenTerminal)?;
    let owner = Uid::from_raw(identity.uid);
    rustix::fs::fchown(&slave, Some(owner), None).at(Step::OpenTerminal)?;
    if console == Console::Bind {
        let path = Path::new("/dev/console");
        let target = root.mount_point(path, PointKind::File)?;
        attach::clone_tree(slave.as_fd())
            .and_then(|tree| attach::attach(tree.as_fd(), target.as_fd()))
            .at_path(Step::Mount("the terminal".to_string()), path)?;
    }
    channel
        .send(&Progress::Terminal, &[master.as_fd()])
        .at(Step::ExchangeMessages)
}

/// Puts standard input in place; output and error are inherited.
fn take_streams(stdin: Option<OwnedFd>, identity: &Identity) -> Result<(), Error> {
    let stdin = match stdin {
        Some(stdin) => stdin,
        None => rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .at(Step::SetStandardStreams)?,
    };
    rustix::stdio::dup2_stdin(&stdin).at(Step::SetStandardStreams)?;
    let owner = Uid::from_raw(identity.uid);
    for stream in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        // A pipe belongs to who made it; a user who opens `/dev/stdout` needs to own it. Files and
        // terminals of the host keep their owner.
        let status = rustix::fs::fstat(stream).at(Step::SetStandardStreams)?;
        if identity.uid != 0 && FileType::from_raw_mode(status.st_mode) == FileType::Fifo {
            rustix::fs::fchown(stream, Some(owner), None).at(Step::SetStandardStreams)?;
        }
    }
    Ok(())
}

/// Gives up rights and becomes the command. Returns only on failure.
pub(crate) fn execute(process: &Process, prepared: Prepared) -> Error {
    let identity = prepared.identity;
    if let Err(error) = give_up_rights(process, &identity) {
        return error;
    }
    match become_command(process, &identity) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn give_up_rights(process: &Process, identity: &Identity) -> Result<(), Error> {
    for limit in &process.resource_limits {
        set_limit(limit)?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    close_inherited()?;
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).at(Step::SetNoNewPrivileges)?;
    }
    capabilities::bound(process.capabilities)?;
    // Without no_new_privs only CAP_SYS_ADMIN may install a filter, so this comes before giving
    // capabilities up. All that follows is in the profile.
    if process.seccomp == Seccomp::Default {
        seccomp::install(process.capabilities).at(Step::InstallSeccompFilter)?;
    }
    set_identity(identity).at(Step::SetUser)?;
    capabilities::limit(process.capabilities, identity.uid)?;
    follow_supervisor()
}

/// Asks for SIGKILL at the supervisor's end. A change of user or capabilities withdraws it, so it
/// is asked for again after each.
pub(crate) fn follow_supervisor() -> Result<(), Error> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::CreateNamespaces)
}

fn set_identity(identity: &Identity) -> Result<(), rustix::io::Errno> {
    let groups: Vec<Gid> = identity
        .groups
        .iter()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

fn set_limit(limit: &ResourceLimit) -> Result<(), Error> {
    let resource = resource_number(limit.resource);
    sys::set_resource_limit(resource, limit.soft, limit.hard).at_path(
        Step::SetResourceLimit,
        format!("{:?}", limit.resource).to_lowercase(),
    )
}

fn resource_number(resource: Resource) -> libc::c_int {
    let number = match resource {
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Cpu => libc::RLIMIT_CPU,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::Fsize => libc::RLIMIT_FSIZE,
        Resource::Locks => libc::RLIMIT_LOCKS,
        Resource::Memlock => libc::RLIMIT_MEMLOCK,
        Resource::Msgqueue => libc::RLIMIT_MSGQUEUE,
        Resource::Nice => libc::RLIMIT_NICE,
        Resource::Nofile => libc::RLIMIT_NOFILE,
        Resource::Nproc => libc::RLIMIT_NPROC,
        Resource::Rss => libc::RLIMIT_RSS,
        Resource::Rtprio => libc::RLIMIT_RTPRIO,
        Resource::Rttime => libc::RLIMIT_RTTIME,
        Resource::Sigpending => libc::RLIMIT_SIGPENDING,
        Resource::Stack => libc::RLIMIT_STACK,
    };
    number as libc::c_int
}

/// Leaves the command only its standard streams.
fn close_inherited() -> Result<(), Error> {
    match sys::close_on_exec_from(3) {
        // Linux before 5.11 lacks the call or the flag.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => {
            for entry in std::fs::read_dir("/proc/self/fd").at(Step::CloseFiles)? {
                let name = entry.at(Step::CloseFiles)?.file_name();
                if let Some(number) = name.to_str().and_then(|name| name.parse().ok())
                    && number > 2
                {
                    sys::close_on_exec(number);
                }
            }
            Ok(())
        }
        closed => closed.at(Step::CloseFiles),
    }
}

fn become_command(
    process: &Process,
    identity: &Identity,
) -> Result<std::convert::Infallible, Error> {
    let command = process.args.first().map_or("", String::as_str);
    let failed = |source: io::Error| Error::Command {
        command: command.to_string(),
        source,
    };
    let mut environment = process.env.clone();
    if !environment
        .iter()
        .any(|variable| variable.starts_with("HOME="))
    {
        environment.push(format!("HOME={}", identity.home));
    }
    let arguments = c_strings(&process.args).map_err(failed)?;
    let variables = c_strings(&environment).map_err(failed)?;
    let path = find_command(command, &environment).map_err(failed)?;
    let error = sys::execute(&path, &arguments, &variables);
    Err(failed(error))
}

fn c_strings(strings: &[String]) -> io::Result<Vec<CString>> {
    strings
        .iter()
        .map(|string| Ok(CString::new(string.as_str())?))
        .collect()
}

/// Looks a command without a slash up in `PATH`, as execvp(3) does. A file there that may not be
/// executed is remembered as the reason if no directory has a better one.
fn find_command(command: &str, environment: &[String]) -> io::Result<CString> {
    if command.contains('/') {
        return Ok(CString::new(command)?);
    }
    let path = environment
        .iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let mut reason = io::Error::from_raw_os_error(libc::ENOENT);
    if command.is_empty() {
        return Err(reason);
    }
    for directory in path.split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(command);
        match is_executable(&candidate) {
            Ok(()) => {
                return Ok(CString::new(
                    candidate.into_os_string().into_encoded_bytes(),
                )?);
            }
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => reason = error,
            Err(_) => {}
        }
    }
    Err(reason)
}

fn is_executable(path: &Path) -> io::Result<()> {
    let status = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    Ok(rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?)
}

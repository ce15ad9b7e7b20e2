//! System calls for which rustix has no safe wrapper, each behind a safe function.
//!
//! All of them are meant for the single-threaded processes of a sandbox.
#![expect(
    unsafe_code,
    reason = "clone, execve, mount_setattr, seccomp and signal dispositions have no safe wrapper"
)]

use std::ffi::{CString, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::spec::{ExitStatus, Usage};

/// What `clone` returned to which side.
pub(crate) enum Cloned {
    /// In the new process.
    Child,
    /// In the caller: the new process.
    Parent {
        /// Its PID in the caller's PID namespace.
        pid: i32,
        /// A descriptor that becomes readable when it ends.
        pidfd: OwnedFd,
    },
}

/// Creates a child with a copy of this process' memory in the namespaces of `namespace_flags`
/// (`CLONE_NEW*`, clone(2)).
pub(crate) fn clone_process(namespace_flags: c_int) -> io::Result<Cloned> {
    let flags = i64::from(namespace_flags | libc::CLONE_PIDFD | libc::SIGCHLD);
    let mut pidfd: RawFd = -1;
    // SAFETY: without CLONE_VM and with a null stack this is fork(2): the child has its own copy of
    // all memory. The process is single-threaded, so no lock is held by a thread that is not
    // copied. The third argument is where CLONE_PIDFD stores the descriptor; the last two are
    // unused, so their order, which differs between architectures, does not matter.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags,
            0_usize,
            &raw mut pidfd,
            0_usize,
            0_usize,
        )
    };
    match checked(result)? {
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent {
            pid: pid as i32,
            // SAFETY: the kernel stored a fresh descriptor that nobody else owns.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Tries whether a user namespace can be made, in a process that ends at once.
pub(crate) fn try_user_namespace() -> io::Result<()> {
    let flags = i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    // SAFETY: as in `clone_process`; this process may have threads, but the child does nothing
    // that could need their locks: it ends by a system call.
    let pid = checked(unsafe {
        libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize)
    })?;
    if pid == 0 {
        // SAFETY: ends this process without running anything else.
        unsafe { libc::_exit(0) };
    }
    wait_with_usage(pid as i32).map(drop)
}

/// Moves this process into a new cgroup namespace rooted at its present cgroups.
pub(crate) fn unshare_cgroup_namespace() -> io::Result<()> {
    unshare_namespace(libc::CLONE_NEWCGROUP)
}

/// Moves this process into a new network namespace.
pub(crate) fn unshare_network_namespace() -> io::Result<()> {
    unshare_namespace(libc::CLONE_NEWNET)
}

fn unshare_namespace(kind: c_int) -> io::Result<()> {
    // SAFETY: cgroup and network namespaces have no part in memory safety.
    checked(unsafe { libc::syscall(libc::SYS_unshare, kind) }).map(drop)
}

/// How far an attribute of a mount reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The mount alone.
    One,
    /// The mount and all below it.
    Tree,
}

/// Makes a mount read-only (mount_setattr(2), Linux 5.12).
pub(crate) fn set_mount_read_only(mount: BorrowedFd<'_>, reach: Reach) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let recursive = if reach == Reach::Tree {
        libc::AT_RECURSIVE
    } else {
        0
    };
    // SAFETY: the path is an empty C string and the structure outlives the call; the size given is
    // the structure's own.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    checked(result).map(drop)
}

/// Marks every descriptor from `first` on to be closed by `execve`.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: only a flag of descriptors changes; none is closed here.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    checked(result).map(drop)
}

/// Marks one descriptor to be closed by `execve`. A number that is not open is not an error.
pub(crate) fn close_on_exec(descriptor: RawFd) {
    // SAFETY: only a flag of a descriptor changes.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Gives every signal its default disposition and empties the signal mask, both of which
/// `execve` would otherwise hand on.
pub(crate) fn reset_signals() {
    // All zero is SIG_DFL with no flags and an empty mask. It is at least as large as the kernel's
    // structure on every architecture.
    let default = [0_u64; 4];
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: no handler is installed. By the system call, because libc's function refuses the
        // two signals it keeps for itself; SIGKILL and SIGSTOP are refused by the kernel, which is
        // fine.
        unsafe {
            let action = default.as_ptr();
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                action,
                0_usize,
                size_of::<u64>(),
            )
        };
    }
    // SAFETY: an all-zero sigset_t is a valid value, made properly empty before its use.
    unsafe {
        let mut empty: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut empty);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut());
    }
}

/// The highest signal number of the kernel (`_NSIG`).
const LAST_SIGNAL: c_int = 64;

/// Ignores the signals with which a terminal or a session's end stops processes: the
/// supervisor ends with its sandbox or its caller, not before.
pub(crate) fn ignore_stop_signals() {
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGPIPE,
    ] {
        // SAFETY: SIG_IGN installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Waits for a child and returns how it ended and what it used.
pub(crate) fn wait_with_usage(pid: i32) -> io::Result<(ExitStatus, Usage)> {
    let mut status: c_int = 0;
    // SAFETY: an all-zero rusage is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live locals of the right types.
        let result = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if result == pid {
            return Ok((exit_status(status), usage_of(&usage)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn exit_status(status: c_int) -> ExitStatus {
    if libc::WIFSIGNALED(status) {
        ExitStatus::Signaled(libc::WTERMSIG(status))
    } else {
        ExitStatus::Exited(libc::WEXITSTATUS(status) as u8)
    }
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs())
            + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Usage {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        peak_memory: usage.ru_maxrss.unsigned_abs() * 1024, // ru_maxrss is in KiB
    }
}

/// Sends any signal, real-time ones included, to the process of a pidfd.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    // SAFETY: a null siginfo asks for the one kill(2) makes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            0_usize,
            0,
        )
    };
    checked(result).map(drop)
}

/// Replaces the program of this process. Returns only on failure.
pub(crate) fn execute(path: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let arguments = null_terminated(arguments);
    let environment = null_terminated(environment);
    // SAFETY: both arrays end in null and point to C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn null_terminated(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// Removes a capability from the bounding set.
pub(crate) fn drop_bounding_capability(number: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    checked(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }.into()).map(drop)
}

/// Sets a resource limit of this process (prlimit(2)).
pub(crate) fn set_resource_limit(resource: c_int, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the structure outlives the call; no old value is asked for.
    let result =
        unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, 0_usize) };
    checked(result).map(drop)
}

/// Installs a seccomp filter; `no_new_privs` is left as it is.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, of which there are `len` instructions.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    checked(result).map(drop)
}

fn checked(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

//! A disk that fails: a program is run under ptrace(2), and one of its calls that change files is
//! where it dies, or is refused. The program itself knows nothing of it.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The program is killed before the call is made.
    Kill,
    /// The call is refused: no space, or for those that sync, an error of the disk.
    Refuse,
}

/// What a traced program did.
#[derive(Debug)]
pub struct Traced {
    /// How many calls were made that change files or sync them.
    pub calls: usize,
    /// The call that the fault hit.
    pub hit: Option<String>,
    /// The exit code; `None` for a program that was killed.
    pub code: Option<i32>,
    /// Device and inode of the files whose content was written and not synced since.
    unsynced: HashMap<(u64, u64), PathBuf>,
}

/// A call that counts.
struct Call {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Changes the content of the file of this descriptor.
    Write(i32),
    /// Syncs the file of this descriptor.
    SyncFile(i32),
    /// Syncs everything.
    SyncAll,
    /// Changes names or metadata.
    Name,
}

impl Traced {
    /// Makes the files below `root` what they could be after a power cut: content that was not
    /// synced is gone, names are there. So it is on file systems that write content later than
    /// names, which are most.
    ///
    /// # Panics
    /// When a file cannot be truncated.
    pub fn lose_power(&self, root: &Path) {
        let mut waiting = vec![root.to_owned()];
        while let Some(directory) = waiting.pop() {
            for entry in std::fs::read_dir(&directory)
                .into_iter()
                .flatten()
                .flatten()
            {
                let Ok(metadata) = entry.path().symlink_metadata() else {
                    continue;
                };
                if metadata.is_dir() {
                    waiting.push(entry.path());
                } else if metadata.is_file()
                    && self
                        .unsynced
                        .contains_key(&(metadata.dev(), metadata.ino()))
                {
                    let file = std::fs::File::options().write(true).open(entry.path());
                    file.and_then(|file| file.set_len(0))
                        .expect("the file is ours");
                }
            }
        }
    }
}

/// Runs a program to its end, with a fault at the call of that number, counted from 0.
///
/// # Panics
/// When it cannot be traced.
pub fn trace(command: &mut Command, fault: Option<(usize, Fault)>) -> Traced {
    // SAFETY: ptrace(2) with PTRACE_TRACEME takes no pointers and is safe after fork.
    #[expect(unsafe_code, reason = "ptrace(2)")]
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    #[expect(
        clippy::zombie_processes,
        reason = "the tracer waits for all its threads"
    )]
    let child = command.spawn().expect("the program starts");
    let leader = i32::try_from(child.id()).expect("PIDs fit");
    let mut tracer = Tracer {
        leader,
        fault,
        refused: None,
        inside: HashMap::new(),
        traced: Traced {
            calls: 0,
            hit: None,
            code: None,
            unsynced: HashMap::new(),
        },
    };
    tracer.run();
    tracer.traced
}

struct Tracer {
    leader: i32,
    fault: Option<(usize, Fault)>,
    /// The thread whose call is being refused, and the error that it gets.
    refused: Option<(i32, i32)>,
    /// Threads that are in a call.
    inside: HashMap<i32, bool>,
    traced: Traced,
}

impl Tracer {
    fn run(&mut self) {
        let (thread, status) = wait();
        assert_eq!(thread, self.leader, "only the program itself is there yet");
        assert!(libc::WIFSTOPPED(status), "it stops at exec");
        let options =
            libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
        request(libc::PTRACE_SETOPTIONS, thread, options as usize);
        request(libc::PTRACE_SYSCALL, thread, 0);
        loop {
            let (thread, status) = wait();
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                if thread == self.leader {
                    self.traced.code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
                    return;
                }
                continue;
            }
            let signal = libc::WSTOPSIG(status);
            if signal == libc::SIGTRAP | 0x80 {
                self.call(thread);
            }
            // New threads start with SIGSTOP, and tell of themselves with SIGTRAP.
            let is_own = [libc::SIGTRAP | 0x80, libc::SIGTRAP, libc::SIGSTOP].contains(&signal);
            let passed_on = if is_own { 0 } else { signal };
            // A thread that is gone by now needs no word.
            request(
                libc::PTRACE_SYSCALL,
                thread,
                usize::try_from(passed_on).expect("signals are positive"),
            );
        }
    }

    /// A thread enters a call, or comes back from it.
    fn call(&mut self, thread: i32) {
        let is_inside = self.inside.entry(thread).or_default();
        *is_inside = !*is_inside;
        let entered = *is_inside;
        let Some(mut registers) = registers(thread) else {
            return; // it is being killed
        };
        if !entered {
            if let Some((_, error)) = self.refused.take_if(|(refused, _)| *refused == thread) {
                registers.rax = i64::from(-error).cast_unsigned();
                set_registers(thread, &registers);
            }
            return;
        }
        let Some(call) = classify(&registers) else {
            return;
        };
        if let Kind::Write(descriptor) = call.kind
            && file_of(thread, descriptor).is_none()
        {
            return; // a pipe, a socket, a terminal
        }
        let number = self.traced.calls;
        self.traced.calls += 1;
        match self.fault.filter(|(chosen, _)| *chosen == number) {
            None => self.account(thread, &call),
            Some((_, Fault::Kill)) => {
                self.traced.hit = Some(call.name.to_owned());
                // SAFETY: kill(2) takes no pointers; the program is not reaped yet.
                #[expect(unsafe_code, reason = "kill(2)")]
                unsafe {
                    libc::kill(self.leader, libc::SIGKILL);
                }
            }
            Some((_, Fault::Refuse)) => {
                self.traced.hit = Some(call.name.to_owned());
                let error = match call.kind {
                    Kind::SyncFile(_) | Kind::SyncAll => libc::EIO,
                    Kind::Write(_) | Kind::Name => libc::ENOSPC,
                };
                self.refused = Some((thread, error));
                registers.orig_rax = u64::MAX;
                set_registers(thread, &registers);
            }
        }
    }

    fn account(&mut self, thread: i32, call: &Call) {
        match call.kind {
            Kind::Write(descriptor) => {
                if let Some((id, path)) = file_of(thread, descriptor) {
                    self.traced.unsynced.insert(id, path);
                }
            }
            Kind::SyncFile(descriptor) => {
                if let Some((id, _)) = file_of(thread, descriptor) {
                    self.traced.unsynced.remove(&id);
                }
            }
            Kind::SyncAll => self.traced.unsynced.clear(),
            Kind::Name => {}
        }
    }
}

/// Tells whether a call changes files or syncs them.
fn classify(registers: &libc::user_regs_struct) -> Option<Call> {
    let first = registers.rdi as i32;
    let (name, kind) = match registers.orig_rax as i64 {
        libc::SYS_write => ("write", Kind::Write(first)),
        libc::SYS_pwrite64 => ("pwrite64", Kind::Write(first)),
        libc::SYS_writev => ("writev", Kind::Write(first)),
        libc::SYS_ftruncate => ("ftruncate", Kind::Write(first)),
        libc::SYS_copy_file_range => ("copy_file_range", Kind::Write(registers.rdx as i32)),
        libc::SYS_fsync => ("fsync", Kind::SyncFile(first)),
        libc::SYS_fdatasync => ("fdatasync", Kind::SyncFile(first)),
        libc::SYS_syncfs => ("syncfs", Kind::SyncAll),
        libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => ("rename", Kind::Name),
        libc::SYS_link | libc::SYS_linkat => ("link", Kind::Name),
        libc::SYS_symlink | libc::SYS_symlinkat => ("symlink", Kind::Name),
        libc::SYS_unlink | libc::SYS_unlinkat | libc::SYS_rmdir => ("unlink", Kind::Name),
        libc::SYS_mkdir | libc::SYS_mkdirat => ("mkdir", Kind::Name),
        libc::SYS_openat if registers.rdx & libc::O_CREAT as u64 != 0 => ("create", Kind::Name),
        libc::SYS_open if registers.rsi & libc::O_CREAT as u64 != 0 => ("create", Kind::Name),
        _ => return None,
    };
    Some(Call { name, kind })
}

/// Returns which regular file or directory a descriptor of a thread is.
fn file_of(thread: i32, descriptor: i32) -> Option<((u64, u64), PathBuf)> {
    let link = PathBuf::from(format!("/proc/{thread}/fd/{descriptor}"));
    let metadata = std::fs::metadata(&link).ok()?;
    let path = std::fs::read_link(&link).ok()?;
    let is_ours = (metadata.is_file() || metadata.is_dir()) && !path.starts_with("/proc");
    is_ours.then(|| ((metadata.dev(), metadata.ino()), path))
}

/// Waits for a tracee of this thread; other threads of this process have children of their own.
fn wait() -> (i32, i32) {
    let mut status = 0;
    loop {
        // SAFETY: the status is a valid place for the result.
        #[expect(unsafe_code, reason = "waitpid(2)")]
        let thread =
            unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if thread > 0 {
            return (thread, status);
        }
        let error = io::Error::last_os_error();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted, "waitpid: {error}");
    }
}

/// Makes a request without an address. One to a thread that was killed meanwhile does nothing.
fn request(request: libc::c_uint, thread: i32, data: usize) {
    // SAFETY: these requests take numbers only.
    #[expect(unsafe_code, reason = "ptrace(2)")]
    unsafe {
        libc::ptrace(request, thread, 0usize, data);
    }
}

fn registers(thread: i32) -> Option<libc::user_regs_struct> {
    let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::uninit();
    // SAFETY: the registers are a valid place for the result, which is there when the call
    // succeeds.
    #[expect(unsafe_code, reason = "ptrace(2)")]
    unsafe {
        match libc::ptrace(libc::PTRACE_GETREGS, thread, 0usize, registers.as_mut_ptr()) {
            -1 => None,
            _ => Some(registers.assume_init()),
        }
    }
}

fn set_registers(thread: i32, registers: &libc::user_regs_struct) {
    // SAFETY: the registers are read only; a thread that was killed meanwhile needs none.
    #[expect(unsafe_code, reason = "ptrace(2)")]
    unsafe {
        libc::ptrace(libc::PTRACE_SETREGS, thread, 0usize, &raw const *registers);
    }
}

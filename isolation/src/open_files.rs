//! The limit on open files: raised for this program, as before for what it starts.

use std::process::Child;
use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// What the limit was before it was raised.
static USUAL: OnceLock<Rlimit> = OnceLock::new();

/// Raises this process' soft limit on open files to the hard one: a deep stack of layers needs a
/// handle for each layer and directory on the way, and the usual 1024 are for programs that call
/// select(2). What the kernel refuses stays as it is.
pub fn raise_open_files() {
    let usual = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: usual.maximum,
        ..usual
    };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        let _ = USUAL.set(usual);
    }
}

/// Gives a child process, which waits for its order, the limit that this process was started with.
pub fn lower_open_files(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let (Some(usual), Some(pid)) = (USUAL.get(), pid) {
        // Only a right to raise the hard limit could be missing, and that stays as it is.
        let _ = prlimit(Some(pid), Resource::Nofile, *usual);
    }
}

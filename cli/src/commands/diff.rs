//! `mica diff`.

use std::os::unix::ffi::OsStrExt;

use clap::Args;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::session::Session;

/// Inspect changes to files or directories on a container's filesystem
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Runs the command.
pub(crate) fn run(args: &DiffArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    let id = super::find(&containers, &args.container)?;
    let mut lines = Vec::new();
    for change in containers.changes(&id)? {
        lines.extend_from_slice(format!("{} ", change.kind.letter()).as_bytes());
        lines.extend_from_slice(change.path.as_os_str().as_bytes());
        lines.push(b'\n');
    }
    session.printer.data(lines)?;
    Ok(Exit::Success)
}

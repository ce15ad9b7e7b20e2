//! `mica export`.

use std::path::PathBuf;

use clap::Args;

use super::save::write_archive;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::session::Session;

/// Export a container's filesystem as a tar archive
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Runs the command.
pub(crate) fn run(args: &ExportArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    let id = super::find(&containers, &args.container)?;
    write_archive(args.output.as_deref(), session.printer, |out| {
        Ok(containers.export(&id, out)?)
    })?;
    Ok(Exit::Success)
}

//! `mica export`.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;

use super::save::save_to;
use crate::exit::Exit;
use crate::failure::{CliError, Outcome};
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
    match &args.output {
        Some(path) => save_to(path, |out| Ok(containers.export(&id, out)?))?,
        None if session.printer.is_terminal() => {
            return Err(CliError::NoTerminal(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            )
            .into());
        }
        None => {
            let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
            containers.export(&id, &mut out)?;
            out.flush()?;
        }
    }
    Ok(Exit::Success)
}

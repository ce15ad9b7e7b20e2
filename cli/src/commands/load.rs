//! `mica load`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use mica_store::ArchiveError;

use crate::exit::Exit;
use crate::failure::{CliError, Outcome};
use crate::session::Session;

/// Load an image from a tar archive or STDIN
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// Read from tar archive file, or a directory that is an OCI layout, instead of STDIN
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
pub(crate) fn run(args: &LoadArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let _held = store.hold()?;
    let loaded = match &args.input {
        Some(path) => mica_store::load_file(&store, path)
            .map_err(|error| failed(path.display().to_string(), error))?,
        None if io::stdin().is_terminal() => {
            return Err(
                CliError::NoTerminal("requested load from stdin, but stdin is empty").into(),
            );
        }
        None => mica_store::load(&store, io::stdin().lock())
            .map_err(|error| failed("standard input".to_owned(), error))?,
    };
    for loaded in loaded {
        session.printer.line(match loaded.reference {
            Some(reference) => format!("Loaded image: {}", reference.familiar()),
            None => format!("Loaded image ID: {}", loaded.image.id()),
        })?;
    }
    Ok(Exit::Success)
}

fn failed(place: String, error: ArchiveError) -> CliError {
    CliError::Archive {
        action: "load",
        place,
        source: error.into(),
    }
}

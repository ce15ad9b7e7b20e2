//! `mica rename`.

use clap::Args;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::session::Session;

/// Rename a container
#[derive(Args, Debug)]
pub(crate) struct RenameArgs {
    /// The container
    container: String,
    /// Its new name
    new_name: String,
}

/// Runs the command.
pub(crate) fn run(args: &RenameArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    let id = super::find(&containers, &args.container)?;
    containers.rename(&id, &args.new_name)?;
    Ok(Exit::Success)
}

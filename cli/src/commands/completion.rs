//! `mica completion`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::session::Session;

/// Generate the autocompletion script for the specified shell
#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &CompletionArgs, session: &Session) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "mica", &mut script);
    session.printer.data(script)?;
    Ok(Exit::Success)
}

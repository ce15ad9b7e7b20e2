//! `mica wait`.

use clap::Args;

use crate::failure::Outcome;
use crate::session::Session;

/// Block until one or more containers stop, then print their exit codes
#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &WaitArgs, session: &Session) -> Outcome {
    super::for_each_named(session, &args.containers, |containers, name| {
        let id = super::find(containers, name)?;
        let code = containers.wait(&id)?;
        session.printer.line(code.to_string())?;
        Ok(super::Shown::Nothing)
    })
}

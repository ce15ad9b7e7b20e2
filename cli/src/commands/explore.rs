//! `mica explore`.

use clap::Args;

use crate::exit::Exit;
use crate::explore;
use crate::failure::{CliError, Failure, Outcome};
use crate::look;
use crate::session::Session;

/// Explore an image in the terminal: layers, files, what each layer changed
#[derive(Args, Debug)]
pub(crate) struct ExploreArgs {
    #[command(flatten)]
    at: look::ImageArgs,
}

/// Runs the command.
pub(crate) fn run(args: &ExploreArgs, session: &Session) -> Outcome {
    if !session.printer.is_terminal() {
        let message = "explore needs a terminal on standard output".to_owned();
        let failure = Failure::from(CliError::Arguments { message });
        return Err(failure.with_hint("`mica layers` and `mica ls -R` print the same as text"));
    }
    let image = args.at.open(session)?;
    explore::run(&image, session.printer)?;
    Ok(Exit::Success)
}

//! `mica pause` and `mica unpause`.

use clap::Args;

use crate::failure::Outcome;
use crate::session::Session;

/// Pause or unpause all processes within one or more containers
#[derive(Args, Debug)]
pub(crate) struct PauseArgs {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs `pause`.
pub(crate) fn pause(args: &PauseArgs, session: &Session) -> Outcome {
    super::for_each(session, &args.containers, |containers, id| {
        containers.pause(id)
    })
}

/// Runs `unpause`.
pub(crate) fn unpause(args: &PauseArgs, session: &Session) -> Outcome {
    super::for_each(session, &args.containers, |containers, id| {
        containers.unpause(id)
    })
}

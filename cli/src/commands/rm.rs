//! `mica rm`.

use clap::Args;
use mica_container::RemoveOptions;

use crate::failure::Outcome;
use crate::session::Session;

/// Remove one or more containers
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command. With `--force` a container that is not there is no failure, as in docker.
pub(crate) fn run(args: &RmArgs, session: &Session) -> Outcome {
    let options = RemoveOptions {
        force: args.force,
        volumes: args.volumes,
    };
    super::for_each_named(session, &args.containers, |containers, name| {
        let id = match super::find(containers, name) {
            Err(failure) if args.force && super::is_no_such_container(&failure) => {
                session.printer.report(&failure);
                return Ok(super::Shown::Nothing);
            }
            found => found?,
        };
        containers.remove(&id, options)?;
        Ok(super::Shown::Name)
    })
}

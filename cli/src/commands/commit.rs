//! `mica commit`.

use clap::{ArgAction, Args};
use mica_container::{CommitOptions, ContainerRecord};
use mica_oci::Reference;

use crate::container::changes::parse_change;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::session::Session;

/// Create a new image from a container's changes
#[derive(Args, Debug)]
pub(crate) struct CommitArgs {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "STRING")]
    author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "LIST")]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "STRING")]
    message: Option<String>,
    /// Disable pausing container during commit
    #[arg(long)]
    no_pause: bool,
    /// Pause container during commit
    #[arg(
        short,
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
    )]
    pause: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The new image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<Reference>,
}

/// Runs the command.
pub(crate) fn run(args: &CommitArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    let id = super::find(&containers, &args.container)?;
    let options = options(args, &containers.record(&id)?)?;
    let image = containers.commit(&id, &options)?;
    session.printer.line(image.id().to_string())?;
    Ok(Exit::Success)
}

fn options(args: &CommitArgs, record: &ContainerRecord) -> Result<CommitOptions, Failure> {
    let variables = |name: &str| record.config.env_value(name).map(str::to_owned);
    let mut changes = Vec::new();
    for text in &args.change {
        changes.extend(parse_change(
            text,
            &variables,
            record.config.shell.as_deref(),
        )?);
    }
    Ok(CommitOptions {
        reference: args.reference.clone(),
        author: args.author.clone(),
        message: args.message.clone(),
        changes,
        no_pause: args.no_pause || !args.pause,
    })
}

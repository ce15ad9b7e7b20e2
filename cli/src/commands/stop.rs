//! `mica stop`, `mica restart`, `mica kill`.

use clap::Args;
use mica_container::{StopOptions, StopTimeout, parse_signal};

use crate::failure::{Failure, Outcome};
use crate::session::Session;

/// Stop one or more running containers
#[derive(Args, Debug)]
pub(crate) struct StopArgs {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<i64>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Kill one or more running containers
#[derive(Args, Debug)]
pub(crate) struct KillArgs {
    /// Signal to send to the container
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs `stop`.
pub(crate) fn stop(args: &StopArgs, session: &Session) -> Outcome {
    let options = options(args)?;
    super::for_each(session, &args.containers, |containers, id| {
        containers.stop(id, options)
    })
}

/// Runs `restart`.
pub(crate) fn restart(args: &StopArgs, session: &Session) -> Outcome {
    let options = options(args)?;
    super::for_each(session, &args.containers, |containers, id| {
        containers.restart(id, options)
    })
}

/// Runs `kill`.
pub(crate) fn kill(args: &KillArgs, session: &Session) -> Outcome {
    let signal = parse_signal(&args.signal)?;
    super::for_each(session, &args.containers, |containers, id| {
        containers.kill(id, signal)
    })
}

fn options(args: &StopArgs) -> Result<StopOptions, Failure> {
    Ok(StopOptions {
        signal: args.signal.as_deref().map(parse_signal).transpose()?,
        timeout: args.time.map(StopTimeout::from_seconds),
    })
}

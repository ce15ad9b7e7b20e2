//! `mica run`.

use std::io::IsTerminal;

use clap::{ArgAction, Args, ValueEnum};
use mica_container::{ContainerId, Containers, DetachKeys, Error, Streams};

use crate::container::create_options::ContainerArgs;
use crate::container::create_request::Attached;
use crate::container::streams::{Client, SignalProxy, Terminal};
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// Create and run a new container from an image
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(
        short,
        long,
        value_name = "STREAM",
        ignore_case = true,
        conflicts_with = "detach"
    )]
    attach: Vec<StreamName>,
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Proxy received signals to the process
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
    )]
    sig_proxy: bool,
    #[command(flatten)]
    container: ContainerArgs,
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StreamName {
    Stdin,
    Stdout,
    Stderr,
}

/// Runs the command. What fails before the container's command runs has docker's exit codes.
pub(crate) fn run(args: &RunArgs, session: &Session) -> Outcome {
    if !args.detach {
        check_terminal(args.container.interactive, args.container.tty)?;
    }
    start(args, session).map_err(|failure| match failure.exit {
        Exit::Failure => failure.with_exit(Exit::Engine),
        _ => failure,
    })
}

fn start(args: &RunArgs, session: &Session) -> Outcome {
    let attached = if args.detach {
        Attached::Background
    } else {
        Attached::Foreground
    };
    let (containers, id) = super::create::make(&args.container, session, attached)?;
    if !args.detach {
        return watch(args, &containers, &id);
    }
    containers
        .start(&id, None)
        .map_err(|error| not_started(&containers, error))?;
    session.printer.line(id.as_str())?;
    Ok(Exit::Success)
}

fn watch(args: &RunArgs, containers: &Containers, id: &ContainerId) -> Outcome {
    let client = Client {
        streams: streams(args),
        terminal: Terminal::of(args.container.tty),
        signals: SignalProxy::of(args.sig_proxy),
        keys: args.detach_keys.clone(),
    };
    let signals = client.catch_signals()?;
    let started = containers.start(id, Some(client.streams));
    match started.map_err(|error| not_started(containers, error))? {
        Some(attachment) => client.run(attachment, signals),
        None => Err(Error::MonitorLost { id: id.to_string() }.into()),
    }
}

/// Returns the streams to connect: those named, or the output and, with `-i`, the input.
fn streams(args: &RunArgs) -> Streams {
    let RunArgs {
        attach, container, ..
    } = args;
    if attach.is_empty() {
        return Streams {
            stdin: container.interactive,
            stdout: true,
            stderr: true,
        };
    }
    Streams {
        stdin: attach.contains(&StreamName::Stdin),
        stdout: attach.contains(&StreamName::Stdout),
        stderr: attach.contains(&StreamName::Stderr),
    }
}

/// Docker's exit codes tell why a container did not start.
fn not_started(containers: &Containers, error: Error) -> Failure {
    let exit = Exit::of_start(error.exit_code());
    super::container_failure(containers, error).with_exit(exit)
}

/// A container's terminal whose keys come from a pipe is a mistake.
pub(super) fn check_terminal(interactive: bool, tty: bool) -> Result<(), Failure> {
    match interactive && tty && !std::io::stdin().is_terminal() {
        true => Err(
            Failure::from(CliError::NoTerminal("the input device is not a TTY"))
                .or_hint(|| Some("leave out -t where there is no terminal".into())),
        ),
        false => Ok(()),
    }
}

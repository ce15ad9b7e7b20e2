//! `mica start`.

use clap::Args;
use mica_container::{Containers, DetachKeys, Streams};

use crate::container::streams::{Client, SignalProxy, Terminal};
use crate::exit::Exit;
use crate::failure::{CliError, Outcome};
use crate::session::Session;

/// Start one or more stopped containers
#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &StartArgs, session: &Session) -> Outcome {
    if args.attach || args.interactive {
        return start_attached(args, &session.containers()?);
    }
    super::for_each(session, &args.containers, |containers, id| {
        containers.start(id, None).map(drop)
    })
}

fn start_attached(args: &StartArgs, containers: &Containers) -> Outcome {
    let [name] = &args.containers[..] else {
        let message = "you cannot start and attach multiple containers at once".to_owned();
        return Err(CliError::Arguments { message }.into());
    };
    let id = super::find(containers, name)?;
    let record = containers.record(&id)?;
    let stdin = args.interactive && record.open_stdin;
    super::run::check_terminal(stdin, record.tty)?;
    let client = Client {
        streams: Streams {
            stdin,
            stdout: true,
            stderr: true,
        },
        terminal: Terminal::of(record.tty),
        signals: SignalProxy::On,
        keys: args.detach_keys.clone(),
    };
    let signals = client.catch_signals()?;
    match containers.start(&id, Some(client.streams))? {
        Some(attachment) => client.run(attachment, signals),
        None => Ok(Exit::Success),
    }
}

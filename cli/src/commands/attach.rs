//! `mica attach`.

use clap::{ArgAction, Args};
use mica_container::{DetachKeys, Error, Streams};

use crate::container::streams::{Client, SignalProxy, Terminal};
use crate::failure::Outcome;
use crate::session::Session;

/// Attach local standard input, output, and error streams to a running container
#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process
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
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Runs the command.
pub(crate) fn run(args: &AttachArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    let id = super::find(&containers, &args.container)?;
    let record = containers.record(&id)?;
    if !containers.state(&id)?.is_running() {
        return Err(Error::NotRunning { id: id.to_string() }.into());
    }
    let stdin = record.open_stdin && !args.no_stdin;
    super::run::check_terminal(stdin, record.tty)?;
    let client = Client {
        streams: Streams {
            stdin,
            stdout: true,
            stderr: true,
        },
        terminal: Terminal::of(record.tty),
        signals: SignalProxy::of(args.sig_proxy),
        keys: args.detach_keys.clone(),
    };
    let signals = client.catch_signals()?;
    let attachment = containers.attach(&id, client.streams)?;
    client.run(attachment, signals)
}

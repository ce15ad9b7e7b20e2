//! `mica port`.

use clap::Args;
use mica_container::{PortMapping, PublishedPort};

use crate::exit::Exit;
use crate::failure::{CliError, Outcome};
use crate::session::Session;

/// List port mappings or a specific mapping for the container
#[derive(Args, Debug)]
pub(crate) struct PortArgs {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Only this port
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    port: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &PortArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    let id = super::find(&containers, &args.container)?;
    let ports = containers.state(&id)?.ports;
    let lines = match &args.port {
        Some(port) => one(&ports, port, &args.container)?,
        None => ports
            .iter()
            .map(|port| format!("{} -> {port}\n", key(port)))
            .collect(),
    };
    session.printer.data(lines)?;
    Ok(Exit::Success)
}

fn key(port: &PublishedPort) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

/// Returns the host's addresses of one port of the container.
fn one(ports: &[PublishedPort], text: &str, container: &str) -> Result<String, CliError> {
    let wanted = PortMapping::parse(text).ok();
    let wanted = wanted.and_then(|ports| ports.first().map(PortMapping::key));
    let wanted = wanted.unwrap_or_else(|| text.to_owned());
    let found = ports.iter().filter(|port| key(port) == wanted);
    let lines: String = found.map(|port| format!("{port}\n")).collect();
    match lines.is_empty() {
        false => Ok(lines),
        true => Err(CliError::Arguments {
            message: format!("no public port '{wanted}' published for {container}"),
        }),
    }
}

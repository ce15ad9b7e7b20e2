//! `mica ps`.

use clap::Args;
use jiff::Timestamp;
use mica_container::{Containers, Summary};
use serde_json::Value;

use super::ps_filter::PsFilter;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::listing::{Listing, row};
use crate::printer;
use crate::session::Session;

/// List containers
#[derive(Args, Debug)]
pub(crate) struct PsArgs {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output: name, status, id, label, ancestor, exited, network, volume
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Format output using a Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "INT", default_value_t = -1, allow_hyphen_values = true)]
    last: i64,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

const HEADERS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
];

const PLAIN: Listing = Listing {
    row: "*formatter.ContainerContext",
    headers: HEADERS,
    default: "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
};

const WITH_SIZES: Listing = Listing {
    default: "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    ..PLAIN
};

/// How much of a command and of a mount is shown.
const COMMAND_WIDTH: usize = 20;
const MOUNT_WIDTH: usize = 15;

/// Runs the command.
pub(crate) fn run(args: &PsArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    // What killed monitors left is put in order first; what that cannot do hides no container.
    if let Err(error) = containers.reap() {
        session.printer.warning(&error.to_string());
    }
    let chosen = choose(args, &containers)?;
    if args.quiet && args.format.is_none() {
        let ids = chosen
            .iter()
            .map(|container| identifier(args, container).to_owned() + "\n");
        session.printer.data(ids.collect::<String>())?;
        return Ok(Exit::Success);
    }
    let needs_size = args.size
        || args
            .format
            .as_ref()
            .is_some_and(|text| text.contains(".Size"));
    let rows = chosen
        .iter()
        .map(|container| describe(args, &containers, container, needs_size));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let listing = if args.size { WITH_SIZES } else { PLAIN };
    listing.print(session.printer, args.format.as_deref(), &rows)?;
    Ok(Exit::Success)
}

/// Returns the containers that are asked for, the newest first.
fn choose(args: &PsArgs, containers: &Containers) -> Result<Vec<Summary>, Failure> {
    let filter = PsFilter::parse(&args.filter, containers.store())?;
    let last = if args.latest {
        Some(1)
    } else {
        usize::try_from(args.last).ok()
    };
    let all = args.all || last.is_some() || filter.names_states();
    let mut chosen = containers.list()?;
    chosen.retain(|container| (all || container.state.is_running()) && filter.accepts(container));
    chosen.truncate(last.unwrap_or(usize::MAX));
    Ok(chosen)
}

fn identifier<'c>(args: &PsArgs, container: &'c Summary) -> &'c str {
    match args.no_trunc {
        true => container.id.as_str(),
        false => container.id.short(),
    }
}

fn describe(
    args: &PsArgs,
    containers: &Containers,
    container: &Summary,
    needs_size: bool,
) -> Result<Value, Failure> {
    let shorten = |text: &str, width| match args.no_trunc {
        true => text.to_owned(),
        false => super::shorten(text, width),
    };
    let size = match needs_size {
        true => {
            let sizes = containers.sizes(&container.id)?;
            format!(
                "{} (virtual {})",
                printer::size(sizes.read_write),
                printer::size(sizes.root)
            )
        }
        false => printer::size(0),
    };
    let labels = container
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let mounts = container
        .mounts
        .iter()
        .map(|mount| shorten(mount, MOUNT_WIDTH));
    let volumes = container
        .mounts
        .iter()
        .filter(|mount| !mount.starts_with('/'))
        .count();
    Ok(row([
        ("ID", identifier(args, container).to_owned()),
        ("Image", container.reference.clone()),
        (
            "Command",
            quote(&shorten(&container.command, COMMAND_WIDTH)),
        ),
        ("CreatedAt", super::time::at(Some(container.created))),
        (
            "RunningFor",
            printer::ago(container.created, Timestamp::now()),
        ),
        ("Status", container.status.clone()),
        ("State", container.state.status.as_str().to_owned()),
        ("Ports", container.ports.clone()),
        ("Names", container.name.clone()),
        ("Size", size),
        ("Labels", labels.collect::<Vec<_>>().join(",")),
        ("Mounts", mounts.collect::<Vec<_>>().join(",")),
        ("LocalVolumes", volumes.to_string()),
        ("Networks", container.network.clone()),
    ]))
}

/// Quotes a text as Go does, so that it stays on one line.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            _ if character.is_control() => quoted.push_str(&format!("\\x{:02x}", character as u32)),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shortened_and_quoted() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                quote(&super::super::shorten(text, COMMAND_WIDTH)),
                expected,
                "{text}"
            );
        };
        check("sleep 1000", "\"sleep 1000\"");
        check("sh -c 'echo hello world'", "\"sh -c 'echo hello w…\"");
        check("exactly-twenty-chars", "\"exactly-twenty-chars\"");
        check("a\n\"b\"", "\"a\\n\\\"b\\\"\"");
    }
}

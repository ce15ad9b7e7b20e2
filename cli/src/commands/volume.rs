//! `mica volume`.

use clap::{Args, Subcommand};
use mica_container::Prune;

use super::inspect::{self, InspectArgs, Kind};
use crate::container::variables;
use crate::exit::Exit;
use crate::failure::{CliError, Outcome};
use crate::listing::{Listing, row};
use crate::session::Session;

/// Manage volumes
#[derive(Subcommand, Debug)]
pub(crate) enum VolumeCommand {
    /// Create a volume
    Create(CreateArgs),
    /// Display detailed information on one or more volumes
    Inspect(InspectArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Remove unused local volumes
    Prune(PruneArgs),
    /// Remove one or more volumes
    #[command(visible_alias = "remove")]
    Rm(RemoveArgs),
}

/// Create a volume
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Set metadata for a volume
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Its name; made up when absent
    name: Option<String>,
}

/// List volumes
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Format output using a Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

/// Remove unused local volumes
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    /// Do not prompt for confirmation; nothing is ever asked
    #[arg(short, long)]
    force: bool,
}

/// Remove one or more volumes
#[derive(Args, Debug)]
pub(crate) struct RemoveArgs {
    /// A volume that is not there is no failure
    #[arg(short, long)]
    force: bool,
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

const LISTING: Listing = Listing {
    row: "*formatter.volumeContext",
    headers: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Scope", "SCOPE"),
        ("Labels", "LABELS"),
    ],
    default: "table {{.Driver}}\t{{.Name}}",
};

/// Runs a command of the group.
pub(crate) fn run(command: &VolumeCommand, session: &Session) -> Outcome {
    match command {
        VolumeCommand::Create(args) => create(args, session),
        VolumeCommand::Inspect(args) => inspect::run(args, Some(Kind::Volume), session),
        VolumeCommand::Ls(args) => list(args, session),
        VolumeCommand::Prune(args) => prune(args, session),
        VolumeCommand::Rm(args) => remove(args, session),
    }
}

fn create(args: &CreateArgs, session: &Session) -> Outcome {
    let labels = variables::labels(&[], &args.label)?.into_iter().collect();
    let volume = session
        .containers()?
        .volumes()
        .create(args.name.as_deref(), labels)?;
    session.printer.line(volume.name)?;
    Ok(Exit::Success)
}

fn list(args: &ListArgs, session: &Session) -> Outcome {
    let volumes = session.containers()?.volumes().list()?;
    if args.quiet {
        let names: String = volumes
            .iter()
            .map(|volume| format!("{}\n", volume.name))
            .collect();
        session.printer.data(names)?;
        return Ok(Exit::Success);
    }
    let rows: Vec<_> = volumes
        .iter()
        .map(|volume| {
            let labels: Vec<_> = volume
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            row([
                ("Driver", "local".into()),
                ("Name", volume.name.clone()),
                ("Mountpoint", volume.mountpoint.display().to_string()),
                ("Scope", "local".into()),
                ("Labels", labels.join(",")),
            ])
        })
        .collect();
    LISTING.print(session.printer, args.format.as_deref(), &rows)?;
    Ok(Exit::Success)
}

fn prune(args: &PruneArgs, session: &Session) -> Outcome {
    let which = if args.all {
        Prune::All
    } else {
        Prune::Anonymous
    };
    let removed = session.containers()?.volumes().prune(which)?;
    if !removed.is_empty() {
        session
            .printer
            .line(format!("Deleted Volumes:\n{}", removed.join("\n")))?;
    }
    Ok(Exit::Success)
}

fn remove(args: &RemoveArgs, session: &Session) -> Outcome {
    let volumes = session.containers()?.volumes();
    let mut failed = false;
    for name in &args.volumes {
        match volumes.remove(name) {
            Ok(()) => session.printer.line(name)?,
            Err(mica_container::Error::NoSuchVolume { .. }) if args.force => {}
            Err(error) => {
                failed = true;
                session.printer.report(&error.into());
            }
        }
    }
    match failed {
        false => Ok(Exit::Success),
        true => Err(CliError::Reported.into()),
    }
}

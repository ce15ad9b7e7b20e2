//! `mica builds`: past builds, their logs and traces.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use mica_builder::{BuildFile, BuildRecord, BuildStatus, Builds};
use serde_json::json;

use crate::build;
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::printer::{self, Table};
use crate::session::Session;

/// `mica builds`.
#[derive(Args, Debug)]
pub(crate) struct BuildsArgs {
    #[command(subcommand)]
    command: Option<BuildsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

/// What to do with past builds.
#[derive(Subcommand, Debug)]
pub(crate) enum BuildsCommand {
    /// List builds
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Print what a build's commands said
    Logs(IdArgs),
    /// Print all that is known of a build, as JSON
    Inspect(IdArgs),
    /// Write a build's timing as a trace for Perfetto and Chrome
    Trace(TraceArgs),
    /// Forget builds
    Rm(RmArgs),
    /// Forget all builds, and what is kept of failed steps
    Prune(PruneArgs),
}

/// How to list.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only print IDs
    #[arg(short, long)]
    quiet: bool,
    /// How to print: "table" or "json", an object a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// A build.
#[derive(Args, Debug)]
pub(crate) struct IdArgs {
    /// The build, by its ID or the beginning of it (default: the last one)
    #[arg(value_name = "BUILD")]
    build: Option<String>,
}

/// A build's trace.
#[derive(Args, Debug)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    id: IdArgs,
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Builds to forget.
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Forget all builds
    #[arg(short, long)]
    all: bool,
    /// The builds, by their IDs or the beginnings of them
    #[arg(value_name = "BUILD", required_unless_present = "all")]
    builds: Vec<String>,
}

/// Forgetting all builds.
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Do not prompt for confirmation; nothing is ever asked
    #[arg(short, long)]
    force: bool,
}

/// Runs the command.
pub(crate) fn run(args: &BuildsArgs, session: &Session) -> Outcome {
    match &args.command {
        None => list(&args.list, session),
        Some(command) => run_command(command, session),
    }
}

/// Runs one of the commands.
pub(crate) fn run_command(command: &BuildsCommand, session: &Session) -> Outcome {
    match command {
        BuildsCommand::Ls(args) => list(args, session),
        BuildsCommand::Logs(args) => logs(args, session),
        BuildsCommand::Inspect(args) => inspect(args, session),
        BuildsCommand::Trace(args) => trace(args, session),
        BuildsCommand::Rm(args) => remove(args, session),
        BuildsCommand::Prune(_) => prune(session),
    }
}

fn list(args: &ListArgs, session: &Session) -> Outcome {
    let builds = Builds::of(&session.store()?);
    let files = builds.list();
    if args.quiet {
        for file in &files {
            session.printer.line(file.id())?;
        }
        return Ok(Exit::Success);
    }
    let now = Timestamp::now();
    // A record that another process removes meanwhile, or that is damaged, is left out.
    let records = files.iter().filter_map(|file| builds.read(file).ok());
    match args.format {
        Format::Json => {
            for record in records {
                session.printer.line(json_line(&record))?;
            }
        }
        Format::Table => {
            let mut table = Table::new();
            table.row("BUILD ID\tNAME\tSTATUS\tCREATED\tDURATION\tCACHED");
            for record in records {
                table.row(&row(&record, now));
            }
            session.printer.data(table.render())?;
        }
    }
    Ok(Exit::Success)
}

fn row(record: &BuildRecord, now: Timestamp) -> String {
    let (cached, total) = record.cached();
    format!(
        "{}\t{}\t{}\t{}\t{:.1}s\t{cached}/{total}",
        record.id,
        name(record),
        status(record),
        printer::ago(record.started, now),
        seconds(record),
    )
}

fn json_line(record: &BuildRecord) -> String {
    let (cached, total) = record.cached();
    json!({
        "id": record.id,
        "name": name(record),
        "tags": record.tags,
        "context": record.context,
        "dockerfile": record.dockerfile,
        "status": status(record),
        "created": record.started,
        "duration": seconds(record),
        "cached_steps": cached,
        "total_steps": total,
    })
    .to_string()
}

/// What a build is called in lists: its first name, or its context's.
fn name(record: &BuildRecord) -> String {
    let last = record.context.rsplit('/').next().unwrap_or_default();
    record
        .tags
        .first()
        .cloned()
        .unwrap_or_else(|| last.to_owned())
}

fn status(record: &BuildRecord) -> &'static str {
    match record.status {
        BuildStatus::Completed => "Completed",
        BuildStatus::Error => "Error",
    }
}

fn seconds(record: &BuildRecord) -> f64 {
    record.elapsed as f64 / 1e6
}

fn find(args: &IdArgs, builds: &Builds) -> Result<BuildFile, Failure> {
    Ok(match &args.build {
        Some(id) => builds.find(id)?,
        None => builds.last(None)?,
    })
}

/// Prints what a build's steps said, as plain progress does.
fn logs(args: &IdArgs, session: &Session) -> Outcome {
    let builds = Builds::of(&session.store()?);
    let file = find(args, &builds)?;
    let record = builds.read(&file)?;
    let log = builds.log(&file)?;
    build::print_log(&record, log, session.printer)?;
    Ok(Exit::Success)
}

fn inspect(args: &IdArgs, session: &Session) -> Outcome {
    let builds = Builds::of(&session.store()?);
    let record = builds.read(&find(args, &builds)?)?;
    let (cached, total) = record.cached();
    let mut value = json!(record);
    value["cached_steps"] = json!(cached);
    value["total_steps"] = json!(total);
    session.printer.data(format!("{value:#}\n"))?;
    Ok(Exit::Success)
}

fn trace(args: &TraceArgs, session: &Session) -> Outcome {
    let builds = Builds::of(&session.store()?);
    let record = builds.read(&find(&args.id, &builds)?)?;
    let text = format!("{}\n", mica_builder::trace(&record));
    match &args.output {
        Some(path) if path.as_os_str() != "-" => {
            let failed = |source| CliError::File {
                action: "write",
                path: path.clone(),
                source,
            };
            fs::write(path, text).map_err(failed)?;
        }
        _ => session.printer.data(text)?,
    }
    Ok(Exit::Success)
}

fn remove(args: &RmArgs, session: &Session) -> Outcome {
    let builds = Builds::of(&session.store()?);
    if args.all {
        for id in builds.clear()? {
            session.printer.line(id)?;
        }
        return Ok(Exit::Success);
    }
    for name in &args.builds {
        let file = builds.find(name)?;
        builds.remove(&file)?;
        session.printer.line(file.id())?;
    }
    Ok(Exit::Success)
}

fn prune(session: &Session) -> Outcome {
    let store = session.store()?;
    let removed = Builds::of(&store).clear()?;
    mica_builder::forget_failures(&store)?;
    store.collect()?;
    session
        .printer
        .line(format!("Forgotten builds: {}", removed.len()))?;
    Ok(Exit::Success)
}

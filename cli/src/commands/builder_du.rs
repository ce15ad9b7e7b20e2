//! `mica builder du`: what the build cache holds.

use std::fmt::Write;

use clap::Args;
use jiff::Timestamp;
use mica_builder::CacheEntry;

use crate::build::CacheFilter;
use crate::exit::Exit;
use crate::failure::{CliError, Outcome};
use crate::printer::{Table, ago, size};
use crate::session::Session;

/// Disk usage
#[derive(Args, Debug)]
pub(crate) struct DuArgs {
    /// Provide filter values (e.g. "type=regular", "until=24h", "shared")
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Provide a more verbose output
    #[arg(long)]
    verbose: bool,
    /// Format the output: "table" or "json"
    #[arg(long, default_value = "table")]
    format: String,
}

/// Runs the command.
pub(crate) fn run(args: &DuArgs, session: &Session) -> Outcome {
    let now = Timestamp::now();
    let filter = CacheFilter::parse(&args.filter, now)?;
    let mut entries = mica_builder::usage(&session.store()?)?;
    entries.retain(|entry| filter.accepts(entry));
    let text = match (args.format.as_str(), args.verbose) {
        ("json", _) => entries.iter().map(json).collect(),
        ("table", true) => verbose(&entries, now) + &totals(&entries),
        ("table", false) => table(&entries, now) + &totals(&entries),
        (other, _) => {
            let message = format!("unknown format {other:?}: expected table or json");
            return Err(CliError::Arguments { message }.into());
        }
    };
    session.printer.data(text)?;
    Ok(Exit::Success)
}

/// Buildx's table; a star marks what a later build may change.
pub(super) fn table(entries: &[CacheEntry], now: Timestamp) -> String {
    let mut table = Table::new();
    table.row("ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED");
    for entry in entries {
        let star = if entry.is_mutable() { "*" } else { "" };
        table.row(&format!(
            "{}{star}\t{}\t{}\t{}",
            entry.id,
            entry.is_reclaimable(),
            size(entry.size),
            ago(entry.last_used, now),
        ));
    }
    table.render()
}

/// Buildx's long form: a block an entry.
pub(super) fn verbose(entries: &[CacheEntry], now: Timestamp) -> String {
    let mut text = String::new();
    for entry in entries {
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(text, "{:<13} {value}", format!("{name}:"));
        };
        row("ID", &entry.id);
        if !entry.parents.is_empty() {
            row("Parents", &entry.parents.join(", "));
        }
        if let Some(created) = entry.created {
            row("Created at", &created.to_string());
        }
        row("Mutable", &entry.is_mutable().to_string());
        row("Reclaimable", &entry.is_reclaimable().to_string());
        row("Shared", &entry.shared.to_string());
        row("Size", &size(entry.size));
        row("Description", &entry.description.replace('\n', "\\n"));
        row("Last used", &ago(entry.last_used, now));
        row("Type", entry.kind.name());
        text.push('\n');
    }
    text
}

fn totals(entries: &[CacheEntry]) -> String {
    let sum = |wanted: &dyn Fn(&CacheEntry) -> bool| -> u64 {
        let sizes = entries.iter().filter(|entry| wanted(entry));
        sizes.map(|entry| entry.size).sum()
    };
    let shared = sum(&|entry| entry.shared);
    let mut text = String::new();
    let mut row = |name: &str, bytes| {
        let _ = writeln!(text, "{:<13} {}", format!("{name}:"), size(bytes));
    };
    if shared > 0 {
        row("Shared", shared);
        row("Private", sum(&|entry| !entry.shared));
    }
    row("Reclaimable", sum(&CacheEntry::is_reclaimable));
    row("Total", sum(&|_| true));
    text
}

fn json(entry: &CacheEntry) -> String {
    let value = serde_json::json!({
        "ID": entry.id,
        "Parents": entry.parents,
        "CreatedAt": entry.created,
        "Mutable": entry.is_mutable(),
        "Reclaimable": entry.is_reclaimable(),
        "Shared": entry.shared,
        "InUse": entry.in_use,
        "Size": entry.size,
        "Description": entry.description,
        "LastUsedAt": entry.last_used,
        "Type": entry.kind.name(),
    });
    format!("{value}\n")
}

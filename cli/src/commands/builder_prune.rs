//! `mica builder prune`, and the limit that is kept after each build.

use clap::Args;
use jiff::Timestamp;
use mica_builder::{CacheEntry, Kept, Pruned};
use mica_store::Store;

use super::builder_du;
use crate::build::CacheFilter;
use crate::config::CacheSettings;
use crate::container::sizes::ByteSize;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::printer::size;
use crate::session::Session;

/// Remove build cache
#[derive(Args, Debug)]
pub(crate) struct CachePruneArgs {
    /// Remove all unused build cache, not just what no image has
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=24h", "type=exec.cachemount")
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not prompt for confirmation; nothing is ever asked
    #[arg(short, long)]
    force: bool,
    /// Amount of disk space always allowed to keep for cache
    #[arg(long, alias = "keep-storage", value_name = "BYTES")]
    reserved_space: Option<ByteSize>,
    /// Maximum amount of disk space allowed to keep for cache
    #[arg(long, value_name = "BYTES")]
    max_used_space: Option<ByteSize>,
    /// Target amount of free disk space after pruning
    #[arg(long, value_name = "BYTES")]
    min_free_space: Option<ByteSize>,
    /// Provide a more verbose output
    #[arg(long)]
    verbose: bool,
}

/// Runs the command.
pub(crate) fn run(args: &CachePruneArgs, session: &Session) -> Outcome {
    let now = Timestamp::now();
    let filter = CacheFilter::parse(&args.filter, now)?;
    let bytes = |size: Option<ByteSize>| size.map(|ByteSize(bytes)| bytes);
    let kept = Kept {
        reserved: bytes(args.reserved_space),
        most: bytes(args.max_used_space),
        free: bytes(args.min_free_space),
    };
    // The layers of images would stay anyhow: without --all their records do, too.
    let wanted = |entry: &CacheEntry| filter.accepts(entry) && (args.all || !entry.shared);
    let store = session.store()?;
    if args.filter.is_empty() {
        mica_builder::forget_failures(&store)?;
    }
    let pruned = mica_builder::prune(&store, kept, wanted)?;
    if pruned.in_use {
        session
            .printer
            .warning("the store is in use: space is given back by the next prune");
    }
    session.printer.data(text(args, &pruned, now))?;
    Ok(Exit::Success)
}

fn text(args: &CachePruneArgs, pruned: &Pruned, now: Timestamp) -> String {
    let mut text = String::new();
    if !pruned.entries.is_empty() {
        if args.verbose {
            text.push_str(&builder_du::verbose(&pruned.entries, now));
        } else {
            text.push_str("Deleted build cache objects:\n");
            for entry in &pruned.entries {
                text.push_str(&format!("{}\n", entry.id));
            }
            text.push('\n');
        }
    }
    text.push_str(&format!("Total reclaimed space: {}\n", size(pruned.bytes)));
    text
}

/// Keeps the limit of the configuration, after a build. Nothing is done while others use the store;
/// the next build sees to it.
pub(crate) fn keep_limit(store: &Store, settings: &CacheSettings) -> Result<(), Failure> {
    if !settings.is_limited() {
        return Ok(());
    }
    let bytes = |size: Option<ByteSize>| size.map(|ByteSize(bytes)| bytes);
    let kept = Kept {
        reserved: bytes(settings.reserved_space),
        most: bytes(settings.max_used_space),
        free: bytes(settings.min_free_space),
    };
    if let Some(age) = settings.keep_duration {
        let before = Timestamp::now() - age.0;
        mica_builder::prune(store, Kept::default(), |entry| entry.last_used <= before)?;
    }
    if kept != Kept::default() {
        mica_builder::prune(store, kept, |_| true)?;
    }
    Ok(())
}

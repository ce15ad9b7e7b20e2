//! `mica du`.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;

use clap::{ArgAction, Args};
use mica_inspect::{EntryId, Follow, NodeId, Tree, shown};
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::look::{self, Format};
use crate::printer;
use crate::session::Session;

/// Show how much space the files of an image, or of one of its layers, take
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct DuArgs {
    /// Show files as well as directories
    #[arg(short, long)]
    all: bool,
    /// Show no more than that many levels below each path
    #[arg(short = 'd', long, value_name = "N")]
    max_depth: Option<usize>,
    /// Show each path alone
    #[arg(short, long, conflicts_with = "max_depth")]
    summarize: bool,
    /// Show sizes in bytes
    #[arg(short, long)]
    bytes: bool,
    /// Show sizes with a unit, which is done without --bytes
    #[arg(short = 'h', long, overrides_with = "bytes")]
    human_readable: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    at: look::FilesArgs,
}

/// Runs the command.
pub(crate) fn run(args: &DuArgs, session: &Session) -> Outcome {
    let looked = args.at.open(session)?;
    let tree = looked.tree(session)?;
    let is_terminal = session.printer.is_terminal();
    let deepest = if args.summarize {
        Some(0)
    } else {
        args.max_depth
    };
    let mut out = Vec::new();
    for path in &args.at.paths {
        let from = looked.image.find(&tree, path.as_bytes(), Follow::All)?;
        let sums = sums(&tree, from);
        let mut rows: Vec<(Vec<u8>, NodeId)> = tree.walk(from).collect();
        let top = look::depth(&rows[0].0);
        let is_shown = |path: &[u8], id: NodeId| {
            let level = look::depth(path) - top;
            level == 0
                || (deepest.is_none_or(|deepest| level <= deepest)
                    && (args.all || tree.is_directory(id)))
        };
        rows.retain(|(path, id)| is_shown(path, *id));
        // As `du` does: what is in a directory comes before it.
        children_first(&mut rows);
        for (path, id) in rows {
            let bytes = sums[&id];
            if args.at.format == Format::Json {
                let row = json!({ "path": shown(&path), "size": bytes });
                out.extend(format!("{row}\n").into_bytes());
                continue;
            }
            let size = match args.bytes {
                true => bytes.to_string(),
                false => printer::size(bytes),
            };
            out.extend(format!("{size}\t").into_bytes());
            out.extend(look::text_path(&path, is_terminal));
            out.push(b'\n');
        }
    }
    session.printer.data(&out)?;
    Ok(Exit::Success)
}

/// Adds up sizes; a file with several names counts once, where it is met first.
fn sums(tree: &Tree<'_>, from: NodeId) -> HashMap<NodeId, u64> {
    let mut seen: HashSet<EntryId> = HashSet::new();
    let mut sums = HashMap::new();
    let nodes: Vec<NodeId> = tree.walk(from).map(|(_, id)| id).collect();
    for id in &nodes {
        let is_new = tree.node(*id).data.is_some_and(|data| seen.insert(data));
        let size = tree
            .data(*id)
            .filter(|_| is_new)
            .map_or(0, |entry| entry.size);
        sums.insert(*id, size);
    }
    for id in nodes.iter().skip(1).rev() {
        let size: u64 = sums[id];
        *sums.entry(tree.parent(*id)).or_insert(0) += size;
    }
    sums
}

/// Puts each directory behind what is in it, the order otherwise as it is.
fn children_first(rows: &mut Vec<(Vec<u8>, NodeId)>) {
    let mut out = Vec::with_capacity(rows.len());
    let mut open: Vec<(Vec<u8>, NodeId)> = Vec::new();
    for row in rows.drain(..) {
        while open.last().is_some_and(|last| !is_within(&row.0, &last.0)) {
            out.extend(open.pop());
        }
        open.push(row);
    }
    out.extend(open.into_iter().rev());
    *rows = out;
}

fn is_within(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with(b"/"))
}

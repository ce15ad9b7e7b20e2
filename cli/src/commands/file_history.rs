//! `mica file-history`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use mica_inspect::{Entry, Image, Stack, Touch, shown};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::{CliError, Outcome};
use crate::listing::{Listing, ListingArgs};
use crate::look;
use crate::printer;
use crate::session::Session;

/// Show each layer that put a file into an image, changed it or removed it
#[derive(Args, Debug)]
pub(crate) struct FileHistoryArgs {
    #[command(flatten)]
    listing: ListingArgs,
    #[command(flatten)]
    at: look::LayerArgs,
    /// The path
    path: OsString,
}

const LISTING: Listing = Listing {
    row: "touch",
    headers: &[
        ("layer", "LAYER"),
        ("change", "CHANGE"),
        ("type", "TYPE"),
        ("mode", "MODE"),
        ("size", "SIZE"),
        ("digest", "DIGEST"),
        ("created", "CREATED"),
        ("instruction", "INSTRUCTION"),
    ],
    default: "table {{.layer}}\t{{.change}}\t{{.type}}\t{{.mode}}\t{{.size}}\t{{.digest}}\t\
              {{.instruction}}",
};

/// How much of an instruction fits a column.
const INSTRUCTION_LENGTH: usize = 60;

/// Runs the command.
pub(crate) fn run(args: &FileHistoryArgs, session: &Session) -> Outcome {
    let looked = args.at.open(session)?;
    let stack = looked.stack(session)?;
    let path = args.path.as_bytes();
    let touches = stack.history_of(path);
    if touches.is_empty() {
        let message = format!(
            "{}: no layer of {} has that path",
            shown(path),
            args.at.image
        );
        return Err(CliError::Arguments { message }.into());
    }
    let is_short = args.listing.is_short();
    let row = |touch: &Touch| row(&looked.image, &stack, touch, is_short);
    let rows: Vec<_> = touches.iter().map(row).collect();
    LISTING.print(session.printer, args.listing.format.as_deref(), &rows)?;
    Ok(Exit::Success)
}

fn row(image: &Image, stack: &Stack<'_>, touch: &Touch, is_short: bool) -> Value {
    let entry = touch.change.after.map(|id| stack.tree.entry(id));
    let layer = &image.layers[touch.layer];
    let missing = || if is_short { json!("-") } else { Value::Null };
    let or_missing = |value: Option<Value>| value.unwrap_or_else(missing);
    let digest = entry.and_then(Entry::digest).map(|digest| match is_short {
        true => json!(digest.short()),
        false => json!(digest.to_string()),
    });
    let size = |entry: &Entry| match is_short {
        true => json!(printer::size(entry.size)),
        false => json!(entry.size),
    };
    json!({
        "layer": touch.layer,
        "layer_digest": layer.digest.as_ref().map(ToString::to_string),
        "change": touch.what.word(),
        "type": or_missing(entry.map(|entry| json!(entry.kind.word()))),
        "mode": or_missing(entry.map(|entry| json!(format!("{:04o}", entry.mode)))),
        "uid": entry.map(|entry| entry.uid),
        "gid": entry.map(|entry| entry.gid),
        "size": or_missing(entry.map(size)),
        "digest": or_missing(digest),
        "created": layer.created.map(|time| time.to_string()),
        "instruction": match is_short {
            true => super::shorten(&look::one_line(&layer.instruction), INSTRUCTION_LENGTH),
            false => layer.instruction.clone(),
        },
    })
}

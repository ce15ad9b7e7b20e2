//! `mica layers`.

use clap::Args;
use mica_inspect::Image;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::listing::{Listing, ListingArgs};
use crate::look;
use crate::printer;
use crate::session::Session;

/// Show the layers of an image: what made them, their sizes, and what they change
#[derive(Args, Debug)]
pub(crate) struct LayersArgs {
    #[command(flatten)]
    listing: ListingArgs,
    #[command(flatten)]
    at: look::ImageArgs,
}

const LISTING: Listing = Listing {
    row: "layer",
    headers: &[
        ("layer", "LAYER"),
        ("digest", "DIGEST"),
        ("diff_id", "DIFF ID"),
        ("size", "SIZE"),
        ("compressed", "COMPRESSED"),
        ("added", "ADDED"),
        ("changed", "CHANGED"),
        ("removed", "REMOVED"),
        ("waste", "WASTE"),
        ("created", "CREATED"),
        ("instruction", "INSTRUCTION"),
    ],
    default: "table {{.layer}}\t{{.digest}}\t{{.size}}\t{{.compressed}}\t{{.added}}\t{{.changed}}\t\
              {{.removed}}\t{{.waste}}\t{{.instruction}}",
};

/// How much of an instruction fits a column.
const INSTRUCTION_LENGTH: usize = 50;

/// How sizes and digests are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Short, for people.
    Short,
    /// As they are.
    Exact,
}

/// Runs the command.
pub(crate) fn run(args: &LayersArgs, session: &Session) -> Outcome {
    let image = args.at.open(session)?;
    let style = match args.listing.is_short() {
        true => Style::Short,
        false => Style::Exact,
    };
    let rows = rows(&image, style)?;
    LISTING.print(session.printer, args.listing.format.as_deref(), &rows)?;
    Ok(Exit::Success)
}

fn rows(image: &Image, style: Style) -> Result<Vec<Value>, Failure> {
    let summaries = image.outlined_stack()?.summaries();
    let layers = image.layers.iter().zip(summaries).enumerate();
    let row = |(number, (layer, summary)): (
        usize,
        (&mica_inspect::Layer, mica_inspect::Summary),
    )| {
        let size = |bytes: u64| match style {
            Style::Short => json!(printer::size(bytes)),
            Style::Exact => json!(bytes),
        };
        let digest = layer.digest.as_ref().map(|digest| match style {
            Style::Short => digest.short().to_owned(),
            Style::Exact => digest.to_string(),
        });
        let missing = match style {
            Style::Short => json!("-"),
            Style::Exact => Value::Null,
        };
        json!({
            "layer": number,
            "digest": digest.map_or(missing.clone(), Value::from),
            "diff_id": layer.diff_id.as_ref().map(ToString::to_string),
            "size": size(summary.size),
            "compressed": layer.stored_size.map_or(missing, size),
            "added": summary.added,
            "changed": summary.changed,
            "removed": summary.removed,
            "waste": size(summary.waste),
            "created": layer.created.map(|time| time.to_string()),
            "instruction": match style {
                Style::Short => super::shorten(&look::one_line(&layer.instruction), INSTRUCTION_LENGTH),
                Style::Exact => layer.instruction.clone(),
            },
        })
    };
    Ok(layers.map(row).collect())
}

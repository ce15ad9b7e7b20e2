//! `mica history`.

use clap::{ArgAction, Args};
use jiff::Timestamp;
use mica_oci::History;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::listing::{Listing, row};
use crate::printer;
use crate::session::Session;

/// Show the history of an image
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// Format output using a Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(
        short = 'H', long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", value_name = "BOOL"
    )]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// The image
    image: String,
}

const LISTING: Listing = Listing {
    row: "*history.historyContext",
    headers: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    default: "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
};

/// Images of single steps are not kept.
const MISSING: &str = "<missing>";

/// How much of a command fits a column.
const COMMAND_LENGTH: usize = 45;

/// Runs the command.
pub(crate) fn run(args: &HistoryArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let image = store.find(&args.image)?;
    let id = match args.no_trunc {
        true => image.id().as_str(),
        false => image.id().short(),
    };
    let steps = super::image_json::history(&store, &image)?;
    let ids = std::iter::once(id).chain(std::iter::repeat(MISSING));
    let newest_first = steps.iter().rev().zip(ids);
    if args.quiet {
        let ids: String = newest_first.map(|(_, id)| format!("{id}\n")).collect();
        session.printer.data(ids)?;
        return Ok(Exit::Success);
    }
    let rows: Vec<_> = newest_first
        .map(|((entry, size), id)| describe(args, entry, *size, id))
        .collect();
    LISTING.print(session.printer, args.format.as_deref(), &rows)?;
    Ok(Exit::Success)
}

fn describe(args: &HistoryArgs, entry: &History, size: u64, id: &str) -> serde_json::Value {
    let time: Option<Timestamp> = entry.created;
    let command = entry.created_by.as_deref().unwrap_or("").replace('\t', " ");
    row([
        ("ID", id.to_owned()),
        (
            "CreatedSince",
            match args.human {
                true => super::time::since(time),
                false => super::time::rfc3339(time),
            },
        ),
        ("CreatedAt", super::time::rfc3339(time)),
        (
            "CreatedBy",
            match args.no_trunc {
                true => command,
                false => super::shorten(&command, COMMAND_LENGTH),
            },
        ),
        (
            "Size",
            match args.human {
                true => printer::size(size),
                false => size.to_string(),
            },
        ),
        ("Comment", entry.comment.clone().unwrap_or_default()),
    ])
}

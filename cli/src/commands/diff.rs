//! `mica diff`: of one container, what it changed; of two images, how they differ.

use std::os::unix::ffi::OsStrExt;

use clap::{Args, ValueEnum};

use super::compare;
use crate::exit::Exit;
use crate::failure::{CliError, Outcome};
use crate::session::Session;

/// Inspect changes to files or directories on a container's filesystem, or compare two images
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// How to show two images' differences
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
    /// End with 1 when they differ, with 2 when that cannot be told
    #[arg(long)]
    pub(super) exit_code: bool,
    /// Show what of these text files differs, line by line; without a path of all
    #[arg(
        short = 'u', long, value_name = "PATH", num_args = 0..=1, require_equals = true,
        default_missing_value = "*"
    )]
    pub(super) text: Option<String>,
    /// Choose a platform of images that have several
    #[arg(long)]
    pub(super) platform: Option<String>,
    /// The container; or the first image, layer, container or directory
    #[arg(value_name = "CONTAINER|IMAGE")]
    first: String,
    /// What it is compared with
    #[arg(value_name = "IMAGE")]
    second: Option<String>,
}

/// Formats of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// For the description of a change
    Markdown,
    /// A page
    Html,
}

impl DiffArgs {
    /// Makes the flags of a comparison that is part of a page.
    pub(super) fn for_report(platform: Option<String>) -> Self {
        Self {
            format: Format::Html,
            exit_code: false,
            text: None,
            platform,
            first: String::new(),
            second: None,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &DiffArgs, session: &Session) -> Outcome {
    if let Some(second) = &args.second {
        let compared = compare::run(args, &args.first, second, session);
        return compared.map_err(|failure| match args.exit_code {
            true => failure.with_exit(Exit::NotCompared),
            false => failure,
        });
    }
    if args.format != Format::Text || args.exit_code || args.text.is_some() {
        let message = "these flags compare two images: give a second one".into();
        return Err(CliError::Arguments { message }.into());
    }
    let containers = session.containers()?;
    let id = super::find(&containers, &args.first).map_err(|failure| {
        let is_image = session.store().is_ok_and(|s| s.find(&args.first).is_ok());
        match is_image {
            true => failure.with_hint("it is an image: `mica diff IMAGE IMAGE` compares two"),
            false => failure,
        }
    })?;
    let mut lines = Vec::new();
    for change in containers.changes(&id)? {
        lines.extend_from_slice(format!("{} ", change.kind.letter()).as_bytes());
        lines.extend_from_slice(change.path.as_os_str().as_bytes());
        lines.push(b'\n');
    }
    session.printer.data(lines)?;
    Ok(Exit::Success)
}

//! `mica cat`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::look;
use crate::session::Session;

/// Write files of an image to standard output
#[derive(Args, Debug)]
pub(crate) struct CatArgs {
    #[command(flatten)]
    at: look::LayerArgs,
    /// The files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<OsString>,
}

/// Runs the command.
pub(crate) fn run(args: &CatArgs, session: &Session) -> Outcome {
    let looked = args.at.open(session)?;
    let tree = looked.tree(session)?;
    for path in &args.paths {
        let file = looked.image.find_file(&tree, path.as_bytes())?;
        looked.image.read(file, &mut session.printer.output())?;
    }
    Ok(Exit::Success)
}

//! `mica tag`.

use clap::Args;
use mica_oci::Reference;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::session::Session;

/// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
#[derive(Args, Debug)]
pub(crate) struct TagArgs {
    /// The image
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    /// The new name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

/// Runs the command.
pub(crate) fn run(args: &TagArgs, session: &Session) -> Outcome {
    let reference: Reference = args.target.parse()?;
    let store = session.store()?;
    let _held = store.hold()?;
    // Of several platforms all get the name.
    let target = store.find_target(&args.source)?;
    store.tag_image(&target, &reference)?;
    Ok(Exit::Success)
}

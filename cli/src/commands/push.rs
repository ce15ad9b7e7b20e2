//! `mica push`.

use clap::Args;
use mica_oci::Reference;
use mica_registry_client::Actions;
use mica_store::{ImageSet, Store};

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::look;
use crate::progress::{Direction, TransferProgress, Verbosity};
use crate::session::Session;

/// Upload an image to a registry
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// Look for secrets first, and push nothing when there are any
    #[arg(long)]
    leak_gate: bool,
    /// A value that must not be pushed: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(
        long,
        requires = "leak_gate",
        value_name = "id=NAME[,src=FILE|,env=VARIABLE]"
    )]
    secret: Vec<String>,
    /// The image
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

/// Runs the command.
pub(crate) fn run(args: &PushArgs, session: &Session) -> Outcome {
    let reference: Reference = args.name.parse()?;
    let Some(tag) = reference.tag().filter(|_| reference.digest().is_none()) else {
        let message = "cannot push a digest reference".into();
        return Err(CliError::Arguments { message }.into());
    };
    let store = session.store()?;
    let _held = store.hold()?;
    let image = store.find(&args.name)?;
    if args.leak_gate {
        let looked = look::store_image(&store, &args.name, &image);
        super::secrets::gate(session, &looked, &args.secret)?;
    }
    let verbosity = if args.quiet {
        Verbosity::Quiet
    } else {
        Verbosity::Normal
    };
    if verbosity == Verbosity::Normal {
        let (registry, repository) = (reference.registry(), reference.repository());
        let name = format!("{registry}/{repository}");
        session
            .printer
            .line(format!("The push refers to repository [{name}]"))?;
    }
    let repository = session
        .registry()?
        .repository(&reference, Actions::PullPush);
    let progress = TransferProgress::new(session.printer, Direction::Push, verbosity);
    let manifest = match index_of(&store, &reference)? {
        Some(set) => {
            let pushed = mica_store::push_set(&store, &set, &repository, &reference, &progress);
            session.block_on(pushed)??
        }
        None => {
            let pushed = mica_store::push(&store, &image, &repository, &reference, &progress);
            session.block_on(pushed)??
        }
    };
    session.printer.line(match verbosity {
        Verbosity::Quiet => reference.to_string(),
        Verbosity::Normal => format!("{tag}: digest: {} size: {}", manifest.digest, manifest.size),
    })?;
    Ok(Exit::Success)
}

/// Returns the images of a name that stands for several platforms, when all of them are here.
fn index_of(store: &Store, reference: &Reference) -> Result<Option<ImageSet>, Failure> {
    let target = store.resolve_tag(reference)?;
    let Some(target) = target.filter(|target| target.media_type.is_index()) else {
        return Ok(None);
    };
    // Of an index that was pulled, most platforms never were here.
    match store.image_set(&target) {
        Ok(set) => Ok(Some(store.compressed_set(&set)?)),
        Err(_) => Ok(None),
    }
}

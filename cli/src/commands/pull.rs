//! `mica pull`.

use clap::Args;
use mica_oci::{Platform, Reference};
use mica_registry_client::Actions;
use mica_store::{Image, Store};

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::printer::Printer;
use crate::progress::{Direction, TransferProgress, Verbosity};
use crate::session::Session;

/// Download an image from a registry
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

/// Runs the command.
pub(crate) fn run(args: &PullArgs, session: &Session) -> Outcome {
    let reference: Reference = args.name.parse()?;
    let platform = session.environment.platform(args.platform.as_deref())?;
    let store = session.store()?;
    let verbosity = if args.quiet {
        Verbosity::Quiet
    } else {
        Verbosity::Normal
    };
    if args.all_tags {
        return pull_all(args, session, &store, &reference, verbosity);
    }
    if verbosity == Verbosity::Normal && reference.digest().is_none() && !has_tag(&args.name) {
        session.printer.line("Using default tag: latest")?;
    }
    let platform = platform.as_ref();
    pull(
        session,
        session.printer,
        &store,
        &reference,
        platform,
        verbosity,
    )?;
    session.printer.line(reference.to_string())?;
    Ok(Exit::Success)
}

/// Pulls what every tag of a repository stands for.
fn pull_all(
    args: &PullArgs,
    session: &Session,
    store: &Store,
    reference: &Reference,
    verbosity: Verbosity,
) -> Outcome {
    if has_tag(&args.name) || reference.digest().is_some() {
        let message = "tag can't be used with --all-tags/-a".into();
        return Err(CliError::Arguments { message }.into());
    }
    let platform = session.environment.platform(args.platform.as_deref())?;
    let repository = session.registry()?.repository(reference, Actions::Pull);
    for tag in session.block_on(repository.tags())?? {
        let reference = reference.with_tag(&tag)?;
        let printer = session.printer;
        pull(
            session,
            printer,
            store,
            &reference,
            platform.as_ref(),
            verbosity,
        )?;
        printer.line(reference.to_string())?;
    }
    Ok(Exit::Success)
}

fn has_tag(name: &str) -> bool {
    name.rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':'))
}

/// Pulls an image that a build names, quietly: the build has its own display.
pub(crate) fn pull_for_build(
    session: &Session,
    store: &Store,
    reference: &Reference,
) -> Result<Image, Failure> {
    pull(
        session,
        session.printer,
        store,
        reference,
        None,
        Verbosity::Quiet,
    )
}

/// An image that is not part of an index is there for one platform, whichever is asked for.
fn warn_of_platform(printer: Printer, reference: &Reference, image: &Image, wanted: &Platform) {
    let is = image.config.value().platform();
    if !is.satisfies(wanted) {
        let name = reference.familiar();
        printer.warning(&format!("{name} is for {is}, not for {wanted}"));
    }
}

/// Pulls an image into the store; `run` and `create` do so too, for an image that is not there.
pub(super) fn pull(
    session: &Session,
    printer: Printer,
    store: &Store,
    reference: &Reference,
    platform: Option<&Platform>,
    verbosity: Verbosity,
) -> Result<Image, Failure> {
    let _held = store.hold()?;
    let repository = session.registry()?.repository(reference, Actions::Pull);
    let host = Platform::host();
    let progress = TransferProgress::new(printer, Direction::Pull, verbosity);
    let known = || match reference.digest() {
        Some(_) => Ok(store.find(&reference.to_string()).ok().map(|it| it.target)),
        None => store.resolve_tag(reference),
    };
    let former = known()?;
    if verbosity == Verbosity::Normal {
        let version = reference.tag().map(str::to_owned);
        let version = version.or_else(|| reference.digest().map(ToString::to_string));
        let (version, repository) = (version.unwrap_or_default(), reference.repository());
        printer.line(format!("{version}: Pulling from {repository}"))?;
    }
    let wanted = platform.unwrap_or(&host);
    let pulled = mica_store::pull(store, &repository, reference, wanted, &progress);
    let pulled = session.block_on(pulled)?.map_err(Failure::from);
    let image = pulled.map_err(|failure| failure.of_image(&reference.familiar()))?;
    if let Some(wanted) = platform {
        warn_of_platform(printer, reference, &image, wanted);
    }
    if verbosity == Verbosity::Normal {
        let is_known = former.is_some() && former == known()?;
        let news = if is_known {
            "Image is up to date"
        } else {
            "Downloaded newer image"
        };
        let digest = progress
            .resolved()
            .unwrap_or_else(|| image.target.digest.clone());
        printer.line(format!("Digest: {digest}"))?;
        printer.line(format!("Status: {news} for {}", reference.familiar()))?;
    }
    Ok(image)
}

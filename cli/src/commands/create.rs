//! `mica create`, and what `run` shares with it: finding the image, making the container.

use std::path::Path;

use clap::Args;
use mica_container::{ContainerId, Containers};
use mica_oci::{Platform, Reference};
use mica_store::{Image, Store, StoreError};

use crate::container::create_options::{ContainerArgs, PullPolicy};
use crate::container::create_request::{self, Attached};
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::progress::Verbosity;
use crate::session::Session;

/// Create a new container
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    container: ContainerArgs,
}

/// Runs the command.
pub(crate) fn run(args: &CreateArgs, session: &Session) -> Outcome {
    // Whoever starts it later may be connected then.
    let (_, id) = make(&args.container, session, Attached::Foreground)?;
    session.printer.line(id.as_str())?;
    Ok(Exit::Success)
}

/// Makes a container as the flags say.
pub(super) fn make(
    args: &ContainerArgs,
    session: &Session,
    attached: Attached,
) -> Result<(Containers, ContainerId), Failure> {
    create_request::check(args)?;
    check_cidfile(args.cidfile.as_deref())?;
    let lookup = |name: &str| session.environment.passed_on(name);
    let request = create_request::read(args, attached, &lookup)?;
    let store = session.store()?;
    // From here until the container holds it, the image must not be collected.
    let _held = store.hold()?;
    let image = find_or_pull(args, session, &store)?;
    let containers = session.containers_of(store)?;
    let created = containers.create(request.options(args, image));
    let id = created.map_err(|error| super::container_failure(&containers, error))?;
    if let Some(path) = &args.cidfile {
        let written = std::fs::write(path, id.as_str());
        written.map_err(|source| CliError::File {
            action: "write",
            path: path.clone(),
            source,
        })?;
    }
    Ok((containers, id))
}

/// Another container's file is never overwritten.
fn check_cidfile(path: Option<&Path>) -> Result<(), CliError> {
    match path.filter(|path| path.exists()) {
        None => Ok(()),
        Some(path) => Err(CliError::Arguments {
            message: format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                path.display()
            ),
        }),
    }
}

/// Takes the image of the store, or has it pulled, as `--pull` says.
fn find_or_pull(args: &ContainerArgs, session: &Session, store: &Store) -> Result<Image, Failure> {
    let platform = session.environment.platform(args.platform.as_deref())?;
    if args.pull != PullPolicy::Always {
        match find(store, args.image(), platform.as_ref()) {
            Err(StoreError::NotFound { .. }) if args.pull == PullPolicy::Missing => {}
            found => return Ok(found?),
        }
    }
    let reference: Reference = args.image().parse()?;
    // Standard output is the container's alone.
    let printer = session.printer.as_messages();
    if args.pull == PullPolicy::Missing && !args.quiet {
        printer.message(format!(
            "Unable to find image '{}' locally",
            reference.familiar()
        ));
    }
    let verbosity = if args.quiet {
        Verbosity::Quiet
    } else {
        Verbosity::Normal
    };
    super::pull::pull(
        session,
        printer,
        store,
        &reference,
        platform.as_ref(),
        verbosity,
    )
}

/// Finds an image that is for `platform`, if one is asked for.
fn find(store: &Store, name: &str, platform: Option<&Platform>) -> Result<Image, StoreError> {
    let Some(platform) = platform else {
        return store.find(name);
    };
    let named = name.parse::<Reference>().ok();
    let target = named
        .map(|reference| store.resolve_tag(&reference))
        .transpose()?
        .flatten();
    let image = match target {
        Some(target) => store.image(&target, Some(platform))?,
        None => store.find(name)?,
    };
    match image.config.value().platform().satisfies(platform) {
        true => Ok(image),
        false => Err(StoreError::NotFound {
            name: name.to_owned(),
            near: Vec::new(),
        }),
    }
}

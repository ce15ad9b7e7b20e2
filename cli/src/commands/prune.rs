//! `mica container prune`, `mica image prune`, `mica builder prune`, `mica system prune`.

use clap::Args;
use mica_container::Containers;
use mica_store::Store;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::printer;
use crate::session::Session;

/// Remove what is unused
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Do not prompt for confirmation; nothing is ever asked
    #[arg(short, long)]
    force: bool,
}

/// Kind of the records that keep the layers of earlier builds.
const BUILD_RECORDS: &str = "build";

/// Removes all containers that do not run.
pub(crate) fn containers(_args: &PruneArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    prune_containers(&containers, session)?;
    collect(containers.store(), session)
}

/// Removes images that no container uses: nameless ones, or all.
pub(crate) fn images(args: &PruneArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    prune_images(args, &store, session)?;
    collect(&store, session)
}

/// Removes stopped containers, images, the results of earlier builds, and an idle bridge.
pub(crate) fn system(args: &PruneArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    containers.reap()?;
    prune_containers(&containers, session)?;
    prune_images(args, containers.store(), session)?;
    containers.store().records().remove_all(BUILD_RECORDS)?;
    mica_builder::forget_failures(containers.store())?;
    containers.release_network()?;
    collect(containers.store(), session)
}

fn prune_containers(containers: &Containers, session: &Session) -> Result<(), Failure> {
    let removed = containers.prune()?;
    if !removed.is_empty() {
        let ids: Vec<_> = removed.iter().map(|id| id.as_str()).collect();
        session
            .printer
            .line(format!("Deleted Containers:\n{}\n", ids.join("\n")))?;
    }
    Ok(())
}

fn prune_images(args: &PruneArgs, store: &Store, session: &Session) -> Result<(), Failure> {
    let containers = session.containers_of(store.clone())?;
    let mut lines = String::new();
    for tagged in store.images()? {
        let Ok(image) = store.image(&tagged.target, None) else {
            continue;
        };
        let unwanted = args.all || tagged.reference.is_none();
        if !unwanted || !containers.using_image(image.id())?.is_empty() {
            continue;
        }
        match &tagged.reference {
            Some(reference) => {
                store.untag(reference)?;
                lines.push_str(&format!("untagged: {}\n", reference.familiar()));
            }
            None => {
                store.remove_image(&tagged.target)?;
                lines.push_str(&format!("deleted: {}\n", image.id()));
            }
        }
    }
    if !lines.is_empty() {
        session.printer.line(format!("Deleted Images:\n{lines}"))?;
    }
    Ok(())
}

fn collect(store: &Store, session: &Session) -> Outcome {
    let collected = store.collect()?;
    if collected.skipped {
        session
            .printer
            .warning("the store is in use: space is given back by the next prune");
    }
    session.printer.line(format!(
        "Total reclaimed space: {}",
        printer::size(collected.bytes)
    ))?;
    Ok(Exit::Success)
}

//! `mica container prune`, `mica image prune`, `mica system prune`.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use mica_container::{Containers, Prune, RemoveOptions};
use mica_store::Store;

use super::filter::Filters;
use super::logs::moment;
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::printer;
use crate::session::Session;

/// Remove all stopped containers
#[derive(Args, Debug)]
pub(crate) struct ContainerPruneArgs {
    /// Provide filter values (e.g. "until=TIMESTAMP", "label=KEY=VALUE")
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not prompt for confirmation; nothing is ever asked
    #[arg(short, long)]
    force: bool,
}

/// Remove unused images
#[derive(Args, Debug)]
pub(crate) struct ImagePruneArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=TIMESTAMP", "label=KEY=VALUE", "dangling=BOOL")
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not prompt for confirmation; nothing is ever asked
    #[arg(short, long)]
    force: bool,
}

/// Remove unused data
#[derive(Args, Debug)]
pub(crate) struct SystemPruneArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=TIMESTAMP", "label=KEY=VALUE")
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not prompt for confirmation; nothing is ever asked
    #[arg(short, long)]
    force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

/// Which objects go.
struct Chosen {
    filters: Filters,
    until: Option<Timestamp>,
}

impl Chosen {
    fn parse(texts: &[String], known: &[&str]) -> Result<Self, CliError> {
        let filters = Filters::parse(texts, known)?;
        let until = filters.get("until").map(|text| moment("--filter", text));
        let until = until.transpose()?;
        Ok(Self { filters, until })
    }

    fn accepts(&self, created: Option<Timestamp>, labels: &BTreeMap<String, String>) -> bool {
        let is_old = self
            .until
            .is_none_or(|until| created.is_some_and(|created| created < until));
        is_old && self.filters.match_labels(labels)
    }
}

const FILTERS: &[&str] = &["until", "label", "label!"];

/// Removes the containers that do not run.
pub(crate) fn containers(args: &ContainerPruneArgs, session: &Session) -> Outcome {
    let chosen = Chosen::parse(&args.filter, FILTERS)?;
    let containers = session.containers()?;
    prune_containers(&containers, &chosen, session)?;
    collect(containers.store(), session)
}

/// Removes images that no container uses: nameless ones, or all.
pub(crate) fn images(args: &ImagePruneArgs, session: &Session) -> Outcome {
    let chosen = Chosen::parse(&args.filter, &["until", "label", "label!", "dangling"])?;
    let all = args.all || chosen.filters.boolean("dangling")? == Some(false);
    let store = session.store()?;
    prune_images(all, &chosen, &store, session)?;
    collect(&store, session)
}

/// Removes stopped containers, images, the results of earlier builds, and an idle bridge.
pub(crate) fn system(args: &SystemPruneArgs, session: &Session) -> Outcome {
    let chosen = Chosen::parse(&args.filter, FILTERS)?;
    if args.volumes && chosen.until.is_some() {
        let message = "The \"until\" filter is not supported with \"--volumes\"".to_owned();
        return Err(CliError::Arguments { message }.into());
    }
    let containers = session.containers()?;
    containers.reap()?;
    prune_containers(&containers, &chosen, session)?;
    if args.volumes {
        let removed = containers.volumes().prune(Prune::Anonymous)?;
        if !removed.is_empty() {
            let names = removed.join("\n");
            session
                .printer
                .line(format!("Deleted Volumes:\n{names}\n"))?;
        }
    }
    prune_images(args.all, &chosen, containers.store(), session)?;
    // The results of build steps have no labels.
    if chosen.filters.match_labels(&BTreeMap::new()) {
        prune_cache(&chosen, containers.store(), session)?;
    }
    containers.release_network()?;
    collect(containers.store(), session)
}

fn prune_containers(
    containers: &Containers,
    chosen: &Chosen,
    session: &Session,
) -> Result<(), Failure> {
    let options = RemoveOptions {
        force: false,
        volumes: true,
    };
    let mut removed = Vec::new();
    for summary in containers.list()? {
        if !chosen.accepts(Some(summary.created), &summary.labels) {
            continue;
        }
        match containers.remove(&summary.id, options) {
            Ok(()) => removed.push(summary.id.to_string()),
            Err(
                mica_container::Error::CannotRemoveRunning { .. }
                | mica_container::Error::NoSuchContainer { .. },
            ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !removed.is_empty() {
        let ids = removed.join("\n");
        session
            .printer
            .line(format!("Deleted Containers:\n{ids}\n"))?;
    }
    Ok(())
}

fn prune_images(
    all: bool,
    chosen: &Chosen,
    store: &Store,
    session: &Session,
) -> Result<(), Failure> {
    let containers = session.containers_of(store.clone())?;
    let mut lines = String::new();
    for tagged in store.own_images()? {
        let Ok(image) = store.image(&tagged.target, None) else {
            continue;
        };
        let config = image.config.value();
        let labels = config.config.labels.clone().unwrap_or_default();
        let unwanted =
            (all || tagged.reference.is_none()) && chosen.accepts(config.created, &labels);
        if !unwanted || !containers.using_image(image.id())?.is_empty() {
            continue;
        }
        match &tagged.reference {
            Some(reference) => {
                store.untag(reference)?;
                lines.push_str(&format!("untagged: {}\n", reference.familiar()));
            }
            None => drop(store.remove_image(&tagged.target)?),
        }
        let is_target = |other: &mica_store::Tagged| other.target.digest == tagged.target.digest;
        if !store.own_images()?.iter().any(is_target) {
            lines.push_str(&format!("deleted: {}\n", image.id()));
        }
    }
    if !lines.is_empty() {
        session.printer.line(format!("Deleted Images:\n{lines}"))?;
    }
    Ok(())
}

fn prune_cache(chosen: &Chosen, store: &Store, session: &Session) -> Result<(), Failure> {
    let forgotten = store.forget_builds(chosen.until.map(Timestamp::as_second))?;
    if chosen.until.is_none() {
        mica_builder::forget_failures(store)?;
    }
    if !forgotten.is_empty() {
        let keys: Vec<_> = forgotten.iter().map(|entry| entry.key.as_str()).collect();
        let keys = keys.join("\n");
        session
            .printer
            .line(format!("Deleted build cache objects:\n{keys}\n"))?;
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

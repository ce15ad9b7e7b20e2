//! `mica push`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use futures_util::future;
use mica_oci::{Descriptor, Reference};
use mica_registry_client::{Actions, Registry};
use mica_store::{Store, StoreError};

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::look;
use crate::progress::{Direction, TransferProgress, Verbosity};
use crate::session::Session;

/// Upload an image to a registry
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    all_tags: bool,
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
    /// The images; several registries are pushed to at once
    #[arg(required = true, value_name = "NAME[:TAG|@DIGEST]")]
    names: Vec<String>,
}

/// One image and where it goes.
struct Task {
    reference: Reference,
    target: Descriptor,
}

/// Runs the command.
pub(crate) fn run(args: &PushArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let _held = store.hold()?;
    let verbosity = match args.quiet {
        true => Verbosity::Quiet,
        false => Verbosity::Normal,
    };
    let mut repositories: BTreeMap<String, Vec<Task>> = BTreeMap::new();
    for name in &args.names {
        for task in tasks(args, &store, name)? {
            let (registry, repository) = (task.reference.registry(), task.reference.repository());
            let key = format!("{registry}/{repository}");
            repositories.entry(key).or_default().push(task);
        }
    }
    if args.leak_gate {
        let targets = repositories.values().flatten();
        gate(args, session, &store, targets)?;
    }
    let client = session.registry()?;
    if verbosity == Verbosity::Normal {
        for name in repositories.keys() {
            session
                .printer
                .line(format!("The push refers to repository [{name}]"))?;
        }
    }
    let all = repositories.values().map(|tasks| {
        let push = Push {
            session,
            store: &store,
            client: &client,
            verbosity,
        };
        async move { push.all(tasks).await }
    });
    let ended = session.block_on(future::join_all(all))?;
    ended.into_iter().collect::<Result<(), _>>()?;
    Ok(Exit::Success)
}

/// Looks for secrets in all that would leave.
fn gate<'a>(
    args: &PushArgs,
    session: &Session,
    store: &Store,
    tasks: impl Iterator<Item = &'a Task>,
) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for Task { reference, target } in tasks {
        if !seen.insert(&target.digest) {
            continue;
        }
        let set = store.whole_set(target)?;
        for image in &set.images {
            let name = reference.familiar();
            let looked = look::store_image(store, &name, set.target(), image.clone())?;
            super::secrets::gate(session, &looked, &args.secret)?;
        }
    }
    Ok(())
}

/// Finds what a name of the command line stands for.
fn tasks(args: &PushArgs, store: &Store, name: &str) -> Result<Vec<Task>, Failure> {
    let reference: Reference = name.parse()?;
    if args.all_tags {
        return all_tags(store, name, &reference);
    }
    let target = match store.resolve_tag(&reference)? {
        Some(target) if reference.digest().is_none() => target,
        _ => store.find(name)?.target,
    };
    if let Some(digest) = reference.digest()
        && *digest != target.digest
    {
        let message = format!("cannot push by digest: {name} is {} here", target.digest);
        return Err(CliError::Arguments { message }.into());
    }
    Ok(vec![Task { reference, target }])
}

fn all_tags(store: &Store, name: &str, reference: &Reference) -> Result<Vec<Task>, Failure> {
    let has_tag = name
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':'));
    if has_tag || reference.digest().is_some() {
        let message = "tag can't be used with --all-tags/-a".into();
        return Err(CliError::Arguments { message }.into());
    }
    let mut tasks = Vec::new();
    for entry in store.images()? {
        let Some(own) = entry.reference else { continue };
        if own.registry() == reference.registry() && own.repository() == reference.repository() {
            tasks.push(Task {
                reference: own,
                target: entry.target,
            });
        }
    }
    if tasks.is_empty() {
        let name = reference.familiar_repository();
        let near = Vec::new();
        return Err(StoreError::NotFound { name, near }.into());
    }
    Ok(tasks)
}

/// What the pushes of one command share.
struct Push<'a> {
    session: &'a Session,
    store: &'a Store,
    client: &'a Registry,
    verbosity: Verbosity,
}

impl Push<'_> {
    /// Pushes to one repository, one image after another: the later find the earlier's layers.
    async fn all(&self, tasks: &[Task]) -> Result<(), Failure> {
        for task in tasks {
            self.one(task).await?;
        }
        Ok(())
    }

    async fn one(&self, task: &Task) -> Result<(), Failure> {
        let Task { reference, target } = task;
        let mut repository = self.client.repository(reference, Actions::PullPush);
        if let Some(other) = self.mount_source(reference, target)? {
            repository = repository.mount_from(&other);
        }
        let printer = self.session.printer;
        let progress = TransferProgress::new(printer, Direction::Push, self.verbosity);
        let store = self.store;
        let pushed = mica_store::push(store, target, &repository, reference, &progress);
        let pushed = pushed.await?;
        if let Some(digest) = reference.digest()
            && *digest != pushed.digest
        {
            let message = format!("{reference} left the store as {}", pushed.digest);
            return Err(CliError::Arguments { message }.into());
        }
        let tag = reference.tag().map(str::to_owned);
        let tag = tag.unwrap_or_else(|| pushed.digest.to_string());
        printer.line(match self.verbosity {
            Verbosity::Quiet => reference.to_string(),
            Verbosity::Normal => format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size),
        })?;
        Ok(())
    }

    /// Returns another repository of the same registry that the image is known to be in.
    fn mount_source(
        &self,
        reference: &Reference,
        target: &Descriptor,
    ) -> Result<Option<String>, Failure> {
        let Ok(image) = self.store.image(target, None) else {
            return Ok(None);
        };
        let known = self.store.repository_digests(image.id())?;
        let parsed = known
            .iter()
            .filter_map(|name| name.parse::<Reference>().ok());
        let mut others = parsed.filter(|other| {
            other.registry() == reference.registry() && other.repository() != reference.repository()
        });
        Ok(others.next().map(|other| other.repository().to_owned()))
    }
}

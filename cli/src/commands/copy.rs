//! `mica copy`: an image from one place to another, as it is.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args};
use mica_oci::{Descriptor, Platform, Reference, Tag};
use mica_registry_client::{Actions, Registry};
use mica_store::{
    ArchiveFormat, ImageSet, Layout, Named, Progress, Selection, Store, TransferError,
};
use tempfile::TempDir;

use super::save::save_to;
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::place::{Location, Place};
use crate::progress::{Direction, TransferProgress, Verbosity};
use crate::session::Session;

/// Copy an image between registries, OCI layouts, archives and the store
///
/// SOURCE and DESTINATION are an image's name in a registry (docker://NAME or NAME),
/// oci:DIR, oci-archive:FILE, docker-archive:FILE (each with :NAME for one of several), or store:NAME.
#[derive(Args, Debug)]
pub(crate) struct CopyArgs {
    /// Copy all platforms, which is what is done unless the destination holds only one
    #[arg(short, long, conflicts_with = "platform")]
    all: bool,
    /// Copy the image for one platform
    #[arg(long)]
    platform: Option<String>,
    /// Copy what is about the image too: signatures, attestations
    #[arg(long)]
    referrers: bool,
    /// Fail rather than change a digest
    #[arg(long)]
    preserve_digests: bool,
    /// Write the digest of what was copied to a file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Allow both registries to be insecure
    #[arg(long)]
    insecure: bool,
    /// Require TLS, with a certificate that is trusted, of the source
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL")]
    src_tls_verify: Option<bool>,
    /// Require TLS, with a certificate that is trusted, of the destination
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL")]
    dest_tls_verify: Option<bool>,
    /// Print the digest alone
    #[arg(short, long)]
    quiet: bool,
    /// Where from
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

/// Runs the command.
pub(crate) fn run(args: &CopyArgs, session: &Session) -> Outcome {
    let verbosity = match args.quiet {
        true => Verbosity::Quiet,
        false => Verbosity::Normal,
    };
    let platform = session.environment.platform(args.platform.as_deref())?;
    let (source, destination): (Location, Location) =
        (args.source.parse()?, args.destination.parse()?);
    let copy = Copying {
        session,
        from: &args.source,
        client: session.insecure_registry(args.insecure_hosts(&source, &destination))?,
        selection: match (args.all, platform) {
            (false, Some(platform)) => Selection::Platform(platform),
            _ => Selection::All,
        },
        wants_all: args.all,
        referrers: args.referrers,
        preserve_digests: args.preserve_digests,
        at_once: session.transfers()?.uploads,
        progress: TransferProgress::new(session.printer, Direction::Push, verbosity),
    };
    let target = copy.run(&source, &destination);
    let target = target.map_err(|failure| failure.of_image(&args.source))?;
    if let Some(path) = &args.digestfile {
        let written = std::fs::write(path, format!("{}\n", target.digest));
        written.map_err(|source| CliError::File {
            action: "write",
            path: path.clone(),
            source,
        })?;
    }
    session.printer.line(match verbosity {
        Verbosity::Quiet => target.digest.to_string(),
        Verbosity::Normal => format!("digest: {} size: {}", target.digest, target.size),
    })?;
    Ok(Exit::Success)
}

impl CopyArgs {
    /// Returns the registries that may be insecure.
    fn insecure_hosts<'a>(&self, source: &'a Location, destination: &'a Location) -> Vec<&'a str> {
        let places = [
            (source, self.src_tls_verify),
            (destination, self.dest_tls_verify),
        ];
        let insecure = places
            .into_iter()
            .filter(|(_, verify)| !verify.unwrap_or(!self.insecure));
        let hosts = insecure.filter_map(|(place, _)| match place {
            Location::Registry(reference) => Some(reference.registry()),
            _ => None,
        });
        hosts.collect()
    }
}

/// One copy.
struct Copying<'a> {
    session: &'a Session,
    /// The source as it was named.
    from: &'a str,
    client: Registry,
    selection: Selection,
    wants_all: bool,
    referrers: bool,
    preserve_digests: bool,
    /// Blobs that move at a time.
    at_once: NonZeroUsize,
    progress: TransferProgress,
}

/// A source that is open.
enum Source {
    /// Content that is copied as it is.
    Graph(Place, Reference),
    /// An image of a store, whose layers may have to be compressed.
    Stored {
        store: Store,
        target: Descriptor,
        /// The store's directory, for one that is made for this copy.
        _directory: Option<TempDir>,
    },
}

/// A name for places that have none.
fn nameless() -> Reference {
    "copy:latest".parse().expect("it is a valid name")
}

impl Copying<'_> {
    fn run(&self, source: &Location, destination: &Location) -> Result<Descriptor, Failure> {
        let source = self.open_source(source, destination)?;
        match destination {
            Location::Registry(reference) => {
                let mut repository = self.client.repository(reference, Actions::PullPush);
                if let Source::Graph(Place::Registry(_, from), _) = &source
                    && from.registry() == reference.registry()
                    && from.repository() != reference.repository()
                {
                    repository = repository.mount_from(from.repository());
                }
                let place = Place::Registry(Box::new(repository), reference.clone());
                self.send(&source, &place, reference)
            }
            Location::Layout(path, name) => {
                let place = Place::Layout(Layout::directory(path, name.clone()));
                self.send(&source, &place, &nameless())
            }
            Location::LayoutArchive(path, name) => {
                let directory = temporary()?;
                let place = Place::Layout(Layout::directory(directory.path(), name.clone()));
                let target = self.send(&source, &place, &nameless())?;
                save_to(path, |out| {
                    Ok(mica_store::write_layout_archive(directory.path(), out)?)
                })?;
                Ok(target)
            }
            Location::DockerArchive(path, name) => {
                let directory = temporary()?;
                let store = Store::open(directory.path())?;
                let reference = name.clone().unwrap_or_else(nameless);
                let image = self.receive(&source, &store, &reference)?;
                let images = [Named {
                    reference: name.clone(),
                    set: ImageSet::single(store.image(&image, None)?),
                    annotations: BTreeMap::new(),
                }];
                save_to(path, |out| {
                    Ok(mica_store::save(
                        &store,
                        &images,
                        ArchiveFormat::Docker,
                        out,
                    )?)
                })?;
                Ok(image)
            }
            Location::Store(name) => {
                let store = self.session.store()?;
                let _held = store.hold()?;
                self.receive(&source, &store, &name.parse()?)
            }
        }
    }

    fn open_source(&self, source: &Location, destination: &Location) -> Result<Source, Failure> {
        Ok(match source {
            Location::Registry(reference) => {
                let actions = match destination {
                    // What is copied onto itself comes from the registry, not from a mirror.
                    Location::Registry(other) if other == reference => Actions::PullPush,
                    _ => Actions::Pull,
                };
                let repository = self.client.repository(reference, actions);
                Source::Graph(
                    Place::Registry(Box::new(repository), reference.clone()),
                    reference.clone(),
                )
            }
            Location::Layout(path, name) => {
                let layout = Layout::directory(path, name.clone());
                Source::Graph(Place::Layout(layout), nameless())
            }
            Location::LayoutArchive(path, name) => {
                let layout = Layout::archive(path, name.clone())?;
                Source::Graph(Place::Layout(layout), nameless())
            }
            Location::DockerArchive(path, name) => {
                let directory = temporary()?;
                let store = Store::open(directory.path())?;
                let mut loaded = mica_store::load_file(&store, path)?;
                if let Some(name) = name {
                    loaded.retain(|loaded| loaded.reference.as_ref() == Some(name));
                }
                let Some(found) = loaded.into_iter().next() else {
                    let message = format!("{} has no such image", path.display());
                    return Err(CliError::Arguments { message }.into());
                };
                Source::Stored {
                    target: found.image.target,
                    store,
                    _directory: Some(directory),
                }
            }
            Location::Store(name) => {
                let store = self.session.store()?;
                let tagged = name.parse().ok();
                let tagged = tagged.map(|name: Reference| store.resolve_tag(&name));
                let target = match tagged.transpose()?.flatten() {
                    Some(target) => target,
                    None => store.find(name)?.target,
                };
                Source::Stored {
                    store,
                    target,
                    _directory: None,
                }
            }
        })
    }

    /// Copies to a place that takes content as it is.
    fn send(
        &self,
        source: &Source,
        destination: &Place,
        reference: &Reference,
    ) -> Result<Descriptor, Failure> {
        match source {
            Source::Graph(from, name) => {
                self.block_on(self.copy(from, name, destination, reference))
            }
            Source::Stored { store, target, .. } => {
                let _held = store.hold()?;
                let set = store.image_set(target);
                let is_images = set.as_ref().is_ok_and(|set| set.artifacts.is_empty());
                if self.selection == Selection::All && !is_images {
                    let from = Place::Store(store.clone());
                    return self.block_on(async {
                        self.graph(&from, destination, target).await?;
                        self.tag(destination, target, reference).await?;
                        Ok(target.clone())
                    });
                }
                let set = match &self.selection {
                    Selection::Platform(platform) => {
                        ImageSet::single(store.image(target, Some(platform))?)
                    }
                    Selection::All => set?,
                };
                let sent = mica_store::publish(store, &set, destination, reference, &self.progress);
                let sent = self.session.block_on(sent)??;
                self.check_digest(target, &sent)?;
                Ok(sent)
            }
        }
    }

    /// Copies into a store, from where an image can be run.
    fn receive(
        &self,
        source: &Source,
        store: &Store,
        reference: &Reference,
    ) -> Result<Descriptor, Failure> {
        let host = Platform::host();
        let platform = match &self.selection {
            Selection::Platform(platform) => platform,
            Selection::All => &host,
        };
        match source {
            Source::Graph(from, name) if self.wants_all => {
                let to = Place::Store(store.clone());
                self.block_on(self.copy(from, name, &to, reference))
            }
            Source::Graph(from, _) => {
                let pulled = mica_store::pull(store, from, reference, platform, &self.progress);
                let pulled = self.session.block_on(pulled)?;
                Ok(pulled.map_err(|error| self.named(error))?.target)
            }
            Source::Stored {
                store: from,
                target,
                ..
            } => {
                let set = ImageSet::single(from.image(target, Some(platform))?);
                let to = Place::Store(store.clone());
                let sent = mica_store::publish(from, &set, &to, reference, &self.progress);
                Ok(self.session.block_on(sent)??)
            }
        }
    }

    async fn copy(
        &self,
        from: &Place,
        name: &Reference,
        to: &Place,
        reference: &Reference,
    ) -> Result<Descriptor, Failure> {
        let target = mica_store::select(from, name, &self.selection).await;
        let target = target.map_err(|error| self.named(error))?;
        self.graph(from, to, &target).await?;
        self.tag(to, &target, reference).await?;
        Ok(target)
    }

    /// Says what the source is called: a layout goes under the destination's name.
    fn named(&self, error: TransferError) -> TransferError {
        match error {
            TransferError::Resolve { source, .. } => TransferError::Resolve {
                reference: self.from.to_owned(),
                source,
            },
            error => error,
        }
    }

    /// Copies a graph, and what is about it where that is wanted.
    async fn graph(&self, from: &Place, to: &Place, target: &Descriptor) -> Result<(), Failure> {
        mica_store::copy_graph(from, to, target, self.at_once, &self.progress).await?;
        if !self.referrers {
            return Ok(());
        }
        let (mut todo, mut seen) = (vec![target.clone()], HashSet::new());
        while let Some(subject) = todo.pop() {
            for referrer in from.referrers(&subject).await? {
                if seen.insert(referrer.digest.clone()) {
                    let progress: &dyn Progress = &self.progress;
                    mica_store::copy_graph(from, to, &referrer, self.at_once, progress).await?;
                    to.keep_untagged(&referrer)?;
                    todo.push(referrer);
                }
            }
        }
        Ok(())
    }

    async fn tag(
        &self,
        to: &Place,
        target: &Descriptor,
        reference: &Reference,
    ) -> Result<(), Failure> {
        if reference.tag().is_none() {
            return self.check_name(target, reference);
        }
        let tagged = to.tag(target, reference).await;
        tagged.map_err(|source| {
            TransferError::Tag {
                digest: target.digest.clone(),
                reference: reference.to_string(),
                source,
            }
            .into()
        })
    }

    /// A destination that is named by a digest must be what that digest says.
    fn check_name(&self, target: &Descriptor, reference: &Reference) -> Result<(), Failure> {
        match reference.digest() {
            Some(digest) if *digest != target.digest => {
                let message = format!("{reference} would be {}", target.digest);
                Err(CliError::Arguments { message }.into())
            }
            _ => Ok(()),
        }
    }

    fn check_digest(&self, before: &Descriptor, after: &Descriptor) -> Result<(), Failure> {
        if self.preserve_digests && before.digest != after.digest {
            let message = format!(
                "the digest would change from {} to {}: the store's layers are not compressed",
                before.digest, after.digest
            );
            return Err(CliError::Arguments { message }.into());
        }
        Ok(())
    }

    fn block_on(
        &self,
        copy: impl Future<Output = Result<Descriptor, Failure>>,
    ) -> Result<Descriptor, Failure> {
        self.session.block_on(copy)?
    }
}

fn temporary() -> Result<TempDir, Failure> {
    let directory = tempfile::Builder::new().prefix("mica-copy-").tempdir();
    Ok(directory?)
}

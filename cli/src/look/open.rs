//! Opening what people name.

use std::path::Path;
use std::sync::Arc;

use mica_inspect::{Image, IndexCache, Materials, Stack, Tree};
use mica_oci::{Descriptor, Platform, Reference};
use mica_registry_client::Actions;
use mica_store::{Store, StoreError};

use super::transport::{Location, Target};
use crate::failure::{CliError, Failure};
use crate::hint;
use crate::session::Session;

/// Where indexes are kept, below the store's root.
const INDEXES: &str = "cache/layer-index";

/// An image, and the layer that was asked for.
pub(crate) struct Looked {
    /// The image.
    pub(crate) image: Image,
    /// The layer.
    pub(crate) layer: Option<usize>,
}

impl Looked {
    /// Returns the files: of the layer that was asked for, or of all of them.
    pub(crate) fn tree(&self, session: &Session) -> Result<Tree<'_>, Failure> {
        let tree = match self.layer {
            Some(layer) => self.image.layer_tree(layer)?,
            None => self.image.full_tree()?,
        };
        warn(session, &tree);
        Ok(tree)
    }

    /// Returns the merged files up to the layer that was asked for.
    pub(crate) fn stack(&self, session: &Session) -> Result<Stack<'_>, Failure> {
        let count = self
            .layer
            .map_or(self.image.layers.len(), |layer| layer + 1);
        let stack = self.image.stack(count)?;
        warn(session, &stack.tree);
        Ok(stack)
    }
}

/// Says what cannot be applied; a few lines are enough for a hostile image.
fn warn(session: &Session, tree: &Tree<'_>) {
    const SHOWN: usize = 5;
    let problems = tree.problems();
    for problem in problems.iter().take(SHOWN) {
        session.printer.warning(&problem.escape_debug().to_string());
    }
    if problems.len() > SHOWN {
        let more = problems.len() - SHOWN;
        session
            .printer
            .warning(&format!("{more} more such entries"));
    }
}

/// Opens `[TRANSPORT:]IMAGE[@LAYER]`.
pub(crate) fn open(
    session: &Session,
    text: &str,
    platform: Option<&str>,
) -> Result<Looked, Failure> {
    let mut target = Target::parse(text);
    if let Some(of_layer) = target.with_layer_digest()
        && session
            .store()
            .is_ok_and(|store| is_in_store(&store, &target, &of_layer))
    {
        target = of_layer;
    }
    let image = open_location(session, &target.location, platform);
    let image = image.map_err(|failure| failure.of_image(text))?;
    let layer = target.layer.map(|layer| image.find_layer(&layer));
    Ok(Looked {
        layer: layer.transpose()?,
        image,
    })
}

/// Tells whether a name with a digest is none of the store, but is one without.
fn is_in_store(store: &Store, target: &Target, of_layer: &Target) -> bool {
    let is_there = |target: &Target| match &target.location {
        Location::Name(name) => store.find(name).is_ok(),
        _ => false,
    };
    !is_there(target) && is_there(of_layer)
}

/// Opens an image as a whole.
pub(super) fn open_image(
    session: &Session,
    text: &str,
    platform: Option<&str>,
) -> Result<Image, Failure> {
    let Looked { image, layer } = open(session, text, platform)?;
    match layer {
        None => Ok(image),
        Some(_) => {
            let message = format!("`{text}` names a layer: this command looks at whole images");
            Err(CliError::Arguments { message }.into())
        }
    }
}

fn open_location(
    session: &Session,
    location: &Location,
    platform: Option<&str>,
) -> Result<Image, Failure> {
    let asked = session.environment.platform(platform)?;
    let wanted = asked.clone().unwrap_or_else(Platform::host);
    let image = match location {
        Location::Name(name) => open_name(session, name, asked.as_ref(), &wanted)?,
        Location::Registry(name) => open_remote(session, &name.parse()?, &wanted)?,
        Location::Archive(path, image) => Image::of_archive(path, image.as_deref(), &wanted)?,
        Location::Directory(path) => return Ok(Image::of_directory(path)?),
        Location::Container(name) => container_image(session, name)?,
    };
    // Without a store, such as for somebody who may not write there, nothing is kept.
    Ok(match session.store() {
        Ok(store) => with_cache(image, &store),
        Err(_) => image,
    })
}

fn with_cache(image: Image, store: &Store) -> Image {
    image.with_cache(IndexCache::new(store.root().join(INDEXES)))
}

/// Looks into an image of the store that was found already.
pub(crate) fn store_image(
    store: &Store,
    name: &str,
    target: &Descriptor,
    image: mica_store::Image,
) -> Result<Image, Failure> {
    Ok(with_cache(
        Image::of_store(name, store, target, image)?,
        store,
    ))
}

/// Finds the packages of an image, and tells of databases that cannot be read.
pub(crate) fn with_materials<T>(
    image: &Image,
    warn: impl Fn(&str),
    write: impl FnOnce(&Materials<'_>) -> T,
) -> Result<T, Failure> {
    let stack = image.full_stack()?;
    for path in image.unread_databases(&stack) {
        warn(&format!(
            "/{path} is a database that cannot be read: its packages are missing"
        ));
    }
    Ok(write(&Materials {
        image,
        packages: &image.packages(&stack)?,
        distribution: image.distribution(&stack)?.as_ref(),
    }))
}

/// Looks in the store, then for an archive here, then asks the registry.
fn open_name(
    session: &Session,
    name: &str,
    asked: Option<&Platform>,
    wanted: &Platform,
) -> Result<Image, Failure> {
    let store = session.store()?;
    let missing = match find_in_store(&store, name, asked) {
        Ok((target, image)) => return Ok(Image::of_store(name, &store, &target, image)?),
        Err(error) => error,
    };
    // An archive in this directory is not what a registry is asked for.
    let path = Path::new(name);
    if path.is_file() {
        return Ok(Image::of_archive(path, None, wanted)?);
    }
    let (StoreError::NotFound { near, .. }, Ok(reference)) = (&missing, name.parse()) else {
        return Err(missing.into());
    };
    let near = near.clone();
    open_remote(session, &reference, wanted).map_err(|failure| {
        let not_here = format!("there is no image `{name}` in the store");
        let other = other_meaning(session, &store, name).or_else(|| hint::near_names(&near));
        let hint = match other {
            Some(other) => format!("{not_here}; {other}"),
            None => not_here,
        };
        failure.with_hint(&hint)
    })
}

/// Says how to write a directory or container that has the name of no image.
fn other_meaning(session: &Session, store: &Store, name: &str) -> Option<String> {
    if Path::new(name).is_dir() {
        return Some(format!("the directory is `./{name}`"));
    }
    let containers = session.containers_of(store.clone()).ok()?;
    let is_container = containers.find(name).is_ok();
    is_container.then(|| format!("the container is `container:{name}`"))
}

fn find_in_store(
    store: &Store,
    name: &str,
    asked: Option<&Platform>,
) -> Result<(Descriptor, mica_store::Image), StoreError> {
    if let Some(platform) = asked
        && let Ok(reference) = name.parse::<Reference>()
        && let Some(target) = store.resolve_tag(&reference)?
    {
        let image = store.image(&target, Some(platform))?;
        return Ok((target, image));
    }
    let target = store.find_target(name)?;
    let image = store.image(&target, None)?;
    Ok((target, image))
}

fn open_remote(
    session: &Session,
    reference: &Reference,
    platform: &Platform,
) -> Result<Image, Failure> {
    let repository = session.registry()?.repository(reference, Actions::Pull);
    let runtime = Arc::new(session.runtime()?);
    Ok(Image::of_remote(repository, reference, platform, runtime)?)
}

/// Opens a container: its image's layers, and its read-write layer on top.
fn container_image(session: &Session, name: &str) -> Result<Image, Failure> {
    let store = session.store()?;
    let containers = session.containers_of(store.clone())?;
    let id = containers.find(name)?;
    let files = containers.image_and_changes(&id)?;
    let image = store.find(files.image.as_str())?;
    let target = image.target.clone();
    let image = Image::of_store(name, &store, &target, image)?;
    Ok(image.with_written(name, files.written))
}

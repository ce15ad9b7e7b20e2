//! `--build-context`: other sources that a Dockerfile may name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mica_builder::{GitPlace, GitReference, NamedContext};
use mica_store::{Loaded, Store};

use super::arguments::invalid;
use crate::failure::{CliError, Failure};
use crate::session::Session;

/// What a context may be.
const KINDS: &str = "expected a directory, docker-image://NAME, oci-layout://DIR[:TAG|@DIGEST], \
    a git or http(s) address, or target:STAGE";

/// Reads `--build-context NAME=SOURCE`: a directory, `docker-image://NAME`, `oci-layout://DIR[:TAG]`.
pub(crate) fn named_contexts(
    texts: &[String],
    session: &Session,
    store: &Store,
) -> Result<BTreeMap<String, NamedContext>, Failure> {
    let mut contexts = BTreeMap::new();
    for text in texts {
        let Some((name, source)) = text.split_once('=') else {
            return Err(invalid("--build-context", text, "expected NAME=SOURCE").into());
        };
        contexts.insert(
            name.to_owned(),
            named_context(text, source, session, store)?,
        );
    }
    Ok(contexts)
}

fn named_context(
    text: &str,
    source: &str,
    session: &Session,
    store: &Store,
) -> Result<NamedContext, Failure> {
    if let Some(name) = source.strip_prefix("docker-image://") {
        let image = match store.find(name) {
            Ok(image) => image,
            Err(_) => crate::commands::pull::pull_for_build(session, store, &name.parse()?)?,
        };
        return Ok(NamedContext::Image(Box::new(image)));
    }
    if let Some(layout) = source.strip_prefix("oci-layout://") {
        return layout_image(text, layout, store);
    }
    if let Some(stage) = source.strip_prefix("target:") {
        return Ok(NamedContext::Stage(stage.to_owned()));
    }
    let reference = GitReference::parse(source, GitPlace::Context)
        .map_err(|error| invalid("--build-context", text, &error.to_string()))?;
    // A directory of that name goes before an address without a scheme.
    if let Some(reference) = reference.filter(|_| !PathBuf::from(source).is_dir()) {
        return Ok(NamedContext::Git(Box::new(reference)));
    }
    if source.starts_with("http://") || source.starts_with("https://") {
        return Ok(NamedContext::Url(source.to_owned()));
    }
    if source.contains("://") {
        return Err(invalid("--build-context", text, KINDS).into());
    }
    let path = PathBuf::from(source);
    let failed = |source| CliError::File {
        action: "open the build context",
        path: path.clone(),
        source,
    };
    Ok(NamedContext::Directory(
        path.canonicalize().map_err(failed)?,
    ))
}

/// Takes one image of a layout: the one of that tag or digest, or the only one.
fn layout_image(text: &str, layout: &str, store: &Store) -> Result<NamedContext, Failure> {
    let (layout, digest) = match layout.split_once('@') {
        Some((layout, digest)) => (layout, Some(digest)),
        None => (layout, None),
    };
    let (path, tag) = match layout.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !Path::new(layout).is_dir() => (path, Some(tag)),
        _ => (layout, None),
    };
    let loaded = mica_store::load_directory(store, Path::new(path))?;
    let matches = |loaded: &&Loaded| match (digest, tag) {
        (Some(digest), _) => loaded.image.target.digest.as_str() == digest,
        (None, Some(tag)) => loaded
            .reference
            .as_ref()
            .is_some_and(|reference| reference.tag() == Some(tag) || reference.familiar() == tag),
        (None, None) => true,
    };
    match loaded.iter().find(matches) {
        Some(loaded) => Ok(NamedContext::Image(Box::new(loaded.image.clone()))),
        None => Err(invalid("--build-context", text, "the layout has no such image").into()),
    }
}

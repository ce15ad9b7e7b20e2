//! Repositories of the server and images of the store.

use std::collections::BTreeSet;

use hyper::StatusCode;
use mica_oci::{Descriptor, Reference};
use mica_store::{Store, StoreError, Tagged};

use crate::reply::Refusal;

/// Returns the image name that a repository stands for: `busybox` is docker's `library/busybox`,
/// and `ghcr.io/a/b` is what it says.
pub(crate) fn reference(name: &str, tag: &str) -> Result<Reference, Refusal> {
    // Docker takes a first part with capitals for a host; no repository has any of these.
    let is_foreign = |c: char| c.is_ascii_uppercase() || matches!(c, ':' | '@' | '[');
    let bare = name.parse().ok().filter(|_| !name.contains(is_foreign));
    let bare: Reference =
        bare.ok_or_else(|| Refusal::invalid("NAME_INVALID", format!("`{name}` is no repository")))?;
    bare.with_tag(tag).map_err(|_| {
        let message = format!("`{tag}` is neither a tag nor a digest");
        Refusal::new(StatusCode::BAD_REQUEST, "TAG_INVALID", message)
    })
}

/// Returns the name that an image has here. A port cannot be part of one.
pub(crate) fn repository_of(reference: &Reference) -> String {
    match reference.registry().contains([':', '[']) {
        true => reference.repository().to_owned(),
        false => reference.familiar_repository(),
    }
}

/// Finds the image that a repository's tag stands for.
pub(crate) fn find(store: &Store, wanted: &Reference) -> Result<Option<Descriptor>, StoreError> {
    if let Some(found) = store.resolve_tag(wanted)? {
        return Ok(Some(found));
    }
    // Images that were named after this very server, or after another with a port.
    let named = repository_of(wanted);
    let fits = |entry: &Tagged| {
        entry.reference.as_ref().is_some_and(|reference| {
            repository_of(reference) == named && reference.tag() == wanted.tag()
        })
    };
    let found = store.images()?.into_iter().find(fits);
    Ok(found.map(|entry| entry.target))
}

/// Lists the tags of a repository, sorted; `None` where there is no such repository.
pub(crate) fn tags(store: &Store, name: &str) -> Result<Option<BTreeSet<String>>, Refusal> {
    let named = repository_of(&reference(name, "latest")?);
    let images = store.images()?;
    let all = images.iter().filter_map(|entry| entry.reference.as_ref());
    let own = all.filter(|reference| repository_of(reference) == named);
    let tags: BTreeSet<_> = own.filter_map(|r| r.tag().map(str::to_owned)).collect();
    Ok((!tags.is_empty()).then_some(tags))
}

/// Lists all repositories, sorted.
pub(crate) fn repositories(store: &Store) -> Result<BTreeSet<String>, StoreError> {
    let images = store.images()?;
    let all = images.iter().filter_map(|entry| entry.reference.as_ref());
    Ok(all.map(repository_of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_images_as_docker_writes_them() {
        let cases = [
            ("busybox", "docker.io/library/busybox:v1", "busybox"),
            ("library/busybox", "docker.io/library/busybox:v1", "busybox"),
            ("team/app", "docker.io/team/app:v1", "team/app"),
            ("ghcr.io/a/b", "ghcr.io/a/b:v1", "ghcr.io/a/b"),
        ];
        for (name, full, shown) in cases {
            let found = reference(name, "v1").unwrap();
            assert_eq!(found.to_string(), full);
            assert_eq!(repository_of(&found), shown);
        }
        let own: Reference = "127.0.0.1:5000/team/app:v1".parse().unwrap();
        assert_eq!(repository_of(&own), "team/app");
        for bad in ["", "A", "A/b", "a:b", "a/b:c", "a:1/b", "a//b"] {
            assert!(reference(bad, "v1").is_err(), "{bad}");
        }
        assert!(reference("a", ".bad").is_err());
    }
}

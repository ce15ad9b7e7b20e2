//! Another registry behind this one: what is not in the store comes from there, once.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use hyper::StatusCode;
use mica_oci::{BlobReader, ContractError, Descriptor, Digest, Fetch, Reference, Resolve};
use mica_store::{Store, TransferError};
use tokio::io::AsyncReadExt;

use crate::manifests::{Links, understand};
use crate::published::{self, Published};
use crate::reply::Refusal;

/// A registry that is mirrored.
pub trait Upstream: Send + Sync + 'static {
    /// A repository there.
    type Repository: Fetch + Resolve + Send;

    /// Names what `NAME:TAG` of the mirror is there; `None` for no mirror.
    fn reference(&self, name: &str, tag: &str) -> Option<Reference>;

    /// Opens a repository there.
    fn repository(&self, reference: &Reference) -> Self::Repository;

    /// Returns the status of a refusal; `None` when no answer came.
    fn status(&self, error: &ContractError) -> Option<u16>;
}

/// No mirror: the store alone is served.
#[derive(Clone, Copy, Debug)]
pub struct NoUpstream;

/// A repository that there is not.
#[derive(Clone, Copy, Debug)]
pub enum Nothing {}

impl Upstream for NoUpstream {
    type Repository = Nothing;

    fn reference(&self, _name: &str, _tag: &str) -> Option<Reference> {
        None
    }

    fn repository(&self, _reference: &Reference) -> Nothing {
        unreachable!("there is no reference to open one for")
    }

    fn status(&self, _error: &ContractError) -> Option<u16> {
        None
    }
}

impl Fetch for Nothing {
    async fn fetch(&self, _descriptor: &Descriptor) -> Result<BlobReader, ContractError> {
        match *self {}
    }
}

impl Resolve for Nothing {
    async fn resolve(&self, _reference: &Reference) -> Result<Descriptor, ContractError> {
        match *self {}
    }
}

/// What went through the mirror.
pub(crate) struct Mirrored<U> {
    upstream: U,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Blobs that manifests lead to: their sizes must be known to verify them.
    blobs: HashMap<Digest, Descriptor>,
    /// Names that are given once a whole image is here: the manifest or index, and what it needs.
    pending: Vec<Pending>,
}

struct Pending {
    reference: Reference,
    target: Descriptor,
    /// Manifests, of which one must be whole.
    manifests: HashMap<Digest, Option<Vec<Digest>>>,
}

/// What a manifest may be at most, by the specification.
const LARGEST: u64 = 4 << 20;

impl<U: Upstream> Mirrored<U> {
    pub(crate) fn new(upstream: U) -> Self {
        Self {
            upstream,
            state: Mutex::default(),
        }
    }

    /// Reads a manifest there, and keeps it; `None` where the store's own is to be served: there
    /// is no mirror, or it cannot be reached.
    pub(crate) async fn manifest(
        &self,
        store: &Store,
        name: &str,
        object: &str,
    ) -> Result<Option<Published>, Refusal> {
        let digest = object.parse::<Digest>().ok();
        let tag = if digest.is_some() { "latest" } else { object };
        let Some(tagged) = self.upstream.reference(name, tag) else {
            return Ok(None);
        };
        let reference = match &digest {
            Some(digest) => tagged.with_digest(digest.clone()),
            None => tagged,
        };
        if digest.as_ref().is_some_and(|digest| store.has_blob(digest)) {
            let known = digest
                .as_ref()
                .and_then(|digest| published::read(store, digest).ok().flatten());
            if let Some(known) = known {
                self.note(store, &reference, &known);
                return Ok(Some(known));
            }
        }
        let repository = self.upstream.repository(&reference);
        let target = match repository.resolve(&reference).await {
            Ok(target) => target,
            // What the registry does not have may be one of the store's own images.
            Err(error) if self.upstream.status(&error) == Some(404) => return Ok(None),
            Err(error) => return self.stale(store, &reference, &error).map(Some),
        };
        let raw = match published::read(store, &target.digest)? {
            Some(known) => known.raw,
            None => self.read(store, &repository, &target).await?,
        };
        let published = Published {
            media_type: target.media_type,
            digest: target.digest,
            raw,
        };
        self.note(store, &reference, &published);
        Ok(Some(published))
    }

    /// Goes on with what the store has when the registry cannot answer.
    fn stale(
        &self,
        store: &Store,
        reference: &Reference,
        error: &ContractError,
    ) -> Result<Published, Refusal> {
        let digest = match reference.digest() {
            Some(digest) => Some(digest.clone()),
            None => store.resolve_tag(reference)?.map(|target| target.digest),
        };
        let kept = digest.map(|digest| published::read(store, &digest));
        if let Some(kept) = kept.transpose()?.flatten() {
            return Ok(kept);
        }
        let (status, code) = match self.upstream.status(error) {
            Some(429) => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
            _ => (StatusCode::BAD_GATEWAY, "UNAVAILABLE"),
        };
        Err(Refusal::new(status, code, error.to_string()))
    }

    async fn read(
        &self,
        store: &Store,
        repository: &U::Repository,
        target: &Descriptor,
    ) -> Result<Bytes, Refusal> {
        let failed = |error: &dyn std::fmt::Display| {
            Refusal::new(StatusCode::BAD_GATEWAY, "UNAVAILABLE", error.to_string())
        };
        let reader = repository.fetch(target).await.map_err(|e| failed(&e))?;
        let mut raw = Vec::new();
        let read = reader.take(LARGEST).read_to_end(&mut raw).await;
        read.map_err(|error| failed(&error))?;
        tokio::task::block_in_place(|| store.put_blob(target, raw.as_slice()))?;
        Ok(raw.into())
    }

    /// Notes what a manifest leads to, and the name that waits for it.
    fn note(&self, store: &Store, reference: &Reference, published: &Published) {
        let media_type = published.media_type.as_str();
        let Ok((target, links)) = understand(&published.raw, Some(media_type)) else {
            return;
        };
        {
            let mut state = self.state.lock().expect("no panic under this lock");
            state.note(reference, &target, &links);
        }
        self.give_names(store);
    }

    /// Brings a blob into the store, unless it is there.
    pub(crate) async fn blob(
        &self,
        store: &Store,
        name: &str,
        digest: &Digest,
    ) -> Result<(), Refusal> {
        if store.has_blob(digest) {
            return Ok(());
        }
        let known = {
            let state = self.state.lock().expect("no panic under this lock");
            state.blobs.get(digest).cloned()
        };
        let reference = self.upstream.reference(name, "latest");
        let (Some(descriptor), Some(reference)) = (known, reference) else {
            return Ok(());
        };
        let repository = self.upstream.repository(&reference);
        let fetched = mica_store::fetch_blob(store, &repository, &descriptor).await;
        fetched.map_err(|error| match error {
            TransferError::Store(error) => Refusal::from(error),
            error => {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                let message = format!("{error}{cause}");
                Refusal::new(StatusCode::BAD_GATEWAY, "UNAVAILABLE", message)
            }
        })?;
        self.give_names(store);
        Ok(())
    }

    /// Gives the names of images that are whole now. A name that cannot be given costs the next
    /// request a look at the registry, no more.
    fn give_names(&self, store: &Store) {
        let mut state = self.state.lock().expect("no panic under this lock");
        let has = |digest: &Digest| store.has_blob(digest);
        let (whole, pending) = std::mem::take(&mut state.pending)
            .into_iter()
            .partition(|pending| pending.is_whole(&has));
        state.pending = pending;
        for pending in whole {
            let _ = tokio::task::block_in_place(|| {
                store.tag_image(&pending.target, &pending.reference)
            });
        }
    }
}

impl State {
    fn note(&mut self, reference: &Reference, target: &Descriptor, links: &Links) {
        let blobs: Vec<Descriptor> = links.config.iter().chain(&links.layers).cloned().collect();
        let own: Vec<Digest> = blobs.iter().map(|blob| blob.digest.clone()).collect();
        let described = blobs.into_iter().map(|blob| (blob.digest.clone(), blob));
        self.blobs.extend(described);
        for pending in &mut self.pending {
            if let Some(entry) = pending.manifests.get_mut(&target.digest) {
                *entry = Some(own.clone());
            }
        }
        if reference.digest().is_some() {
            return;
        }
        let manifests = match target.media_type.is_index() {
            true => links
                .manifests
                .iter()
                .map(|child| (child.digest.clone(), None))
                .collect(),
            false => HashMap::from([(target.digest.clone(), Some(own))]),
        };
        self.pending
            .retain(|pending| pending.reference != *reference);
        self.pending.push(Pending {
            reference: reference.clone(),
            target: target.clone(),
            manifests,
        });
    }
}

impl Pending {
    fn is_whole(&self, has: &impl Fn(&Digest) -> bool) -> bool {
        let mut known = self.manifests.iter();
        known.any(|(manifest, blobs)| {
            let blobs = blobs.as_ref();
            has(manifest) && blobs.is_some_and(|blobs| blobs.iter().all(has))
        })
    }
}

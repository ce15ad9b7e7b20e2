//! One repository as a place to fetch from and push to.

mod contracts;
mod uploads;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::{fmt, io};

use bytes::Bytes;
use mica_oci::{BlobReader, Descriptor, Digest, MediaType, Reference, Verified};
use reqwest::{Method, Url};

use crate::download::Download;
use crate::manifests::RawManifest;
use crate::registry::Shared;
use crate::rules::{self, MirrorPlace, Place};
use crate::site::Site;
use crate::{Actions, MirrorScheme, ProtocolFault, Referrers, RegistryError};

/// A mirror is one of several ways: it gets less patience than the registry.
const MIRROR_ATTEMPTS: u32 = 2;

/// One repository of a registry; cheap to clone.
#[derive(Clone)]
pub struct Repository {
    shared: Arc<Shared>,
    registry: String,
    name: String,
    actions: Actions,
    mount_from: Option<String>,
    /// Where it is pulled from when no mirror has it.
    place: Place,
    mirrors: Arc<[MirrorPlace]>,
    memory: Arc<Memory>,
}

/// What was seen a moment ago, so that it is not asked again.
#[derive(Default)]
struct Memory {
    /// Blobs that [`Push::contains`] did not find.
    absent: Mutex<HashSet<Digest>>,
    /// Manifests that were pushed, for the tags that follow.
    pushed: Mutex<HashMap<Digest, RawManifest>>,
    /// Which endpoint handed out a blob last.
    given_by: Mutex<HashMap<Digest, Url>>,
    /// Endpoints whose copy of a blob is another content.
    distrusted: Mutex<HashSet<(Url, Digest)>>,
}

impl Memory {
    fn trusts(&self, site: &Site, descriptor: &Descriptor) -> bool {
        let distrusted = self.distrusted.lock().expect("no panic under this lock");
        !distrusted.contains(&(site.endpoint.base.clone(), descriptor.digest.clone()))
    }
}

impl Repository {
    pub(crate) fn new(shared: Arc<Shared>, reference: &Reference, actions: Actions) -> Self {
        let (registry, repository) = (reference.registry(), reference.repository());
        let config = &shared.config;
        let (place, mirrors) = match actions {
            Actions::Pull => rules::places(&config.rules, &config.aliases, registry, repository),
            // What was written is what is read: nothing stands in place of the registry.
            Actions::PullPush | Actions::Delete => {
                rules::places(&[], &BTreeMap::new(), registry, repository)
            }
        };
        Self {
            shared,
            place,
            mirrors: mirrors.into(),
            registry: reference.registry().to_owned(),
            name: reference.repository().to_owned(),
            actions,
            mount_from: None,
            memory: Arc::default(),
        }
    }

    /// Has pushes try to mount blobs from another repository of this registry (`library/ubuntu`)
    /// before sending them. Where it lacks a blob, the push goes on as an upload.
    pub fn mount_from(self, other_repository: &str) -> Self {
        Self {
            mount_from: Some(other_repository.to_owned()),
            ..self
        }
    }

    /// Reads a manifest or index by its digest, or by its tag where the reference has no digest.
    ///
    /// The bytes are verified against the digest asked for, or else the one announced.
    pub async fn manifest(
        &self,
        reference: &Reference,
    ) -> Result<(MediaType, Bytes, Digest), RegistryError> {
        let (object, digest) = self.object(reference)?;
        let manifest = self.read_manifest(&object, digest.as_ref()).await?;
        Ok((manifest.media_type, manifest.bytes, manifest.digest))
    }

    /// Lists all tags, in the registry's order.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        self.at_first_site(false, |site| async move { site.list_tags().await })
            .await
    }

    /// Deletes a manifest by its digest, or a tag.
    ///
    /// # Errors
    /// [`RegistryError::Status`] with 405 where the registry does not let anybody delete.
    pub async fn delete(&self, reference: &Reference) -> Result<(), RegistryError> {
        let (object, _) = self.object(reference)?;
        self.origin().await?.delete_manifest(&object).await
    }

    /// Lists what is about a manifest, by the API or by the tag schema that came before it.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Referrers, RegistryError> {
        let what = (subject.clone(), artifact_type.map(str::to_owned));
        self.at_first_site(true, move |site| {
            let (subject, wanted) = what.clone();
            async move { site.referrers(&subject, wanted.as_deref()).await }
        })
        .await
    }

    async fn read_manifest(
        &self,
        object: &str,
        digest: Option<&Digest>,
    ) -> Result<RawManifest, RegistryError> {
        let what = (object.to_owned(), digest.cloned());
        self.at_first_site(digest.is_some(), move |site| {
            let (object, digest) = what.clone();
            async move { site.read_manifest(&object, digest.as_ref()).await }
        })
        .await
    }

    async fn find(&self, reference: &Reference) -> Result<Descriptor, RegistryError> {
        let (object, digest) = self.object(reference)?;
        self.at_first_site(digest.is_some(), move |site| {
            let (object, digest) = (object.clone(), digest.clone());
            async move { site.describe_manifest(&object, digest.as_ref()).await }
        })
        .await
    }

    async fn open(&self, descriptor: &Descriptor) -> Result<BlobReader, RegistryError> {
        if is_manifest(&descriptor.media_type) {
            let digest = &descriptor.digest;
            let manifest = self.read_manifest(digest.as_str(), Some(digest)).await?;
            let reader = io::Cursor::new(manifest.bytes);
            return Ok(Box::pin(Verified::new(reader, descriptor)));
        }
        Ok(self.download(descriptor, 0).await?.into_reader())
    }

    async fn download(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Download, RegistryError> {
        let open = |site: Site| async move {
            if !self.memory.trusts(&site, descriptor) {
                let call = site.blob_call(Method::GET, &descriptor.digest);
                return Err(site.fault(&call, ProtocolFault::WrongContent));
            }
            let base = site.endpoint.base.clone();
            let download = Download::open(descriptor.clone(), offset, site).await?;
            let given_by = &self.memory.given_by;
            let mut given_by = given_by.lock().expect("no panic under this lock");
            given_by.insert(descriptor.digest.clone(), base);
            Ok(download)
        };
        let download = self.at_first_site(true, open).await?;
        let origin = match self.mirrors.first() {
            Some(_) => self.origin().await.ok(),
            None => None,
        };
        let origin = origin.filter(|site| self.memory.trusts(site, descriptor));
        Ok(download.with_origin(origin))
    }

    async fn put_tag(
        &self,
        descriptor: &Descriptor,
        reference: &Reference,
    ) -> Result<(), RegistryError> {
        self.object(reference)?;
        let Some(tag) = reference.tag() else {
            return Ok(());
        };
        let known = {
            let pushed = self.memory.pushed.lock().expect("no panic under this lock");
            pushed.get(&descriptor.digest).cloned()
        };
        let site = self.origin().await?;
        let digest = &descriptor.digest;
        let manifest = match known {
            Some(manifest) => manifest,
            None => site.read_manifest(digest.as_str(), Some(digest)).await?,
        };
        site.put_manifest(tag, &manifest.media_type, manifest.bytes)
            .await?;
        Ok(())
    }

    /// Returns how the manifest is asked for: by digest where there is one, by tag otherwise.
    fn object(&self, reference: &Reference) -> Result<(String, Option<Digest>), RegistryError> {
        if reference.registry() != self.registry || reference.repository() != self.name {
            return Err(RegistryError::OtherRepository {
                reference: reference.to_string(),
                registry: self.registry.clone(),
                repository: self.name.clone(),
            });
        }
        let digest = reference.digest().cloned();
        let object = match (&digest, reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        Ok((object, digest))
    }

    /// Reads from the first mirror that can, or else from the registry itself.
    async fn at_first_site<T, Reading>(
        &self,
        by_digest: bool,
        read: impl Fn(Site) -> Reading,
    ) -> Result<T, RegistryError>
    where
        Reading: Future<Output = Result<T, RegistryError>>,
    {
        rules::check(&self.shared.config.rules, &self.registry, &self.name)?;
        let mut failed = None;
        for mirror in self
            .mirrors
            .iter()
            .filter(|mirror| mirror.serves(by_digest))
        {
            match self.mirror(mirror).await {
                Ok(site) if site.endpoint.is_dead() => {}
                Ok(site) => match read(site.clone()).await {
                    Ok(found) => return Ok(found),
                    Err(error) => failed = Some(site.note_failure(error)),
                },
                Err(error) => failed = Some(error),
            }
        }
        let result = match self.origin().await {
            Ok(site) => read(site).await,
            Err(error) => Err(error),
        };
        result.map_err(|error| self.after_mirror(failed, error))
    }

    /// Joins the registry's refusal with that of the mirror that was asked before.
    fn after_mirror(&self, mirror: Option<RegistryError>, error: RegistryError) -> RegistryError {
        match mirror {
            None => error,
            Some(mirror) => RegistryError::Mirrors {
                registry: self.registry.clone(),
                mirror: Box::new(mirror),
                source: Box::new(error),
            },
        }
    }

    async fn mirror(&self, place: &MirrorPlace) -> Result<Site, RegistryError> {
        let MirrorPlace { mirror, repository } = place;
        let mut site = self
            .site(&mirror.host, mirror.scheme, repository.clone())
            .await?;
        site.policy.attempts = site.policy.attempts.min(MIRROR_ATTEMPTS);
        Ok(site)
    }

    async fn origin(&self) -> Result<Site, RegistryError> {
        rules::check(&self.shared.config.rules, &self.registry, &self.name)?;
        let Place { host, repository } = &self.place;
        self.site(host, MirrorScheme::Probed, repository.clone())
            .await
    }

    async fn site(
        &self,
        host: &str,
        scheme: MirrorScheme,
        repository: String,
    ) -> Result<Site, RegistryError> {
        let shared = self.shared.clone();
        let endpoints = &shared.endpoints;
        let endpoint = endpoints.get(&shared.transport, host, scheme).await?;
        Ok(Site {
            authorizer: shared.authorizer(&endpoint),
            endpoint,
            scopes: self.scopes(&repository),
            repository,
            policy: shared.config.retry,
            shared: self.shared.clone(),
        })
    }

    fn scopes(&self, repository: &str) -> Arc<[String]> {
        let actions = match self.actions {
            Actions::Pull => "pull",
            Actions::PullPush => "pull,push",
            Actions::Delete => "pull,push,delete",
        };
        let own = format!("repository:{repository}:{actions}");
        let other = self.mount_from.as_ref();
        let other = other.map(|other| format!("repository:{other}:pull"));
        [own].into_iter().chain(other).collect()
    }
}

fn is_manifest(media_type: &MediaType) -> bool {
    media_type.is_manifest() || media_type.is_index()
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Repository({}/{}, {:?})",
            self.registry, self.name, self.actions
        )
    }
}

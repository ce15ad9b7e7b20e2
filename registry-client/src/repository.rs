//! One repository as a place to fetch from and push to.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::{fmt, io};

use bytes::Bytes;
use mica_oci::{
    BlobReader, ContractError, Descriptor, Digest, Fetch, MediaType, Push, Reference, Resolve, Tag,
    Verified,
};
use tokio::io::AsyncReadExt;

use crate::download::Download;
use crate::manifests::RawManifest;
use crate::registry::Shared;
use crate::site::Site;
use crate::upload::Upload;
use crate::{Actions, Mirror, MirrorScheme, RegistryError};

/// A mirror is one of several ways: it gets less patience than the registry.
const MIRROR_ATTEMPTS: u32 = 2;
/// Content up to this size is kept in memory while it is pushed, so that it can be sent again.
const SMALL: u64 = 4 << 20;

/// One repository of a registry; cheap to clone.
#[derive(Clone)]
pub struct Repository {
    shared: Arc<Shared>,
    registry: String,
    name: String,
    actions: Actions,
    mount_from: Option<String>,
    memory: Arc<Memory>,
}

/// What was seen a moment ago, so that it is not asked again.
#[derive(Default)]
struct Memory {
    /// Blobs that [`Push::contains`] did not find.
    absent: Mutex<HashSet<Digest>>,
    /// Manifests that were pushed, for the tags that follow.
    pushed: Mutex<HashMap<Digest, RawManifest>>,
}

impl Repository {
    pub(crate) fn new(shared: Arc<Shared>, reference: &Reference, actions: Actions) -> Self {
        Self {
            shared,
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
        self.at_first_site(|site| async move { site.list_tags().await })
            .await
    }

    /// Pushes a blob that can be read again: `open` is called with the offset to start at.
    ///
    /// After a cut the upload goes on where the registry says, or from the start where it cannot.
    ///
    /// # Errors
    /// [`RegistryError::Content`] when the content cannot be read or is not what `descriptor` says.
    pub async fn push_with<F, Opening>(
        &self,
        descriptor: &Descriptor,
        open: F,
    ) -> Result<(), RegistryError>
    where
        F: Fn(u64) -> Opening + Send + Sync,
        Opening: Future<Output = io::Result<BlobReader>> + Send,
    {
        let site = self.origin().await?;
        let upload = self.upload(&site, descriptor);
        if self.is_there(&upload).await? {
            return Ok(());
        }
        match upload.start().await? {
            Some(session) => upload.patiently(session, open).await,
            None => Ok(()),
        }
    }

    fn upload<'a>(&'a self, site: &'a Site, descriptor: &'a Descriptor) -> Upload<'a> {
        Upload {
            site,
            descriptor,
            mount_from: self.mount_from.as_deref(),
        }
    }

    /// Asks, unless [`Push::contains`] has just been told that it is not.
    async fn is_there(&self, upload: &Upload<'_>) -> Result<bool, RegistryError> {
        let known_absent = {
            let mut absent = self.memory.absent.lock().expect("no panic under this lock");
            absent.remove(&upload.descriptor.digest)
        };
        Ok(!known_absent && upload.is_there().await?)
    }

    async fn push_blob(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<(), RegistryError> {
        let site = self.origin().await?;
        let upload = self.upload(&site, descriptor);
        if self.is_there(&upload).await? {
            return Ok(());
        }
        let Some(session) = upload.start().await? else {
            return Ok(());
        };
        if descriptor.size > SMALL {
            return upload.once(session, content).await;
        }
        let bytes = match self.buffer(descriptor, content).await {
            Ok(bytes) => bytes,
            Err(error) => return upload.abandon(session, Err(error)).await,
        };
        let open = |offset: u64| {
            let rest = bytes.slice(offset as usize..);
            async { Ok(Box::pin(io::Cursor::new(rest)) as BlobReader) }
        };
        upload.patiently(session, open).await
    }

    async fn push_manifest(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<(), RegistryError> {
        let site = self.origin().await?;
        let manifest = RawManifest {
            media_type: descriptor.media_type.clone(),
            bytes: self.buffer(descriptor, content).await?,
            digest: descriptor.digest.clone(),
        };
        let object = descriptor.digest.as_str();
        site.put_manifest(object, &manifest.media_type, manifest.bytes.clone())
            .await?;
        let mut pushed = self.memory.pushed.lock().expect("no panic under this lock");
        pushed.insert(descriptor.digest.clone(), manifest);
        Ok(())
    }

    /// Reads small content into memory and verifies it.
    async fn buffer(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<Bytes, RegistryError> {
        let unreadable = |source| RegistryError::Content {
            registry: self.registry.clone(),
            repository: self.name.clone(),
            digest: descriptor.digest.clone(),
            source,
        };
        if descriptor.size > SMALL {
            return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
        }
        let mut bytes = Vec::with_capacity(descriptor.size as usize);
        let mut content = Verified::new(content, descriptor);
        content.read_to_end(&mut bytes).await.map_err(unreadable)?;
        Ok(bytes.into())
    }

    async fn read_manifest(
        &self,
        object: &str,
        digest: Option<&Digest>,
    ) -> Result<RawManifest, RegistryError> {
        let what = (object.to_owned(), digest.cloned());
        self.at_first_site(move |site| {
            let (object, digest) = what.clone();
            async move { site.read_manifest(&object, digest.as_ref()).await }
        })
        .await
    }

    async fn find(&self, reference: &Reference) -> Result<Descriptor, RegistryError> {
        let (object, digest) = self.object(reference)?;
        self.at_first_site(move |site| {
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
        let open = |site| Download::open(descriptor.clone(), site);
        let download = self.at_first_site(open).await?;
        let origin = match self.mirrors().next() {
            Some(_) => self.origin().await.ok(),
            None => None,
        };
        Ok(download.with_origin(origin).into_reader())
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
            .await
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
        read: impl Fn(Site) -> Reading,
    ) -> Result<T, RegistryError>
    where
        Reading: Future<Output = Result<T, RegistryError>>,
    {
        let mut failed = None;
        for mirror in self.mirrors() {
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

    fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        let mirrors = self.shared.config.mirrors.get(&self.registry);
        let mirrors = mirrors.filter(|_| self.actions == Actions::Pull);
        mirrors.into_iter().flatten()
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

    async fn mirror(&self, mirror: &Mirror) -> Result<Site, RegistryError> {
        let name = format!("{}{}", mirror.prefix, self.name);
        let mut site = self.site(&mirror.host, mirror.scheme, name).await?;
        site.policy.attempts = site.policy.attempts.min(MIRROR_ATTEMPTS);
        Ok(site)
    }

    async fn origin(&self) -> Result<Site, RegistryError> {
        self.site(&self.registry, MirrorScheme::Probed, self.name.clone())
            .await
    }

    async fn site(
        &self,
        host: &str,
        scheme: MirrorScheme,
        repository: String,
    ) -> Result<Site, RegistryError> {
        let shared = self.shared.clone();
        let client = &shared.transport.registry;
        let endpoint = shared.endpoints.get(client, host, scheme).await?;
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

impl Fetch for Repository {
    async fn fetch(&self, descriptor: &Descriptor) -> Result<BlobReader, ContractError> {
        Ok(self.open(descriptor).await?)
    }
}

impl Push for Repository {
    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, ContractError> {
        let site = self.origin().await?;
        let found = self.upload(&site, descriptor).is_there().await?;
        if !found {
            let mut absent = self.memory.absent.lock().expect("no panic under this lock");
            absent.insert(descriptor.digest.clone());
        }
        Ok(found)
    }

    async fn push(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<(), ContractError> {
        if is_manifest(&descriptor.media_type) {
            return Ok(self.push_manifest(descriptor, content).await?);
        }
        Ok(self.push_blob(descriptor, content).await?)
    }
}

impl Resolve for Repository {
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, ContractError> {
        Ok(self.find(reference).await?)
    }
}

impl Tag for Repository {
    async fn tag(
        &self,
        descriptor: &Descriptor,
        reference: &Reference,
    ) -> Result<(), ContractError> {
        Ok(self.put_tag(descriptor, reference).await?)
    }
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

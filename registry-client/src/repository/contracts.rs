//! The contracts of `mica-oci`, implemented by a repository.

use std::io;

use mica_oci::{
    BlobReader, ContractError, Descriptor, Fetch, Growing, Push, Reference, Resolve, Tag,
};

use super::{Repository, is_manifest};

impl Fetch for Repository {
    async fn fetch(&self, descriptor: &Descriptor) -> Result<BlobReader, ContractError> {
        Ok(self.open(descriptor).await?)
    }

    async fn fetch_from(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<BlobReader, ContractError> {
        Ok(self.download(descriptor, offset).await?.into_unverified())
    }

    /// Has the content come from the next mirror, or from the registry itself.
    fn distrust(&self, descriptor: &Descriptor) -> bool {
        let digest = &descriptor.digest;
        let given_by = {
            let mut all = self
                .memory
                .given_by
                .lock()
                .expect("no panic under this lock");
            all.remove(digest)
        };
        let Some(base) = given_by else { return false };
        let memory = &self.memory.distrusted;
        let mut distrusted = memory.lock().expect("no panic under this lock");
        distrusted.insert((base, digest.clone()));
        let bad = distrusted.iter().filter(|(_, other)| other == digest);
        bad.count() <= self.mirrors.len()
    }
}

impl Push for Repository {
    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, ContractError> {
        let site = self.origin().await?;
        let found = self.upload(&site, descriptor).is_there().await?;
        if found {
            self.forget_upload(descriptor);
        } else {
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

    async fn push_from<S: Fetch>(
        &self,
        descriptor: &Descriptor,
        source: &S,
    ) -> Result<(), ContractError> {
        if is_manifest(&descriptor.media_type) {
            let content = source.fetch(descriptor).await?;
            return self.push(descriptor, content).await;
        }
        let open = |offset: u64| async move {
            let content = match offset {
                0 => source.fetch(descriptor).await,
                _ => source.fetch_from(descriptor, offset).await,
            };
            content.map_err(io::Error::other)
        };
        Ok(self.push_with(descriptor, open).await?)
    }

    async fn push_growing<G: Growing>(&self, content: &G) -> Result<Descriptor, ContractError> {
        self.push_ahead(content).await
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

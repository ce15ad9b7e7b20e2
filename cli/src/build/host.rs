//! What a build asks of the program around it: base images, and someone to look on.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use mica_builder::{
    Answer, BaseImages, CacheExport, CacheSource, Download, DownloadRequest, Event, MountImport,
    StepId, Want,
};
use mica_oci::{Platform, Reference};
use mica_registry_client::{Actions, FileMethod, FileRequest, Registry};
use mica_store::{Image, Store};
use tokio::runtime::Runtime;

use super::cache_options::Caches;
use super::progress::Display;
use super::transfer::StepTransfer;

/// When a base image is asked for at its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    /// When the store has none: the default.
    Missing,
    /// Always: `--pull`.
    Always,
}

/// The store and the registries behind a build.
pub(crate) struct Host<'h> {
    pub(crate) store: &'h Store,
    pub(crate) display: &'h Display,
    pub(crate) pull: Pull,
    /// Where caches come from and go.
    pub(crate) caches: Caches,
    /// Makes the registry client; most builds never need it.
    pub(crate) connect: &'h (dyn Fn() -> Result<Registry, Failure> + Sync),
    pub(crate) connection: OnceLock<(Registry, Runtime)>,
}

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Host<'_> {
    fn stored(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, Failure> {
        let Some(target) = self.store.resolve_tag(reference)? else {
            return Ok(None);
        };
        let image = self.store.image(&target, Some(platform))?;
        Ok(image
            .config
            .value()
            .platform()
            .satisfies(platform)
            .then_some(image))
    }

    fn connection(&self) -> Result<&(Registry, Runtime), Failure> {
        if let Some(connection) = self.connection.get() {
            return Ok(connection);
        }
        let connection = ((self.connect)()?, Runtime::new()?);
        Ok(self.connection.get_or_init(|| connection))
    }
}

impl Download for Host<'_> {
    fn download(
        &self,
        request: &DownloadRequest<'_>,
        content: &mut dyn Write,
    ) -> Result<Answer, Failure> {
        fetch(self.connection()?, request, content)
    }
}

/// Passes a request on to the client of registries.
pub(super) fn fetch(
    (registry, runtime): &(Registry, Runtime),
    request: &DownloadRequest<'_>,
    content: &mut dyn Write,
) -> Result<Answer, Failure> {
    let request = FileRequest {
        url: request.url,
        method: match request.want {
            Want::Headers => FileMethod::Head,
            Want::Content => FileMethod::Get,
        },
        etag: request.etag,
        modified_since: request.modified_since,
        authorization: request.authorization,
    };
    let answer = runtime.block_on(registry.file(&request, content))?;
    Ok(Answer {
        status: answer.status,
        etag: answer.etag,
        last_modified: answer.last_modified,
    })
}

impl BaseImages for Host<'_> {
    fn image(
        &self,
        step: StepId,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Image, Failure> {
        if self.pull == Pull::Missing
            && let Some(image) = self.stored(reference, platform)?
        {
            return Ok(image);
        }
        let (registry, runtime) = self.connection()?;
        let source = registry.repository(reference, Actions::Pull);
        let progress = StepTransfer::new(self.display, step, reference.to_string());
        let pull = mica_store::pull(self.store, &source, reference, platform, &progress);
        Ok(runtime.block_on(pull)?)
    }

    fn event(&self, event: Event) {
        self.display.event(&event);
    }

    fn cache_sources(&self) -> &[Arc<dyn CacheSource>] {
        &self.caches.sources
    }

    fn mount_imports(&self) -> &[MountImport] {
        &self.caches.mounts
    }

    fn cache_exports(&self) -> &[CacheExport] {
        &self.caches.exports
    }
}

//! What a build asks of the program around it: base images, and someone to look on.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mica_builder::{
    Answer, BaseImages, CacheExport, CacheSource, Download, DownloadRequest, Event, MountImport,
    SealedLayer, StepId, Want,
};
use mica_oci::{Platform, Reference};
use mica_registry_client::{Actions, FileMethod, FileRequest, Registry};
use mica_store::{Image, Store};
use tokio::runtime::Runtime;

use super::cache_options::Caches;
use super::output::{Bases, Shipping};
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
    /// Held while a base image is pulled: several platforms of it have one name.
    pub(crate) pulling: Mutex<()>,
    /// The way up for finished layers, where the result is pushed.
    pub(crate) shipping: Option<&'h Shipping>,
    /// The images that were asked for.
    pub(crate) bases: Bases,
}

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Host<'_> {
    fn stored(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, Failure> {
        let Some(target) = self.store.resolve_tag(reference)? else {
            return Ok(None);
        };
        // An index may lack the platform, or that platform may never have been here.
        let Ok(image) = self.store.image(&target, Some(platform)) else {
            return Ok(None);
        };
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

impl Host<'_> {
    fn base(
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
        let _pulling = self.pulling.lock().unwrap_or_else(PoisonError::into_inner);
        if self.pull == Pull::Missing
            && let Some(image) = self.stored(reference, platform)?
        {
            return Ok(image);
        }
        let former = self.store.resolve_tag(reference)?;
        let (registry, runtime) = self.connection()?;
        let source = registry.repository(reference, Actions::Pull);
        let progress = StepTransfer::new(self.display, step, reference.to_string());
        let pull = mica_store::pull(self.store, &source, reference, platform, &progress);
        let image = runtime.block_on(pull)?;
        if let Some(former) = former {
            let join = mica_store::join_platforms(self.store, &source, reference, &former);
            runtime.block_on(join)?;
        }
        Ok(image)
    }
}

impl BaseImages for Host<'_> {
    fn image(
        &self,
        step: StepId,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Image, Failure> {
        let image = self.base(step, reference, platform)?;
        self.bases.note(reference, platform, &image.target.digest);
        Ok(image)
    }

    fn event(&self, event: Event) {
        self.display.event(&event);
    }

    fn layer(&self, layer: SealedLayer) {
        if let Some(shipping) = self.shipping {
            shipping.layer(&layer);
        }
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

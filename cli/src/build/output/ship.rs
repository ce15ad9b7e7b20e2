//! Pushing while building: a finished layer goes up, while it is compressed, and while later steps run.
//!
//! Nothing gets a name here. A layer that cannot be sent now is sent, or reported, with its image
//! when the build is done; what a failed build sent has no name, and the registry forgets it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mica_builder::SealedLayer;
use mica_oci::{Compression, Descriptor, Reference};
use mica_registry_client::{Actions, Registry, Repository};
use mica_store::{Codec, ExportForm, ImageSet, LayerForm, Store};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::deliver::export_form;
use super::{Form, Goal, Output, Push};
use crate::failure::{CliError, Failure};

/// Layers that are compressed at a time: each is compressed on all processors.
const COMPRESSIONS: usize = 2;

/// The registries that a build's result goes to.
pub(crate) struct Shipping {
    store: Store,
    registry: Registry,
    runtime: Runtime,
    routes: Vec<Arc<Route>>,
    sent: Mutex<Vec<JoinHandle<()>>>,
}

/// One form of an image, and the repositories that it goes to.
struct Route {
    form: Form,
    repositories: Vec<(Repository, Reference)>,
    compressions: Semaphore,
    uploads: Semaphore,
}

impl Shipping {
    /// Prepares for the outputs that are pushed; `None` when there are none.
    pub(crate) fn new(
        store: &Store,
        goal: &Goal,
        connect: impl FnOnce() -> Result<Registry, Failure>,
    ) -> Result<Option<Self>, Failure> {
        if !goal.outputs.iter().any(Output::is_pushed) {
            return Ok(None);
        }
        let registry = connect()?;
        let runtime = Runtime::new().map_err(|source| CliError::File {
            action: "start the threads of a transfer, with",
            path: "/proc/self".into(),
            source,
        })?;
        let pushed = goal.outputs.iter().filter(|output| output.is_pushed());
        let routes = pushed.map(|output| {
            let mut places = BTreeMap::new();
            for name in output.names(&goal.tags) {
                let place = (name.registry().to_owned(), name.repository().to_owned());
                places.entry(place).or_insert_with(|| {
                    (registry.repository(name, Actions::PullPush), name.clone())
                });
            }
            Arc::new(Route {
                form: output.form.clone(),
                repositories: places.into_values().collect(),
                compressions: Semaphore::new(COMPRESSIONS),
                uploads: Semaphore::new(store.transfers().uploads.get()),
            })
        });
        Ok(Some(Self {
            store: store.clone(),
            routes: routes.collect(),
            registry,
            runtime,
            sent: Mutex::default(),
        }))
    }

    /// Sends a layer, in the background.
    pub(crate) fn layer(&self, layer: &SealedLayer) {
        for route in &self.routes {
            let form = export_form(&route.form, layer.epoch, Codec::GZIP);
            let sending = send(Arc::clone(route), self.store.clone(), layer.clone(), form);
            let handle = self.runtime.spawn(sending);
            self.sent
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(handle);
        }
    }

    /// Pushes an image, or an index with its images, under all names.
    pub(crate) fn push(
        &self,
        set: &ImageSet,
        names: &[Reference],
        push: Push,
    ) -> Result<(), Failure> {
        self.wait();
        for name in names {
            let repository = self.registry.repository(name, Actions::PullPush);
            let nameless;
            let name = match push {
                Push::ByDigest => {
                    let digest = &set.target().digest;
                    nameless = format!("{}@{digest}", name.familiar_repository()).parse()?;
                    &nameless
                }
                Push::No | Push::Named => name,
            };
            self.runtime.block_on(mica_store::push_set(
                &self.store,
                set,
                &repository,
                name,
                &(),
            ))?;
        }
        Ok(())
    }

    fn wait(&self) {
        let sent = std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        self.runtime.block_on(async {
            for handle in sent {
                // What did not go up now goes up with the image.
                let _ = handle.await;
            }
        });
    }

    /// Gives up what is still on its way.
    pub(crate) fn close(self) {
        self.runtime.shutdown_background();
    }
}

/// Sends a layer to all repositories of a route, the first of which gets it while it is compressed,
/// where it goes in the usual form. Errors come again with the image.
async fn send(route: Arc<Route>, store: Store, layer: SealedLayer, form: ExportForm) {
    let is_plain = layer.descriptor.media_type.layer_compression() == Some(Compression::None);
    let _compressing = match is_plain {
        true => route.compressions.acquire().await.ok(),
        false => None,
    };
    let Ok(_uploading) = route.uploads.acquire().await else {
        return;
    };
    let (diff_id, origin) = (layer.diff_id.clone(), layer.origin);
    let (outgoing, form) = match form.is_that_of_push(origin) {
        true => (layer.descriptor, LayerForm::Compressed),
        false => match exported(&store, layer, form).await {
            Some(blob) => (blob, LayerForm::AsListed),
            None => return,
        },
    };
    for (repository, name) in &route.repositories {
        let layer = (&outgoing, &diff_id);
        let sent = mica_store::push_layer(&store, layer, form, repository, name);
        if let Err(_later) = sent.await {
            return;
        }
    }
}

async fn exported(store: &Store, layer: SealedLayer, form: ExportForm) -> Option<Descriptor> {
    let store = store.clone();
    let exported = tokio::task::spawn_blocking(move || {
        store.export_layer(&layer.descriptor, &layer.diff_id, layer.origin, &form)
    });
    Some(exported.await.ok()?.ok()?.descriptor)
}

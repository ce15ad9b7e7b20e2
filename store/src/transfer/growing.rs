//! A layer that is sent while it is compressed.

use std::io;
use std::sync::{Arc, OnceLock};

use mica_oci::{BlobReader, ContractError, Descriptor, DiffId, Digest, Fetch};
use tokio::sync::mpsc::UnboundedSender;

use super::blocking;
use super::streams::{counted, produce};
use crate::growth::{Follower, Growth};
use crate::{Codec, Store, StoreError};

/// The reading end of a layer that [`compress`] makes. Dropping it stops that.
pub(super) struct GrowingLayer {
    store: Store,
    diff_id: DiffId,
    follower: Follower,
    whole: Arc<OnceLock<Descriptor>>,
    told: UnboundedSender<u64>,
}

/// Returns a layer as it will be when it is compressed, and what compresses it, which blocks.
/// `told` hears how many bytes of it were read.
pub(super) fn compress(
    store: &Store,
    diff_id: DiffId,
    told: UnboundedSender<u64>,
) -> (
    GrowingLayer,
    impl FnOnce() -> Result<Descriptor, StoreError> + use<>,
) {
    let growth = Growth::default();
    let layer = GrowingLayer {
        store: store.clone(),
        diff_id: diff_id.clone(),
        follower: growth.follower(),
        whole: Arc::default(),
        told,
    };
    let (store, whole) = (store.clone(), Arc::clone(&layer.whole));
    let make = move || {
        let blob = store.compressed_by_diff_id(&diff_id, Codec::GZIP, Some(&growth))?;
        let blob = whole.get_or_init(|| blob).clone();
        growth.whole();
        Ok(blob)
    };
    (layer, make)
}

impl GrowingLayer {
    /// Tells whether it is the compression that failed.
    pub(super) fn has_failed(&self) -> bool {
        self.follower.has_failed()
    }
}

impl mica_oci::Growing for GrowingLayer {
    fn origin(&self) -> &Digest {
        &self.diff_id.0
    }

    async fn wait_for(&self, length: u64) -> Result<Option<Descriptor>, ContractError> {
        let follower = self.follower.clone();
        let is_whole = blocking(move || follower.wait_for(length)).await?;
        Ok(self.whole.get().filter(|_| is_whole).cloned())
    }

    /// What is whole is in the store, also when nothing had to be made for it.
    async fn open(&self, offset: u64) -> Result<BlobReader, ContractError> {
        let content = match self.whole.get() {
            Some(blob) => self.store.fetch_from(blob, offset).await?,
            None => {
                let mut follower = self.follower.at(offset);
                let follow = move |out: &mut _| io::copy(&mut follower, out).map(drop);
                Box::pin(produce(follow))
            }
        };
        Ok(counted(content, offset, &self.told))
    }
}

//! Import: a tar stream of a whole file system becomes an image of one layer.

use std::io::Read;

use mica_oci::{Descriptor, ImageConfig, MediaType};

use crate::{Image, LayerStorage, Stack, Store, StoreError};

impl Store {
    /// Makes an image of a tar stream, plain or compressed, that holds a whole file system.
    /// `config` gets the layer; nothing keeps the image until it gets a name.
    ///
    /// # Errors
    /// When the stream cannot be read to its end or applied; nothing is visible then.
    pub fn import(&self, stream: impl Read, mut config: ImageConfig) -> Result<Image, StoreError> {
        let _held = self.hold()?;
        if self.layer_storage() == LayerStorage::Packed {
            let (diff_id, layer) = self.pack_unknown(stream)?;
            config.rootfs.diff_ids.push(diff_id);
            return self.put_image(config, vec![layer]);
        }
        let writer = self.unpack_unknown(&Stack::default(), stream)?;
        let layer = writer.commit()?;
        // The tar that we make of the files, which can be made again: not the one that came.
        let description = self.describe(&layer)?;
        self.register(None, layer, &description)?;
        config.rootfs.diff_ids.push(description.diff_id.clone());
        let digest = description.diff_id.0.clone();
        let layer = Descriptor::new(MediaType::OCI_LAYER, digest, description.size);
        self.put_image(config, vec![layer])
    }
}

//! A store that keeps layers packed.

use mica_oci::{Descriptor, DiffId, Digest, ImageConfig, MediaType, Platform};
use mica_store::{Stack, StoreError};

use super::TestStore;

fn tar(content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path("f").unwrap();
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn an_imported_tar_is_kept_as_it_came() {
    let store = TestStore::packed();
    let tar = tar(b"1");
    let config = ImageConfig::scratch(&Platform::host());
    let image = store.import(&tar[..], config.clone()).unwrap();
    let diff_ids = &image.config.value().rootfs.diff_ids;
    assert_eq!(*diff_ids, [DiffId(Digest::of(&tar))]);
    assert!(store.has_blob(&image.manifest.value().layers[0].digest));
    assert!(store.import(&tar[..512], config).is_err());
}

#[test]
fn nothing_is_unpacked() {
    let store = TestStore::packed();
    let tar = tar(b"1");
    let descriptor = Descriptor::of(MediaType::OCI_LAYER, &tar);
    let diff_id = DiffId(descriptor.digest.clone());
    let applied = store.apply_layer(&Stack::default(), &diff_id, &descriptor, &tar[..]);
    assert!(
        matches!(applied, Err(StoreError::Packed { .. })),
        "{applied:?}"
    );
}

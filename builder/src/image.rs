//! From a stage's state to an image in the store.

use jiff::Timestamp;
use mica_oci::{History, ImageConfig};
use mica_store::{Image, Store};

use crate::error::ErrorKind;
use crate::exchange::{self, CacheStep};
use crate::history::COMMENT;
use crate::metadata::add_labels;
use crate::request::BuildRequest;
use crate::seal::Sealed;
use crate::state::StageState;

/// Waits for the layers, writes configuration and manifest, and gives the image its tags.
///
/// The store brings everything to the disk before the first tag points at it.
pub(crate) fn assemble(
    store: &Store,
    request: &BuildRequest,
    now: Timestamp,
    state: &StageState,
    inline: Option<Vec<CacheStep>>,
) -> Result<Image, ErrorKind> {
    // An image in the store can be run: layers of an imported cache are fetched now.
    state.stack()?;
    let sealed = state
        .layers
        .iter()
        .map(|built| built.seal.wait())
        .collect::<Result<Vec<_>, _>>()?;
    let mut config = finished_config(now, state, &sealed);
    add_labels(&mut config.config, &request.labels);
    if let Some(steps) = inline {
        exchange::inline(&mut config, steps);
    }
    let layers = sealed.into_iter().map(|sealed| sealed.descriptor).collect();
    let image = store.put_image(config, layers)?;
    if request.tags.is_empty() {
        store.keep_untagged(&image.target)?;
    }
    for tag in &request.tags {
        store.tag_image(&image.target, tag)?;
    }
    Ok(image)
}

fn finished_config(now: Timestamp, state: &StageState, sealed: &[Sealed]) -> ImageConfig {
    let mut config = state.config.clone();
    config.rootfs.diff_ids = sealed.iter().map(|sealed| sealed.diff_id.clone()).collect();
    let mut time = config
        .history
        .last()
        .and_then(|entry| entry.created)
        .or(config.created);
    for step in &state.steps {
        // A layer that was reused keeps the time it was made at, so that a build which changes
        // nothing gives the very same image.
        let made = step.layer.and_then(|index| sealed[index].created);
        time = made
            .or(time)
            .or_else(|| first_layer_time(sealed))
            .or(Some(now));
        config.history.push(History {
            created: time,
            created_by: Some(step.created_by.clone()),
            author: None,
            comment: Some(COMMENT.to_owned()),
            empty_layer: step.layer.is_none(),
        });
    }
    config.created = time.or(Some(now));
    config
}

fn first_layer_time(sealed: &[Sealed]) -> Option<Timestamp> {
    sealed.iter().find_map(|sealed| sealed.created)
}

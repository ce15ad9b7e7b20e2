//! From a stage's state to an image in the store.

use jiff::Timestamp;
use mica_oci::{History, ImageConfig};

use crate::engine::{Built, Engine};
use crate::error::ErrorKind;
use crate::exchange::{self, CacheStep};
use crate::history::COMMENT;
use crate::metadata::add_labels;
use crate::seal::Sealed;
use crate::squash::{Squashed, squash};
use crate::state::StageState;

/// Waits for the layers and writes configuration and manifest. Nothing has a name yet: the store
/// brings everything to the disk before one points at it.
pub(crate) fn assemble(
    engine: &Engine<'_>,
    state: &StageState,
    inline: Option<Vec<CacheStep>>,
) -> Result<Built, ErrorKind> {
    let (store, request) = (engine.store, engine.request);
    // An image in the store can be run: layers of an imported cache are fetched now.
    state.stack()?;
    let sealed = state
        .layers
        .iter()
        .map(|built| built.seal.wait())
        .collect::<Result<Vec<_>, _>>()?;
    let mut config = finished_config(engine.now, state, &sealed);
    let mut layers = sealed;
    if let Some(wanted) = &request.squash {
        let names = |stage: usize| engine.stage_name(stage);
        let squashed = squash(store, wanted, state, names, layers)?;
        tell_of_merging(&mut config, &squashed);
        layers = squashed.layers;
    }
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    if let Some(epoch) = engine.epoch {
        limit_times(&mut config, epoch);
    }
    add_labels(&mut config.config, &request.labels);
    if let Some(steps) = inline {
        exchange::inline(&mut config, steps);
    }
    let base_layers = state.starts.first().map_or(0, |start| start.layers);
    let layers = layers.into_iter().map(|sealed| sealed.descriptor).collect();
    let image = store.put_image(config, layers)?;
    Ok(Built {
        platform: request.platform.clone(),
        image,
        base_layers,
        epoch: engine.epoch,
    })
}

fn finished_config(now: Timestamp, state: &StageState, sealed: &[Sealed]) -> ImageConfig {
    let mut config = state.config.clone();
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

/// Steps whose layers were merged keep their place in the history; the merged layer comes last.
fn tell_of_merging(config: &mut ImageConfig, squashed: &Squashed) {
    let Some(first) = squashed.merged else { return };
    let with_layer = config.history.iter_mut().filter(|entry| !entry.empty_layer);
    for entry in with_layer.skip(first) {
        entry.empty_layer = true;
    }
    let parts: Vec<_> = squashed.parts.iter().map(ToString::to_string).collect();
    config.history.push(History {
        created: squashed.layers[first].created.or(config.created),
        created_by: Some(format!("merge {} layers", parts.len())),
        comment: Some(format!("merged {}", parts.join(" "))),
        ..History::default()
    });
}

/// BuildKit's rule for a time that was given: the image is of then, its steps not later.
fn limit_times(config: &mut ImageConfig, epoch: Timestamp) {
    config.created = Some(epoch);
    for entry in &mut config.history {
        let earlier = entry.created.filter(|created| *created <= epoch);
        entry.created = Some(earlier.unwrap_or(epoch));
    }
}

//! What is kept of failed steps: the files as the command left them, to look at later.
//!
//! A record of kind `failed` names the layers of the failed step by their directories; while it is
//! there, collection keeps them. A process killed before the record is written leaves a layer that
//! nothing names, which collection removes.

use jiff::Timestamp;
use mica_store::{Layer, LayerId, Stack, Store};
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::event::StepSite;

/// The kind of the records.
pub(crate) const KIND: &str = "failed";

/// How many failed steps are kept; the oldest one goes first.
const MOST: usize = 5;

/// What is kept of a failed step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptFailure {
    /// The layers, bottom first; the last one is what the command wrote.
    layers: Vec<LayerId>,
    /// When it failed.
    failed: Timestamp,
    /// The Dockerfile and context.
    source: String,
    /// The stage's name and the step's number: a step that fails again replaces what was kept of it.
    step: (String, usize),
}

/// Keeps a failed step's files; returns the name that they are found by.
pub(crate) fn keep(
    store: &Store,
    source: &str,
    site: &StepSite,
    below: &Stack,
    layer: &Layer,
) -> Result<String, ErrorKind> {
    let id = layer.id.as_str().to_owned();
    let layers = below.layers.iter().chain([layer]);
    let failure = KeptFailure {
        layers: layers.map(|layer| layer.id.clone()).collect(),
        failed: Timestamp::now(),
        source: source.to_owned(),
        step: (site.stage.clone(), site.number),
    };
    let mut known = all(store)?;
    let json = serde_json::to_string(&failure).expect("a record is plain JSON");
    store.records().put(KIND, &id, &json)?;
    known.sort_by_key(|(_, kept)| std::cmp::Reverse(kept.failed));
    let same = |kept: &KeptFailure| (&kept.source, &kept.step) == (&failure.source, &failure.step);
    let (replaced, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|(_, kept)| same(kept));
    for (id, kept) in replaced
        .into_iter()
        .chain(others.into_iter().skip(MOST - 1))
    {
        forget(store, &id, &kept)?;
    }
    Ok(id)
}

/// Returns the files of a failed step; `None` when they are not kept any more.
pub(crate) fn stack(store: &Store, id: &str) -> Result<Option<Stack>, ErrorKind> {
    let Some(value) = store.records().get(KIND, id)? else {
        return Ok(None);
    };
    let Ok(kept) = serde_json::from_str::<KeptFailure>(&value) else {
        return Ok(None);
    };
    Ok(Some(store.stack_of_layers(&kept.layers)?))
}

/// Forgets what is kept of all failed steps; returns how many there were.
///
/// # Errors
/// When the store's records cannot be written, or a layer cannot be removed.
pub fn forget_failures(store: &Store) -> Result<usize, ErrorKind> {
    let known = all(store)?;
    for (id, kept) in &known {
        forget(store, id, kept)?;
    }
    // Those that cannot be read, too.
    store.records().remove_all(KIND)?;
    Ok(known.len())
}

fn all(store: &Store) -> Result<Vec<(String, KeptFailure)>, ErrorKind> {
    let entries = store.records().entries(KIND)?.into_iter();
    let read = |(id, value): (String, String)| Some((id, serde_json::from_str(&value).ok()?));
    Ok(entries.filter_map(read).collect())
}

fn forget(store: &Store, id: &str, kept: &KeptFailure) -> Result<(), ErrorKind> {
    store.records().remove(KIND, id)?;
    if let Some(own) = kept.layers.last() {
        store.remove_unused_layer(own)?;
    }
    Ok(())
}

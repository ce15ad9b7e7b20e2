//! `--squash`: layers of the target as one, over the base image's.

use jiff::Timestamp;
use mica_oci::{ChainId, Descriptor, DiffId, MediaType};
use mica_store::{Stack, Store};

use crate::error::ErrorKind;
use crate::request::Squash;
use crate::seal::Sealed;
use crate::state::StageState;

/// Kind of the records that say what a run of layers became: the chains around it to diff ID and
/// size.
const KIND: &str = "squash";

/// The layers of an image some of which are one.
pub(crate) struct Squashed {
    /// The layers, bottom first.
    pub(crate) layers: Vec<Sealed>,
    /// The index of the merged layer; `None` when there was nothing to merge.
    pub(crate) merged: Option<usize>,
    /// The layers that were merged, as the history names them.
    pub(crate) parts: Vec<DiffId>,
}

/// Merges the layers that `squash` asks for.
pub(crate) fn squash(
    store: &Store,
    squash: &Squash,
    state: &StageState,
    stage_names: impl Fn(usize) -> String,
    sealed: Vec<Sealed>,
) -> Result<Squashed, ErrorKind> {
    let first = first_layer(squash, state, stage_names)?;
    let parts: Vec<_> = sealed[first..].iter().map(|s| s.diff_id.clone()).collect();
    if parts.len() < 2 {
        return Ok(Squashed {
            layers: sealed,
            merged: None,
            parts: Vec::new(),
        });
    }
    let stack = state.stack()?;
    let below = Stack {
        layers: stack.layers[..first].to_vec(),
    };
    let parent = first
        .checked_sub(1)
        .map(|index| sealed[index].chain.clone());
    let created = sealed[first..].iter().filter_map(|s| s.created).max();
    let top = &sealed[sealed.len() - 1].chain;
    let merged = match known(store, parent.as_ref(), top, created)? {
        Some(known) => known,
        None => {
            let layer = store.squash(&below, &stack.layers[first..])?;
            let description = store.describe(&layer)?;
            store.register(parent.as_ref(), layer, &description)?;
            let merged = sealed_of(
                parent.as_ref(),
                description.diff_id,
                description.size,
                created,
            );
            record(store, parent.as_ref(), top, &merged)?;
            merged
        }
    };
    let mut layers = sealed;
    layers.truncate(first);
    layers.push(merged);
    Ok(Squashed {
        layers,
        merged: Some(first),
        parts,
    })
}

/// Returns the index of the first layer to merge.
fn first_layer(
    squash: &Squash,
    state: &StageState,
    stage_names: impl Fn(usize) -> String,
) -> Result<usize, ErrorKind> {
    let starts = &state.starts;
    let base = starts.first().map_or(0, |start| start.layers);
    let Squash::From(text) = squash else {
        return Ok(base);
    };
    let named = starts
        .iter()
        .find(|start| stage_names(start.stage).eq_ignore_ascii_case(text));
    if let Some(start) = named {
        return Ok(start.layers);
    }
    // Steps are counted as progress shows them: FROM is the first one.
    let own = starts.last().map_or(0, |start| start.layers);
    let number = text.parse::<usize>().ok().and_then(|n| n.checked_sub(2));
    let index = number.map(|number| own + number);
    index
        .filter(|index| *index < state.layers.len())
        .ok_or_else(|| ErrorKind::Squash {
            from: text.clone(),
            stages: starts.iter().map(|s| stage_names(s.stage)).collect(),
            steps: state.layers.len() - own + 1,
        })
}

fn key(parent: Option<&ChainId>, top: &ChainId) -> String {
    let parent = parent.map_or("", |parent| parent.0.as_str());
    format!("{parent}..{}", top.0)
}

fn known(
    store: &Store,
    parent: Option<&ChainId>,
    top: &ChainId,
    created: Option<Timestamp>,
) -> Result<Option<Sealed>, ErrorKind> {
    let value = store.records().get(KIND, &key(parent, top))?;
    let known = value.and_then(|value| serde_json::from_str::<(DiffId, u64)>(&value).ok());
    let Some((diff_id, size)) = known else {
        return Ok(None);
    };
    let merged = sealed_of(parent, diff_id, size, created);
    Ok(store.layer(&merged.chain)?.map(|_| merged))
}

fn record(
    store: &Store,
    parent: Option<&ChainId>,
    top: &ChainId,
    merged: &Sealed,
) -> Result<(), ErrorKind> {
    let value = serde_json::json!((&merged.diff_id, merged.descriptor.size)).to_string();
    Ok(store.records().put(KIND, &key(parent, top), &value)?)
}

fn sealed_of(
    parent: Option<&ChainId>,
    diff_id: DiffId,
    size: u64,
    created: Option<Timestamp>,
) -> Sealed {
    Sealed {
        chain: ChainId::extend(parent, &diff_id),
        descriptor: Descriptor::new(MediaType::OCI_LAYER, diff_id.0.clone(), size),
        diff_id,
        created,
    }
}

//! The entries of the build cache.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mica_oci::{ChainId, Digest, Document, Index};
use mica_store::{RecordUse, Store, StoreError};

use crate::cache::{KIND as STEPS, StepRecord};
use crate::digests::KIND as DIGESTS;
use crate::error::ErrorKind;

/// As many digits as BuildKit's identifiers have.
const ID_LENGTH: usize = 25;

/// One entry of the build cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its name.
    pub id: String,
    /// What it is.
    pub kind: CacheKind,
    /// The entries that it is built upon.
    pub parents: Vec<String>,
    /// What it takes, in bytes.
    pub size: u64,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was last used.
    pub last_used: Timestamp,
    /// What made it.
    pub description: String,
    /// Whether something that runs now needs it.
    pub in_use: bool,
    /// Whether an image has the same layer, so that removing the entry frees nothing.
    pub shared: bool,
    pub(super) holds: Holds,
}

/// What is removed with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Records of a kind.
    Records(&'static str, Vec<String>),
    /// A directory or file.
    Path(PathBuf),
}

/// The kinds of entries, with BuildKit's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// The layer of a step.
    Regular,
    /// A cache mount.
    CacheMount,
    /// A git repository.
    Git,
    /// A download.
    Http,
    /// What is known of a context's files.
    Local,
}

impl CacheKind {
    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::CacheMount => "exec.cachemount",
            Self::Git => "source.git.checkout",
            Self::Http => "source.http",
            Self::Local => "source.local",
        }
    }
}

impl CacheEntry {
    /// Tells whether the entry can be removed now.
    pub fn is_reclaimable(&self) -> bool {
        !self.in_use
    }

    /// Tells whether the entry changes after it was made.
    pub fn is_mutable(&self) -> bool {
        self.kind != CacheKind::Regular
    }
}

/// Lists the build cache, the most recently used first.
pub fn usage(store: &Store) -> Result<Vec<CacheEntry>, ErrorKind> {
    let mut entries = steps(store)?;
    entries.extend(sources(store)?);
    let places = [
        ("mounts", CacheKind::CacheMount, "cached mount"),
        ("git", CacheKind::Git, "git snapshot"),
        ("downloads", CacheKind::Http, "http download"),
    ];
    for (name, kind, what) in places {
        entries.extend(directories(
            &store.root().join("cache").join(name),
            kind,
            what,
        )?);
    }
    entries.sort_by(|one, other| (other.last_used, &one.id).cmp(&(one.last_used, &other.id)));
    Ok(entries)
}

/// The steps by their layers: several keys may lead to one.
fn steps(store: &Store) -> Result<Vec<CacheEntry>, ErrorKind> {
    let (images, running) = (image_chains(store)?, running_layers(store)?);
    let mut found: BTreeMap<String, CacheEntry> = BTreeMap::new();
    for RecordUse {
        key,
        value,
        last_used,
    } in store.records().uses(STEPS)?
    {
        let Ok(record) = serde_json::from_str::<StepRecord>(&value) else {
            continue;
        };
        let last_used = time(last_used);
        let chain = ChainId::extend(record.parent.as_ref(), &record.diff_id);
        let id = short(&chain.0);
        if let Some(entry) = found.get_mut(&id) {
            entry.last_used = entry.last_used.max(last_used);
            if let Holds::Records(_, keys) = &mut entry.holds {
                keys.push(key);
            }
            continue;
        }
        let layer = store.layer(&chain)?;
        let described = layer.as_ref().and_then(|layer| layer.description.as_ref());
        found.insert(
            id.clone(),
            CacheEntry {
                id,
                kind: CacheKind::Regular,
                parents: record.parent.iter().map(|chain| short(&chain.0)).collect(),
                size: described.map_or(0, |layer| layer.content),
                created: record.created,
                last_used,
                description: record.instruction,
                in_use: layer.is_some_and(|layer| running.contains(layer.id.as_str())),
                shared: images.contains(&chain),
                holds: Holds::Records(STEPS, vec![key]),
            },
        );
    }
    Ok(found.into_values().collect())
}

fn sources(store: &Store) -> Result<Vec<CacheEntry>, ErrorKind> {
    let uses = store.records().uses(DIGESTS)?.into_iter();
    Ok(uses
        .map(|used| CacheEntry {
            id: short(&Digest::of(used.key.as_bytes())),
            kind: CacheKind::Local,
            parents: Vec::new(),
            size: used.value.len() as u64,
            created: None,
            last_used: time(used.last_used),
            description: format!("local source for {}", used.key),
            in_use: false,
            shared: false,
            holds: Holds::Records(DIGESTS, vec![used.key]),
        })
        .collect())
}

fn directories(root: &Path, kind: CacheKind, what: &str) -> Result<Vec<CacheEntry>, ErrorKind> {
    let failed = |source| ErrorKind::io("read", root)(source);
    let listed = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(failed)?,
    };
    let mut entries = Vec::new();
    for entry in listed {
        let path = entry.map_err(failed)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let metadata = fs::symlink_metadata(&path).map_err(ErrorKind::io("read", &path))?;
        if name.ends_with(".lock") {
            continue;
        }
        let mut seen = HashSet::new();
        entries.push(CacheEntry {
            id: short(&Digest::of(format!("{what} {name}").as_bytes())),
            kind,
            parents: Vec::new(),
            size: size(&path, &mut seen).map_err(ErrorKind::io("read", &path))?,
            created: metadata
                .created()
                .ok()
                .and_then(|time| time.try_into().ok()),
            last_used: time(metadata.mtime()),
            description: format!("{what} {name}"),
            in_use: false,
            shared: false,
            holds: Holds::Path(path),
        });
    }
    Ok(entries)
}

/// The bytes of a tree's files, each counted once. What vanishes meanwhile counts nothing.
fn size(path: &Path, seen: &mut HashSet<(u64, u64)>) -> io::Result<u64> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        metadata => metadata?,
    };
    if !metadata.is_dir() {
        let is_first = metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino()));
        return Ok(if is_first { metadata.len() } else { 0 });
    }
    let mut total = 0;
    for entry in fs::read_dir(path)? {
        total += size(&entry?.path(), seen)?;
    }
    Ok(total)
}

/// The stacks that images end in, and all below.
fn image_chains(store: &Store) -> Result<HashSet<ChainId>, ErrorKind> {
    let mut chains = HashSet::new();
    for tagged in store.images()? {
        let mut targets = vec![tagged.target.clone()];
        if tagged.target.media_type.is_index() {
            let index: Document<Index> = store.read_document(&tagged.target)?;
            targets = index.into_value().manifests;
        }
        for target in targets
            .iter()
            .filter(|target| store.has_blob(&target.digest))
        {
            let Ok(image) = store.image(target, None) else {
                continue;
            };
            let mut chain = None;
            for diff_id in &image.config.value().rootfs.diff_ids {
                let next = ChainId::extend(chain.as_ref(), diff_id);
                chains.insert(next.clone());
                chain = Some(next);
            }
        }
    }
    Ok(chains)
}

fn running_layers(store: &Store) -> Result<HashSet<String>, StoreError> {
    let layers = store.snapshot_layers()?;
    Ok(layers.iter().map(|id| id.as_str().to_owned()).collect())
}

fn short(digest: &Digest) -> String {
    digest.hex()[..ID_LENGTH].to_owned()
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Looks entries up by their name.
pub(super) fn by_id(entries: &[CacheEntry]) -> HashMap<&str, &CacheEntry> {
    entries
        .iter()
        .map(|entry| (entry.id.as_str(), entry))
        .collect()
}

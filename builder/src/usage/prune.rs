//! Removing entries of the build cache.

use std::collections::HashSet;
use std::fs;
use std::io;

use mica_store::Store;

use super::entries::{CacheEntry, Holds, by_id, usage};
use crate::error::ErrorKind;

/// How much stays, in bytes: BuildKit's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// This much is never taken away.
    pub reserved: Option<u64>,
    /// More than this never stays.
    pub most: Option<u64>,
    /// This much of the file system is to be free.
    pub free: Option<u64>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The entries.
    pub entries: Vec<CacheEntry>,
    /// The bytes that came free.
    pub bytes: u64,
    /// Whether the store is in use, so that layers and directories wait for the next time.
    pub in_use: bool,
}

impl Kept {
    /// How many bytes of `total` may stay; `None` when none must. `free` is what the file system
    /// has free now.
    fn of(self, total: u64, free: u64) -> Option<u64> {
        if self == Self::default() {
            return None;
        }
        let excess = self.free.map_or(0, |wanted| wanted.saturating_sub(free));
        let most = match (self.most, excess) {
            (most, 0) => most,
            (None, excess) => Some(total.saturating_sub(excess)),
            (Some(most), excess) => Some(most.min(total.saturating_sub(excess))),
        };
        let reserved = self.reserved.unwrap_or(0);
        match most {
            Some(most) => Some(most.max(reserved)),
            // Only a minimum of free space is asked for, and there is enough.
            None if self.reserved.is_none() => Some(u64::MAX),
            None => Some(reserved),
        }
    }
}

/// Removes the entries that `wanted` names, the least recently used first, until no more than `kept`
/// stays. What is in use stays.
///
/// An entry goes before those that it is built upon.
pub fn prune(
    store: &Store,
    kept: Kept,
    wanted: impl Fn(&CacheEntry) -> bool,
) -> Result<Pruned, ErrorKind> {
    let entries = usage(store)?;
    let total = entries.iter().map(|entry| entry.size).sum();
    let limit = kept.of(total, free_space(store)?).unwrap_or(0);
    let chosen = choose(&entries, total, limit, wanted);
    if chosen.is_empty() {
        return Ok(Pruned::default());
    }
    let mut pruned = Pruned::default();
    let mut records: Vec<(&'static str, &str)> = Vec::new();
    for entry in &chosen {
        if let Holds::Records(kind, keys) = &entry.holds {
            records.extend(keys.iter().map(|key| (*kind, key.as_str())));
        }
    }
    store.records().remove_many(&records)?;
    pruned.in_use = remove_paths(store, &chosen, &mut pruned.bytes)?;
    let collected = store.collect()?;
    pruned.bytes += collected.bytes;
    pruned.in_use |= collected.skipped;
    pruned.entries = chosen.into_iter().cloned().collect();
    Ok(pruned)
}

fn choose(
    entries: &[CacheEntry],
    total: u64,
    limit: u64,
    wanted: impl Fn(&CacheEntry) -> bool,
) -> Vec<&CacheEntry> {
    let known = by_id(entries);
    let mut chosen: Vec<&CacheEntry> = Vec::new();
    let mut needed: HashSet<&str> = HashSet::new();
    let mut stays = total;
    // Of what was used at the same time, the topmost layer goes first.
    let mut by_age: Vec<&CacheEntry> = entries.iter().collect();
    by_age.sort_by_key(|entry| (entry.last_used, std::cmp::Reverse(depth(entry, &known))));
    for entry in by_age {
        let is_over = limit == 0 || stays > limit;
        if is_over && entry.is_reclaimable() && wanted(entry) {
            stays = stays.saturating_sub(entry.size);
            chosen.push(entry);
        } else {
            needed.extend(entry.parents.iter().map(String::as_str));
        }
    }
    // A layer below one that stays would stay anyhow.
    if limit != 0 {
        chosen.retain(|entry| !needed.contains(entry.id.as_str()));
    }
    chosen
}

fn depth(entry: &CacheEntry, known: &std::collections::HashMap<&str, &CacheEntry>) -> usize {
    let below = |entry: &&CacheEntry| {
        let parent = entry.parents.first()?;
        known.get(parent.as_str()).copied()
    };
    std::iter::successors(Some(entry), below).count()
}

/// Removes directories while nobody builds; returns whether somebody does.
fn remove_paths(store: &Store, chosen: &[&CacheEntry], bytes: &mut u64) -> Result<bool, ErrorKind> {
    let mut paths = chosen.iter().filter_map(|entry| match &entry.holds {
        Holds::Path(path) => Some((path, entry.size)),
        Holds::Records(..) => None,
    });
    let Some(first) = paths.next() else {
        return Ok(false);
    };
    let Some(_alone) = store.hold_alone()? else {
        return Ok(true);
    };
    for (path, size) in std::iter::once(first).chain(paths) {
        let removed = match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(ErrorKind::io("remove", path))?,
        }
        *bytes += size;
    }
    Ok(false)
}

fn free_space(store: &Store) -> Result<u64, ErrorKind> {
    let found = rustix::fs::statvfs(store.root());
    let found = found.map_err(|error| ErrorKind::io("read", store.root())(error.into()))?;
    Ok(found.f_bavail * found.f_frsize)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::usage::CacheKind;

    #[test]
    fn limits_are_buildkits() {
        let kept = |reserved, most, free| Kept {
            reserved,
            most,
            free,
        };
        let cases = [
            (kept(None, None, None), None),
            (kept(Some(10), None, None), Some(10)),
            (kept(None, Some(40), None), Some(40)),
            (kept(Some(50), Some(40), None), Some(50)),
            (kept(None, None, Some(20)), Some(90)),
            (kept(None, None, Some(5)), Some(u64::MAX)),
            (kept(Some(95), None, Some(20)), Some(95)),
        ];
        for (kept, expected) in cases {
            assert_eq!(kept.of(100, 10), expected, "{kept:?}");
        }
    }

    fn entry(id: &str, parent: Option<&str>, used: i64) -> CacheEntry {
        CacheEntry {
            id: id.to_owned(),
            kind: CacheKind::Regular,
            parents: parent.map(str::to_owned).into_iter().collect(),
            size: 10,
            created: None,
            last_used: Timestamp::from_second(used).unwrap(),
            description: String::new(),
            in_use: id == "busy",
            shared: false,
            holds: Holds::Records("build", Vec::new()),
        }
    }

    #[test]
    fn the_oldest_go_first_and_children_before_their_parents() {
        let entries = [
            entry("a", None, 1),
            entry("b", Some("a"), 1),
            entry("busy", None, 0),
            entry("c", None, 2),
        ];
        let chosen = |limit| -> Vec<String> {
            let chosen = choose(&entries, 40, limit, |_| true);
            chosen.iter().map(|entry| entry.id.clone()).collect()
        };
        assert_eq!(chosen(0), ["b", "a", "c"]);
        assert_eq!(chosen(30), ["b"]);
        assert_eq!(chosen(20), ["b", "a"]);
        assert_eq!(chosen(40), [""; 0]);
    }
}

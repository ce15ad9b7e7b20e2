//! How well an image uses its layers, by dive's definition, so that its thresholds mean the same.
//!
//! Of all files of each layer by itself: a path that several layers have counts with all its sizes,
//! but is worth the smallest. Removing a file has the size zero, removing a directory that of all
//! it removes. As in dive an opaque mark removes nothing, and names are compared as they are
//! written, without following links.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::InspectError;
use crate::entry::{Kind, split};
use crate::image::Image;
use crate::index::LayerIndex;

/// What dive calls the analysis of an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Efficiency {
    /// The bytes of all layers' files.
    pub size: u64,
    /// The bytes of the layers above the first.
    pub user_size: u64,
    /// The bytes of the paths that more than one layer has.
    pub wasted: u64,
    /// The smallest size of each path to all its sizes, from 0 to 1.
    pub score: f64,
    /// The paths that more than one layer has, the most expensive first.
    pub paths: Vec<InefficientPath>,
}

/// A path that more than one layer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InefficientPath {
    /// The path, without a slash in front.
    pub path: Box<[u8]>,
    /// How many layers have it.
    pub count: usize,
    /// The bytes of all of them.
    pub size: u64,
}

impl Efficiency {
    /// Returns the wasted bytes as a part of the layers above the first; nothing wasted is zero, also
    /// where there are no such layers.
    pub fn user_wasted(&self) -> f64 {
        match self.wasted {
            0 => 0.0,
            wasted => ratio(wasted, self.user_size),
        }
    }
}

/// The sizes of a path.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    count: usize,
    sum: u64,
    smallest: u64,
}

/// One layer's files by name, as dive sees them: markers under the names that they hide.
#[derive(Default)]
struct Files<'i> {
    files: BTreeMap<&'i [u8], u64>,
    removed: BTreeSet<&'i [u8]>,
    parents: BTreeSet<&'i [u8]>,
}

impl<'i> Files<'i> {
    fn of(index: &'i LayerIndex) -> Self {
        let mut files = Self::default();
        for entry in &index.entries {
            let path = &*entry.path;
            match entry.kind {
                Kind::Opaque => continue,
                Kind::Whiteout => drop(files.removed.insert(path)),
                _ if path.is_empty() => continue,
                _ => drop(files.files.insert(path, entry.size)),
            }
            let mut parent = split(path).0;
            while !parent.is_empty() && files.parents.insert(parent) {
                parent = split(parent).0;
            }
        }
        files
    }
}

impl Image {
    /// Measures how well the image uses its layers.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn efficiency(&self) -> Result<Efficiency, InspectError> {
        let mut paths: BTreeMap<&[u8], Sizes> = BTreeMap::new();
        let mut below: BTreeMap<&[u8], u64> = BTreeMap::new();
        let mut result = Efficiency::default();
        for (layer, index) in self.index_all(self.layers.len())?.into_iter().enumerate() {
            let files = Files::of(index);
            let size: u64 = files.files.values().sum();
            result.size += size;
            result.user_size += if layer > 0 { size } else { 0 };
            for path in &files.removed {
                add(&mut paths, path, size_below(&below, path));
            }
            for (path, size) in &files.files {
                if !files.parents.contains(path) {
                    add(&mut paths, path, *size);
                }
            }
            for path in &files.removed {
                remove(&mut below, path);
            }
            below.extend(&files.files);
        }
        result.score = score(&paths);
        let several = paths.into_iter().filter(|(_, sizes)| sizes.count > 1);
        let several = several.map(|(path, sizes)| InefficientPath {
            path: path.into(),
            count: sizes.count,
            size: sizes.sum,
        });
        result.paths = several.collect();
        result
            .paths
            .sort_by_key(|path| std::cmp::Reverse(path.size));
        result.wasted = result.paths.iter().map(|path| path.size).sum();
        Ok(result)
    }
}

fn add<'i>(paths: &mut BTreeMap<&'i [u8], Sizes>, path: &'i [u8], size: u64) {
    let sizes = paths.entry(path).or_insert(Sizes {
        count: 0,
        sum: 0,
        smallest: size,
    });
    sizes.count += 1;
    sizes.sum += size;
    sizes.smallest = sizes.smallest.min(size);
}

fn score(paths: &BTreeMap<&[u8], Sizes>) -> f64 {
    let smallest = paths.values().map(|sizes| sizes.smallest).sum();
    match paths.values().map(|sizes| sizes.sum).sum() {
        0 => 1.0,
        all => ratio(smallest, all),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio is shown with six digits"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// What a directory holds; nothing for a file.
fn size_below(below: &BTreeMap<&[u8], u64>, path: &[u8]) -> u64 {
    let inside = [path, b"/"].concat();
    let rest = below.range::<[u8], _>((Bound::Included(&*inside), Bound::Unbounded));
    let rest = rest.take_while(|(path, _)| path.starts_with(&inside));
    rest.map(|(_, size)| size).sum()
}

fn remove(below: &mut BTreeMap<&[u8], u64>, path: &[u8]) {
    below.remove(path);
    let inside = [path, b"/"].concat();
    let rest = below
        .range::<[u8], _>((Bound::Included(&*inside), Bound::Unbounded))
        .map(|(path, _)| *path);
    let gone: Vec<&[u8]> = rest.take_while(|path| path.starts_with(&inside)).collect();
    for path in gone {
        below.remove(path);
    }
}

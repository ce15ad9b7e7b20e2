//! Indexes on disk: one file a layer, named by the layer's digest. `docs/layer-index.md` describes
//! the format. Losing one costs a pass through the layer.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::thread;

use mica_oci::Digest;

use crate::entry::{Entry, Kind};
use crate::index::LayerIndex;

/// Begins every file; the last byte before the newline is the version.
const MAGIC: &[u8] = b"mica-layer-index 1\n";

/// An index from this size on is checked on another thread than it is parsed.
const LARGE: usize = 256 << 10;

/// Bytes that no entry is shorter than.
const SMALLEST_ENTRY: usize = 19;

/// Stands for a file whose content was not hashed.
const NO_DIGEST: [u8; 32] = [0; 32];

/// The directory that indexes are kept in.
#[derive(Clone, Debug)]
pub struct IndexCache {
    directory: PathBuf,
}

impl IndexCache {
    /// Uses a directory, which need not be there yet.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Returns the index of a layer; `None` when it is not there, damaged, or of another version.
    pub fn load(&self, layer: &Digest) -> Option<LayerIndex> {
        decode(&fs::read(self.path(layer)).ok()?)
    }

    /// Keeps the index of a layer: a whole file, or none.
    ///
    /// # Errors
    /// When the directory cannot be written; nothing depends on it.
    pub fn save(&self, layer: &Digest, index: &LayerIndex) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&encode(index))?;
        file.persist(self.path(layer))?;
        Ok(())
    }

    fn path(&self, layer: &Digest) -> PathBuf {
        Path::new(&self.directory).join(layer.hex())
    }
}

fn encode(index: &LayerIndex) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_number(&mut out, index.entries.len() as u64);
    for entry in &index.entries {
        let number = Kind::ALL.iter().position(|kind| *kind == entry.kind);
        out.push(number.expect("all kinds are listed") as u8);
        put_number(&mut out, entry.ordinal.into());
        put_text(&mut out, &entry.path);
        put_text(&mut out, &entry.link);
        for number in [entry.mode, entry.uid, entry.gid, entry.modified.1] {
            put_number(&mut out, number.into());
        }
        out.extend_from_slice(&entry.modified.0.to_le_bytes());
        if entry.kind == Kind::File {
            put_number(&mut out, entry.size);
            out.extend_from_slice(&entry.sha256.unwrap_or(NO_DIGEST));
        }
        put_number(&mut out, entry.device.0.into());
        put_number(&mut out, entry.device.1.into());
        put_number(&mut out, entry.attributes.len() as u64);
        for (name, value) in &entry.attributes {
            put_text(&mut out, name.as_bytes());
            put_text(&mut out, value);
        }
    }
    put_number(&mut out, index.problems.len() as u64);
    for problem in &index.problems {
        put_text(&mut out, problem.as_bytes());
    }
    let check = Digest::of(&out);
    out.extend_from_slice(check.hex().as_bytes());
    out
}

fn decode(file: &[u8]) -> Option<LayerIndex> {
    let (body, check) = file.split_at_checked(file.len().checked_sub(64)?)?;
    let is_whole = || Digest::of(body).hex().as_bytes() == check;
    if body.len() < LARGE {
        return is_whole().then(|| parse(body)).flatten();
    }
    thread::scope(|scope| {
        let is_whole = scope.spawn(is_whole);
        let index = parse(body);
        let is_whole = is_whole.join().expect("hashing does not panic");
        index.filter(|_| is_whole)
    })
}

/// Reads an index that may be damaged: then it is none, or a wrong one.
fn parse(body: &[u8]) -> Option<LayerIndex> {
    let mut input = Input(body.strip_prefix(MAGIC)?);
    let count = input.count_of(SMALLEST_ENTRY)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(input.entry()?);
    }
    let mut problems = Vec::new();
    for _ in 0..input.count()? {
        problems.push(String::from_utf8(input.text()?.to_vec()).ok()?);
    }
    input
        .0
        .is_empty()
        .then_some(LayerIndex { entries, problems })
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text);
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A number of things that follow, so never more than bytes are left.
    fn count(&mut self) -> Option<usize> {
        self.count_of(1)
    }

    /// A number of things that follow, each of so many bytes at least.
    fn count_of(&mut self, size: usize) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len() / size).then_some(count)
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.count()?;
        self.take(length)
    }

    fn entry(&mut self) -> Option<Entry> {
        let kind = *Kind::ALL.get(usize::from(self.take(1)?[0]))?;
        let ordinal = self.small()?;
        let (path, link) = (self.text()?.into(), self.text()?.into());
        let (mode, uid, gid) = (self.small()?, self.small()?, self.small()?);
        let nanoseconds = self.small()?;
        let seconds = i64::from_le_bytes(self.take(8)?.try_into().ok()?);
        let (mut size, mut sha256) = (0, None);
        if kind == Kind::File {
            size = self.number()?;
            let digest: [u8; 32] = self.take(32)?.try_into().ok()?;
            sha256 = Some(digest).filter(|digest| *digest != NO_DIGEST);
        }
        let device = (self.small()?, self.small()?);
        let mut attributes = Vec::new();
        for _ in 0..self.count()? {
            let name = OsString::from_vec(self.text()?.to_vec());
            attributes.push((name, self.text()?.to_vec()));
        }
        Some(Entry {
            path,
            kind,
            mode,
            uid,
            gid,
            modified: (seconds, nanoseconds),
            size,
            link,
            device,
            sha256,
            attributes: attributes.into(),
            ordinal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LayerIndex {
        let entry = |path: &[u8], kind| Entry {
            path: path.into(),
            kind,
            mode: 0o4755,
            uid: 1000,
            gid: u32::MAX - 1,
            modified: (-5, 999_999_999),
            size: 0,
            link: b"\xff/target"[..].into(),
            device: (8, 300),
            sha256: None,
            attributes: vec![("user.a".into(), vec![0, 1, 255])].into(),
            ordinal: 7,
        };
        let file = Entry {
            size: u64::MAX,
            sha256: Some([9; 32]),
            ..entry(b"f", Kind::File)
        };
        let mut entries = vec![file, entry(b"g", Kind::File)];
        entries.extend(Kind::ALL[1..].iter().map(|kind| entry(b"a/\x80", *kind)));
        LayerIndex {
            entries,
            problems: vec!["/x: no".into()],
        }
    }

    #[test]
    fn an_index_is_read_back() {
        let index = sample();
        assert_eq!(decode(&encode(&index)), Some(index));
        let empty = LayerIndex::default();
        assert_eq!(decode(&encode(&empty)), Some(empty));
    }

    #[test]
    fn damage_is_no_index() {
        let good = encode(&sample());
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            assert_eq!(decode(&bad), None, "byte {index}");
            assert_eq!(decode(&good[..index]), None, "{index} bytes");
        }
    }

    #[test]
    fn a_large_index_is_read_back_and_damage_found() {
        let LayerIndex { entries, problems } = sample();
        let count = LARGE / SMALLEST_ENTRY;
        let entries = entries.into_iter().cycle().take(count).collect();
        let index = LayerIndex { entries, problems };
        let mut file = encode(&index);
        assert!(file.len() > LARGE);
        assert_eq!(decode(&file), Some(index));
        let middle = file.len() / 2;
        for place in [MAGIC.len(), middle, file.len() - 1] {
            file[place] ^= 1;
            assert_eq!(decode(&file), None, "byte {place}");
            file[place] ^= 1;
        }
    }

    #[test]
    fn files_are_kept_by_digest() {
        let directory = tempfile::tempdir().unwrap();
        let cache = IndexCache::new(directory.path().join("made/on/demand"));
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        assert_eq!(cache.load(&one), None);
        cache.save(&one, &sample()).unwrap();
        assert_eq!(cache.load(&one), Some(sample()));
        assert_eq!(cache.load(&other), None);
    }
}

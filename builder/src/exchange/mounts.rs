//! Cache mounts that travel: a tar stream of the directory, cut where its content says so, so that a
//! change moves the chunks around it and no others.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::Arc;

use fastcdc::v2020::StreamCDC;
use mica_oci::{Descriptor, Digest, MediaType, Verified};
use mica_store::{Limits, Store, apply_onto, directory_tar};
use serde::{Deserialize, Serialize};

use super::import;
use super::place::{CacheDestination, CacheSource, Content, ExchangeError};
use crate::copy_files::temporary_directory;
use crate::error::ErrorKind;

/// A chunk: a piece of the stream, compressed on its own.
const CHUNK: &str = "application/vnd.mica.cache.chunk.v1+zstd";

/// The sizes of chunks in bytes. Smaller ones find more that is the same, and cost more requests.
const SMALLEST: usize = 256 << 10;
const USUAL: usize = 1 << 20;
const LARGEST: usize = 4 << 20;

/// Zstandard's own default: twice as fast as a registry takes it.
const LEVEL: i32 = 3;

/// The directories of one ID: the shared one, and the first of those that steps have for
/// themselves.
const COPIES: [&str; 2] = ["", ".0"];

/// A cache mount in a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CacheMount {
    /// The ID.
    pub(crate) id: String,
    /// Which of the ID's directories: empty for the shared one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) copy: String,
    /// The directory's own mode and owner.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The tar stream.
    pub(crate) chunks: Vec<Descriptor>,
}

/// A cache whose mounts are imported before the build: `mount=ID`.
#[derive(Clone, Debug)]
pub struct MountImport {
    /// The cache.
    pub source: Arc<dyn CacheSource>,
    /// The IDs.
    pub ids: Vec<String>,
}

/// Returns the name of a cache mount's directory below `cache/mounts`.
pub(crate) fn directory_name(id: &str) -> String {
    Digest::of(id.as_bytes()).hex()[..32].to_owned()
}

fn directory(store: &Store, id: &str, copy: &str) -> PathBuf {
    let root = store.root().join("cache/mounts");
    root.join(format!("{}{copy}", directory_name(id)))
}

/// Sends the directories of `ids`; returns what the configuration says of them, and how many chunks
/// were sent.
pub(super) fn export(
    store: &Store,
    destination: &dyn CacheDestination,
    ids: &[String],
) -> Result<(Vec<CacheMount>, usize), ExchangeError> {
    let (mut mounts, mut sent) = (Vec::new(), 0);
    for id in ids {
        for copy in COPIES {
            let path = directory(store, id, copy);
            let Ok(facts) = fs::metadata(&path) else {
                continue;
            };
            let (chunks, new) = send(destination, path)?;
            sent += new;
            mounts.push(CacheMount {
                id: id.clone(),
                copy: copy.to_owned(),
                mode: facts.mode() & 0o7777,
                uid: facts.uid(),
                gid: facts.gid(),
                chunks,
            });
        }
    }
    Ok((mounts, sent))
}

fn send(
    destination: &dyn CacheDestination,
    path: PathBuf,
) -> Result<(Vec<Descriptor>, usize), ExchangeError> {
    let (reader, writer) = io::pipe()?;
    let tar = std::thread::spawn(move || {
        let mut out = io::BufWriter::with_capacity(USUAL, writer);
        directory_tar(&path, &mut out)?;
        Ok::<_, ExchangeError>(out.flush()?)
    });
    let (mut chunks, mut sent) = (Vec::new(), 0);
    for chunk in StreamCDC::new(reader, SMALLEST, USUAL, LARGEST) {
        let bytes = zstd::encode_all(chunk?.data.as_slice(), LEVEL)?;
        let descriptor = Descriptor::of(MediaType::new(CHUNK), &bytes);
        if !destination.contains(&descriptor)? {
            destination.push(&descriptor, Content::Bytes(&bytes))?;
            sent += 1;
        }
        chunks.push(descriptor);
    }
    tar.join().expect("writing a tar stream does not panic")?;
    Ok((chunks, sent))
}

/// Fetches the directories that the store does not have. What is there stays as it is.
pub(crate) fn fetch(store: &Store, import: &MountImport) -> Result<usize, ErrorKind> {
    let is_missing = |id: &&String| {
        COPIES
            .iter()
            .all(|copy| !directory(store, id, copy).exists())
    };
    let missing: Vec<&String> = import.ids.iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(0);
    }
    let failed = |source| ErrorKind::CacheImport {
        place: import.source.name(),
        source,
    };
    let mounts = import::mounts(import.source.as_ref()).map_err(failed)?;
    let wanted = mounts
        .into_iter()
        .filter(|mount| missing.contains(&&mount.id));
    let mut count = 0;
    for mount in wanted {
        unpack(store, import.source.as_ref(), &mount).map_err(failed)?;
        count += 1;
    }
    Ok(count)
}

fn unpack(
    store: &Store,
    source: &dyn CacheSource,
    mount: &CacheMount,
) -> Result<(), ExchangeError> {
    if !COPIES.contains(&mount.copy.as_str()) {
        return Ok(());
    }
    let place = directory(store, &mount.id, &mount.copy);
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    let scratch = temporary_directory(store)?;
    let made = scratch.path().join("mount");
    fs::create_dir(&made)?;
    let chunks = Chunks {
        source,
        next: mount.chunks.iter(),
        current: io::Cursor::new(Vec::new()),
    };
    apply_onto(&made, chunks, &Limits::default())?;
    chown(&made, Some(mount.uid), Some(mount.gid))?;
    fs::set_permissions(&made, Permissions::from_mode(mount.mode & 0o7777))?;
    match fs::rename(&made, &place) {
        // Another build was faster.
        Err(_) if place.exists() => Ok(()),
        renamed => Ok(renamed?),
    }
}

/// The stream that chunks give, one after the other, each verified.
struct Chunks<'c> {
    source: &'c dyn CacheSource,
    next: std::slice::Iter<'c, Descriptor>,
    current: io::Cursor<Vec<u8>>,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(chunk) = self.next.next() else {
                return Ok(0);
            };
            let content = self.source.fetch(chunk).map_err(io::Error::other)?;
            let mut compressed = Vec::new();
            Verified::new(content, chunk).read_to_end(&mut compressed)?;
            let mut bytes = Vec::new();
            // A chunk is no longer than the longest, whatever it claims.
            zstd::Decoder::new(compressed.as_slice())?
                .take(LARGEST as u64 + 1)
                .read_to_end(&mut bytes)?;
            if bytes.len() > LARGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.current = io::Cursor::new(bytes);
        }
    }
}

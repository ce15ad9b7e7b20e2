//! A cache in a directory: `type=local`. The directory is an OCI image layout.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use mica_oci::{Descriptor, Digest, Document, Index, MediaType, Verified};

use super::place::{CacheDestination, CacheSource, Content, ExchangeError};

/// A cache in an OCI image layout, under a tag or a digest.
#[derive(Clone, Debug)]
pub struct LayoutCache {
    directory: PathBuf,
    tag: String,
    digest: Option<Digest>,
}

/// Why a layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct LayoutCacheError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl LayoutCache {
    /// The cache in `directory` under `tag`, or the one with this digest.
    pub fn new(directory: PathBuf, tag: String, digest: Option<Digest>) -> Self {
        Self {
            directory,
            tag,
            digest,
        }
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest.hex())
    }

    fn index(&self) -> Result<Option<Index>, ExchangeError> {
        let path = self.directory.join("index.json");
        match fs::read(&path) {
            Ok(raw) => Ok(Some(serde_json::from_slice(&raw)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error).into()),
        }
    }

    fn entry(&self) -> Result<Option<Descriptor>, ExchangeError> {
        let fits = |entry: &Descriptor| match &self.digest {
            Some(digest) => entry.digest == *digest,
            None => entry.annotations.get(Descriptor::REF_NAME) == Some(&self.tag),
        };
        let index = self.index()?;
        Ok(index.and_then(|index| index.manifests.into_iter().find(fits)))
    }

    /// Replaces or makes a file as a whole.
    fn write(
        &self,
        path: &Path,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), LayoutCacheError> {
        let parent = path.parent().unwrap_or(&self.directory);
        fs::create_dir_all(parent).map_err(failed("create", parent))?;
        let made = tempfile::NamedTempFile::new_in(parent).and_then(|mut file| {
            write(file.as_file_mut())?;
            Ok(file)
        });
        let file = made.map_err(failed("write", path))?;
        let persisted = file.persist(path).map_err(|error| error.error);
        persisted.map(drop).map_err(failed("write", path))
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutCacheError {
    let path = path.to_owned();
    move |source| LayoutCacheError {
        action,
        path,
        source,
    }
}

impl CacheSource for LayoutCache {
    fn name(&self) -> String {
        self.directory.display().to_string()
    }

    fn root(&self) -> Result<Option<(MediaType, Vec<u8>)>, ExchangeError> {
        let Some(entry) = self.entry()? else {
            return Ok(None);
        };
        let mut raw = Vec::new();
        Verified::new(self.fetch(&entry)?, &entry).read_to_end(&mut raw)?;
        Ok(Some((entry.media_type, raw)))
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, ExchangeError> {
        let path = self.blob(&descriptor.digest);
        let file = File::open(&path).map_err(failed("read", &path))?;
        Ok(Box::new(file))
    }
}

impl CacheDestination for LayoutCache {
    fn contains(&self, descriptor: &Descriptor) -> Result<bool, ExchangeError> {
        let found = fs::metadata(self.blob(&descriptor.digest));
        Ok(found.is_ok_and(|found| found.len() == descriptor.size))
    }

    fn push(&self, descriptor: &Descriptor, content: Content<'_>) -> Result<(), ExchangeError> {
        let content: Box<dyn Read> = match content {
            Content::Bytes(bytes) => Box::new(bytes),
            Content::File(path) => Box::new(File::open(path).map_err(failed("read", path))?),
        };
        let mut content = Verified::new(content, descriptor);
        let copy = |file: &mut File| io::copy(&mut content, file).map(drop);
        Ok(self.write(&self.blob(&descriptor.digest), copy)?)
    }

    fn tag(&self, descriptor: &Descriptor) -> Result<(), ExchangeError> {
        let layout = self.directory.join("oci-layout");
        self.write(&layout, |file| {
            file.write_all(br#"{"imageLayoutVersion":"1.0.0"}"#)
        })?;
        let mut index = self.index()?.unwrap_or_else(|| Index::new(Vec::new()));
        let tagged =
            |entry: &Descriptor| entry.annotations.get(Descriptor::REF_NAME) == Some(&self.tag);
        index.manifests.retain(|entry| !tagged(entry));
        let mut entry = descriptor.clone();
        entry
            .annotations
            .insert(Descriptor::REF_NAME.to_owned(), self.tag.clone());
        index.manifests.push(entry);
        let index = Document::encode(MediaType::OCI_INDEX, index);
        let path = self.directory.join("index.json");
        Ok(self.write(&path, |file| file.write_all(index.raw()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_is_found_by_tag_and_digest() {
        let directory = tempfile::tempdir().unwrap();
        let cache = |tag: &str, digest| {
            LayoutCache::new(directory.path().join("new/cache"), tag.to_owned(), digest)
        };
        let latest = cache("latest", None);
        assert!(latest.root().unwrap().is_none());
        for text in ["one", "two"] {
            let descriptor = Descriptor::of(MediaType::OCI_MANIFEST, text.as_bytes());
            assert!(!latest.contains(&descriptor).unwrap());
            latest
                .push(&descriptor, Content::Bytes(text.as_bytes()))
                .unwrap();
            assert!(latest.contains(&descriptor).unwrap());
            latest.tag(&descriptor).unwrap();
        }
        assert_eq!(latest.root().unwrap().unwrap().1, b"two");
        assert!(cache("other", None).root().unwrap().is_none());
        let two = Digest::of(b"two");
        assert_eq!(cache("other", Some(two)).root().unwrap().unwrap().1, b"two");
        let wrong = Descriptor::of(MediaType::OCI_MANIFEST, b"three");
        assert!(latest.push(&wrong, Content::Bytes(b"four!")).is_err());
        assert!(!latest.contains(&wrong).unwrap());
    }
}

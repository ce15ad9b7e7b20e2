//! OCI image layouts, as directories and as tar files, under the contracts.
//!
//! ```text
//! oci-layout  index.json  blobs/<algorithm>/<hex>
//! ```
//!
//! A layout has no references of its own but names in annotations, so one [`Layout`] stands for
//! one name in it. Source: OCI image specification, `image-layout.md`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use mica_oci::{
    BlobReader, ContractError, Descriptor, Digest, Document, Fetch, Index, MediaType, Push,
    Reference, Resolve, Tag, Verified,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::archive::{Contents, IMAGE_NAME, entries, write_layer};
use crate::error::At;
use crate::export::Part;
use crate::images::name_of;
use crate::store::OCI_LAYOUT;
use crate::temporary::random_name;
use crate::{ArchiveError, Named, Store, StoreError};

/// One name in a layout.
#[derive(Clone, Debug)]
pub struct Layout {
    files: Files,
    name: Option<String>,
}

#[derive(Clone, Debug)]
enum Files {
    Directory(PathBuf),
    /// A tar file and where it has its files.
    Archive(PathBuf, std::sync::Arc<Contents>),
}

impl Layout {
    /// Opens a layout in a directory; it need not be there yet.
    pub fn directory(root: &Path, name: Option<String>) -> Self {
        Self {
            files: Files::Directory(root.to_owned()),
            name,
        }
    }

    /// Opens a layout in a plain tar file, to read from it.
    pub fn archive(path: &Path, name: Option<String>) -> Result<Self, ArchiveError> {
        let file = File::open(path).at("open", path)?;
        let contents = Contents::of_tar(file)?;
        Ok(Self {
            files: Files::Archive(path.to_owned(), contents.into()),
            name,
        })
    }

    /// Returns all entries of `index.json`.
    pub fn entries(&self) -> Result<Vec<Descriptor>, ArchiveError> {
        Ok(self.index()?.manifests)
    }

    fn index(&self) -> Result<Index, ArchiveError> {
        match &self.files {
            Files::Directory(root) => Contents::Directory(root.clone()).parse("index.json"),
            Files::Archive(_, contents) => contents.parse("index.json"),
        }
    }

    /// Keeps a manifest that has no name in `index.json`, unless it is there.
    pub fn keep_untagged(&self, target: &Descriptor) -> Result<(), ArchiveError> {
        self.change(|entries| {
            if !entries.iter().any(|entry| entry.digest == target.digest) {
                entries.push(target.clone());
            }
        })
    }

    fn root(&self) -> Result<&Path, ArchiveError> {
        match &self.files {
            Files::Directory(root) => Ok(root),
            Files::Archive(..) => Err(ArchiveError::Write(
                io::ErrorKind::ReadOnlyFilesystem.into(),
            )),
        }
    }

    fn find(&self) -> Result<Descriptor, ArchiveError> {
        let entries = self.entries()?;
        let found = match &self.name {
            None if entries.len() == 1 => entries.first(),
            None => None,
            Some(name) => entries.iter().find(|entry| is_named(entry, name)),
        };
        found.cloned().ok_or_else(|| {
            let names = entries.iter().filter_map(name_of);
            let near = names.cloned().collect();
            StoreError::NotFound {
                name: self.name.clone().unwrap_or_else(|| "(no name)".to_owned()),
                near,
            }
            .into()
        })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Descriptor>)) -> Result<(), ArchiveError> {
        let root = self.root()?;
        make(root)?;
        let mut index = self.index()?;
        change(&mut index.manifests);
        write_index(root, index)
    }

    /// Opens a blob at a byte.
    async fn open(&self, digest: &Digest, offset: u64) -> Result<BlobReader, ArchiveError> {
        let name = blob_path(digest);
        let missing = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => ArchiveError::Missing { path: name.clone() },
            _ => ArchiveError::Read(error),
        };
        let (path, start, size) = match &self.files {
            Files::Directory(root) => (root.join(&name), 0, u64::MAX),
            Files::Archive(path, contents) => {
                let (start, size) = contents.place(&name)?;
                (path.clone(), start, size)
            }
        };
        let mut file = tokio::fs::File::open(&path).await.map_err(missing)?;
        let from = io::SeekFrom::Start(start + offset);
        file.seek(from).await.map_err(ArchiveError::Read)?;
        Ok(Box::pin(file.take(size - offset)))
    }

    async fn receive(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<(), ContractError> {
        let root = self.root()?;
        make(root)?;
        let place = root.join(blob_path(&descriptor.digest));
        let directory = place.parent().unwrap_or(root);
        fs::create_dir_all(directory).at("create", directory)?;
        let temporary = directory.join(format!(".{}", random_name()));
        let received = async {
            let mut file = tokio::fs::File::create(&temporary).await?;
            let mut content = Verified::new(content, descriptor);
            tokio::io::copy(&mut content, &mut file).await?;
            file.flush().await?;
            file.sync_all().await?;
            tokio::fs::rename(&temporary, &place).await
        };
        let received = received.await;
        if received.is_err() {
            // The first error is the one that matters.
            let _ = fs::remove_file(&temporary);
        }
        Ok(received.map_err(|source| StoreError::Content {
            digest: descriptor.digest.clone(),
            source,
        })?)
    }
}

fn is_named(entry: &Descriptor, name: &str) -> bool {
    let full = entry.annotations.get(IMAGE_NAME);
    name_of(entry).is_some_and(|own| own == name) || full.is_some_and(|full| full == name)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}", digest.as_str().replacen(':', "/", 1))
}

fn make(root: &Path) -> Result<(), ArchiveError> {
    let blobs = root.join("blobs/sha256");
    fs::create_dir_all(&blobs).at("create", &blobs)?;
    let missing = |name: &str| !root.join(name).exists();
    if missing("oci-layout") {
        replace(&root.join("oci-layout"), OCI_LAYOUT)?;
    }
    if missing("index.json") {
        write_index(root, Index::new(Vec::new()))?;
    }
    Ok(())
}

fn write_index(root: &Path, index: Index) -> Result<(), ArchiveError> {
    let document = Document::encode(MediaType::OCI_INDEX, index);
    replace(&root.join("index.json"), document.raw())
}

fn replace(path: &Path, content: &[u8]) -> Result<(), ArchiveError> {
    write(path, |out| {
        out.write_all(content).map_err(ArchiveError::Write)
    })
}

/// Writes a file that appears when it is whole.
fn write(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let temporary = path.with_extension(random_name());
    let file = File::create(&temporary).at("create", &temporary)?;
    let mut out = BufWriter::new(&file);
    let written = write(&mut out).and_then(|()| {
        out.flush().map_err(ArchiveError::Write)?;
        file.sync_all().at("write", &temporary)?;
        Ok(fs::rename(&temporary, path).at("create", path)?)
    });
    if written.is_err() {
        // The first error is the one that matters.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Adds an entry in place of the one with its name, and of a nameless one for the same content.
fn put_entry(entries: &mut Vec<Descriptor>, new: Descriptor) {
    entries.retain(|known| {
        let is_nameless = name_of(known).is_none() && known.digest == new.digest;
        let has_name = name_of(&new).is_some_and(|name| is_named(known, name));
        !is_nameless && !has_name
    });
    entries.push(new);
}

/// Adds images to a layout in a directory, which is made where there is none. A name that is there
/// already leads to the new image; `index.json` comes last.
pub fn save_layout(store: &Store, images: &[Named], root: &Path) -> Result<(), ArchiveError> {
    let _hold = store.hold()?;
    make(root)?;
    for part in images.iter().flat_map(|named| named.set.parts()) {
        let path = root.join(blob_path(part.digest()));
        if path.exists() {
            continue;
        }
        write(&path, |out| match part {
            Part::Stored(blob) => write_layer(store, blob, out),
            Part::Document(_, raw) => out.write_all(raw).map_err(ArchiveError::Write),
        })?;
    }
    let new = entries(images).into_iter();
    Layout::directory(root, None).change(|entries| new.for_each(|new| put_entry(entries, new)))
}

impl Fetch for Layout {
    async fn fetch(&self, descriptor: &Descriptor) -> Result<BlobReader, ContractError> {
        let content = self.open(&descriptor.digest, 0).await?;
        Ok(Box::pin(Verified::new(content, descriptor)))
    }

    async fn fetch_from(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<BlobReader, ContractError> {
        Ok(self.open(&descriptor.digest, offset).await?)
    }
}

impl Push for Layout {
    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, ContractError> {
        Ok(self.root()?.join(blob_path(&descriptor.digest)).exists())
    }

    async fn push(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<(), ContractError> {
        self.receive(descriptor, content).await
    }
}

/// The name is the layout's own, whatever the reference is.
impl Resolve for Layout {
    async fn resolve(&self, _reference: &Reference) -> Result<Descriptor, ContractError> {
        let mut found = self.find()?;
        found.annotations.remove(Descriptor::REF_NAME);
        found.annotations.remove(IMAGE_NAME);
        Ok(found)
    }
}

impl Tag for Layout {
    async fn tag(
        &self,
        descriptor: &Descriptor,
        _reference: &Reference,
    ) -> Result<(), ContractError> {
        let mut entry = descriptor.clone();
        let name = self.name.iter().cloned();
        let name = name.map(|name| (Descriptor::REF_NAME.to_owned(), name));
        entry.annotations.extend(name);
        Ok(self.change(|entries| put_entry(entries, entry))?)
    }
}

/// Writes a layout's directory as a tar file: the same layout gives the same bytes.
pub fn write_layout_archive(root: &Path, out: impl Write) -> Result<(), ArchiveError> {
    let mut paths = Vec::new();
    let blobs = root.join("blobs");
    for algorithm in fs::read_dir(&blobs).at("read", &blobs)? {
        let directory = algorithm.at("read", &blobs)?.path();
        for blob in fs::read_dir(&directory).at("read", &directory)? {
            paths.push(blob.at("read", &directory)?.path());
        }
    }
    paths.push(root.join("index.json"));
    paths.push(root.join("oci-layout"));
    paths.sort();
    let mut builder = tar::Builder::new(out);
    for path in paths {
        let mut file = File::open(&path).at("open", &path)?;
        let size = file.metadata().at("read", &path)?.len();
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        let name = path.strip_prefix(root).unwrap_or(&path);
        let appended = builder.append_data(&mut header, name, &mut file);
        appended.map_err(ArchiveError::Write)?;
    }
    let mut out = builder.into_inner().map_err(ArchiveError::Write)?;
    out.flush().map_err(ArchiveError::Write)
}

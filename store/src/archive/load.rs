//! Load: archives of docker and OCI into the store.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use mica_oci::{
    Compression, Descriptor, Digest, Document, ImageConfig, Index, Manifest, Platform, Reference,
};

use super::contents::{Contents, blob_path, is_layout, read_start, sniff};
use super::docker::DockerImage;
use super::install::{ArchivedImage, check_layer_count};
use super::{ArchiveError, Loaded};
use crate::blobs::copy;
use crate::error::At;
use crate::images::{choose, name_of};
use crate::{Store, StoreError};

/// Where containerd and BuildKit put the full name; `ref.name` is then the tag alone.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";

/// Loads the images of an archive that is read once, such as standard input; docker's or OCI's,
/// plain or compressed with gzip or zstd. It passes through a temporary file.
pub fn load(store: &Store, input: impl Read) -> Result<Vec<Loaded>, ArchiveError> {
    let mut input = input;
    let mut start = [0; 4];
    let count = read_start(&mut input, &mut start).map_err(ArchiveError::Read)?;
    let input = io::Cursor::new(&start[..count]).chain(input);
    let spool = |mut tar: Box<dyn Read + '_>| {
        let mut temporary = store.temporary_file("load")?;
        copy(&mut tar, temporary.file()).map_err(ArchiveError::Read)?;
        let file = temporary.file().try_clone().at("open", temporary.path())?;
        install_all(store, &Contents::of_tar(file)?)
    };
    match sniff(&start[..count]) {
        Compression::None => spool(Box::new(input)),
        Compression::Gzip => spool(Box::new(flate2::read::MultiGzDecoder::new(input))),
        Compression::Zstd => {
            let decoder = zstd::Decoder::new(input).map_err(ArchiveError::Read)?;
            spool(Box::new(decoder))
        }
    }
}

/// Loads the images of an archive file, or of a directory that is an OCI layout. A plain tar
/// file is read in place.
pub fn load_file(store: &Store, path: &Path) -> Result<Vec<Loaded>, ArchiveError> {
    if path.is_dir() {
        return load_directory(store, path);
    }
    let mut file = File::open(path).at("open", path)?;
    let is_file = file.metadata().at("read", path)?.is_file();
    if !is_file {
        return load(store, file);
    }
    let mut start = [0; 4];
    let count = read_start(&mut file, &mut start).at("read", path)?;
    if sniff(&start[..count]) == Compression::None {
        return install_all(store, &Contents::of_tar(file)?);
    }
    load(store, File::open(path).at("open", path)?)
}

/// Loads the images of a directory that is an OCI layout.
pub fn load_directory(store: &Store, path: &Path) -> Result<Vec<Loaded>, ArchiveError> {
    if !is_layout(path) {
        return Err(ArchiveError::NotAnArchive);
    }
    install_all(store, &Contents::Directory(path.to_owned()))
}

fn install_all(store: &Store, contents: &Contents) -> Result<Vec<Loaded>, ArchiveError> {
    let _hold = store.hold()?;
    let mut loaded = Vec::new();
    for candidate in candidates(contents, &Platform::host())? {
        loaded.extend(candidate.install(store, contents)?);
    }
    Ok(loaded)
}

/// An OCI index is preferred: it has the very manifests.
pub(super) fn candidates(
    contents: &Contents,
    platform: &Platform,
) -> Result<Vec<ArchivedImage>, ArchiveError> {
    let docker: Option<Vec<DockerImage>> = match contents.has("manifest.json") {
        true => Some(contents.parse("manifest.json")?),
        false => None,
    };
    if contents.has("index.json") {
        return oci_candidates(contents, docker.as_deref().unwrap_or_default(), platform);
    }
    let docker = docker.ok_or(ArchiveError::NotAnArchive)?;
    docker
        .iter()
        .map(|image| image.candidate(contents))
        .collect()
}

fn oci_candidates(
    contents: &Contents,
    docker: &[DockerImage],
    platform: &Platform,
) -> Result<Vec<ArchivedImage>, ArchiveError> {
    let index: Index = contents.parse("index.json")?;
    let names = docker_names(docker)?;
    let mut found: Vec<ArchivedImage> = Vec::new();
    for entry in chosen_entries(&index, platform) {
        let (manifest, inner) = read_manifest(contents, entry, platform)?;
        let references = match names.get(&manifest.value().config.digest) {
            Some(names) => names.clone(),
            None => entry_name(entry)?.into_iter().collect(),
        };
        match found
            .iter_mut()
            .find(|known| known.manifest.digest() == manifest.digest())
        {
            Some(known) => known.add_names(references),
            None => {
                let indexes = inner.iter().map(Document::value).chain([&index]);
                let digest = manifest.digest();
                let attestations = indexes.flat_map(|index| index.attestations_of(digest));
                let attestations = attestations.cloned().collect();
                found.push(ArchivedImage {
                    attestations,
                    index: inner,
                    ..candidate(contents, manifest, references)?
                });
            }
        }
    }
    Ok(found)
}

impl ArchivedImage {
    fn add_names(&mut self, references: Vec<Reference>) {
        let known: HashSet<Reference> = self.references.iter().cloned().collect();
        self.references
            .extend(references.into_iter().filter(|name| !known.contains(name)));
    }
}

/// The names in `manifest.json` by configuration, where the paths say the digest.
fn docker_names(docker: &[DockerImage]) -> Result<HashMap<Digest, Vec<Reference>>, ArchiveError> {
    let mut names = HashMap::new();
    for image in docker {
        let digest = image.config.strip_prefix("blobs/sha256/");
        let digest = digest.and_then(|hex| format!("sha256:{hex}").parse().ok());
        if let Some(digest) = digest {
            names.insert(digest, image.references()?);
        }
    }
    Ok(names)
}

/// Of several entries with one name, or none, those for other platforms are left out; so is what
/// is for no platform at all, such as attestations.
fn chosen_entries<'i>(
    index: &'i Index,
    wanted: &'i Platform,
) -> impl Iterator<Item = &'i Descriptor> {
    index.manifests.iter().filter(move |entry| {
        let same_name = |other: &&Descriptor| name_of(other) == name_of(entry);
        let alone = index.manifests.iter().filter(same_name).count() == 1;
        match &entry.platform {
            Some(platform) => !platform.is_unknown() && (alone || platform.satisfies(wanted)),
            None => true,
        }
    })
}

fn entry_name(entry: &Descriptor) -> Result<Option<Reference>, ArchiveError> {
    let Some(name) = entry.annotations.get(IMAGE_NAME).or_else(|| name_of(entry)) else {
        return Ok(None);
    };
    name.parse().map(Some).map_err(|source| ArchiveError::Name {
        name: name.clone(),
        source,
    })
}

/// Reads a manifest, and the index that it was chosen from.
fn read_manifest(
    contents: &Contents,
    target: &Descriptor,
    platform: &Platform,
) -> Result<(Document<Manifest>, Option<Document<Index>>), ArchiveError> {
    if target.media_type.is_index() {
        let index = read_document(contents, target)?;
        let (manifest, inner) = read_manifest(contents, &choose(&index, platform)?, platform)?;
        return Ok((manifest, inner.or(Some(index))));
    }
    if target.media_type.is_manifest() {
        return Ok((read_document(contents, target)?, None));
    }
    Err(ArchiveError::Store(StoreError::NotAnImage {
        digest: target.digest.clone(),
        media_type: target.media_type.to_string(),
    }))
}

/// Reads a document of the layout's blobs, verified.
pub(super) fn read_document<T: serde::de::DeserializeOwned>(
    contents: &Contents,
    target: &Descriptor,
) -> Result<Document<T>, ArchiveError> {
    let raw = contents.read(&blob_path(&target.digest))?;
    let mut verified = mica_oci::Verified::new(&raw[..], target);
    let read = io::copy(&mut verified, &mut io::sink());
    read.map_err(|source| StoreError::Content {
        digest: target.digest.clone(),
        source,
    })?;
    Ok(Document::parse(target.media_type.clone(), raw).map_err(StoreError::from)?)
}

fn candidate(
    contents: &Contents,
    manifest: Document<Manifest>,
    references: Vec<Reference>,
) -> Result<ArchivedImage, ArchiveError> {
    let config: Document<ImageConfig> = read_document(contents, &manifest.value().config)?;
    let layers = &manifest.value().layers;
    check_layer_count(&config, layers.len())?;
    let layer_paths = layers
        .iter()
        .map(|layer| blob_path(&layer.digest))
        .collect();
    Ok(ArchivedImage {
        references,
        manifest,
        config,
        attestations: Vec::new(),
        index: None,
        layer_paths,
    })
}

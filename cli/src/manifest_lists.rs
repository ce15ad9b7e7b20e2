//! Drafts of manifest lists: made by `mica manifest create`, sent by `mica manifest push`.
//!
//! ```text
//! <root>/manifest-lists/<digest of the name>.json   {"reference": …, "index": …, "sources": …}
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mica_oci::{Digest, Index, Reference};
use serde::{Deserialize, Serialize};

use crate::failure::CliError;

/// A list that was not sent yet.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Draft {
    /// The list's name.
    pub(crate) reference: String,
    /// The list.
    pub(crate) index: Index,
    /// The repositories that its manifests are in, by digest.
    pub(crate) sources: BTreeMap<Digest, String>,
}

/// All drafts of a store.
#[derive(Debug)]
pub(crate) struct Drafts {
    directory: PathBuf,
}

impl Drafts {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            directory: root.join("manifest-lists"),
        }
    }

    fn path(&self, reference: &Reference) -> PathBuf {
        let name = Digest::of(reference.to_string().as_bytes());
        self.directory.join(format!("{}.json", name.hex()))
    }

    /// Reads a draft, if there is one.
    pub(crate) fn get(&self, reference: &Reference) -> Result<Option<Draft>, CliError> {
        let path = self.path(reference);
        match fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(draft) => Ok(Some(draft)),
                Err(source) => Err(CliError::Configuration { path, source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CliError::File {
                action: "read",
                path,
                source,
            }),
        }
    }

    /// Writes a draft, whole or not at all.
    pub(crate) fn put(&self, reference: &Reference, draft: &Draft) -> Result<(), CliError> {
        let path = self.path(reference);
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.directory)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            file.write_all(&serde_json::to_vec(draft)?)?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|source| CliError::File {
            action: "write",
            path: path.clone(),
            source,
        })
    }

    /// Removes a draft; tells whether there was one.
    pub(crate) fn remove(&self, reference: &Reference) -> Result<bool, CliError> {
        let path = self.path(reference);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(CliError::File {
                action: "remove",
                path,
                source,
            }),
        }
    }
}

//! Whole trees of files: for mounts that need a copy, and as the base of a stage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_oci::Platform;
use mica_store::FileType;

use crate::cache::Ground;
use crate::context::{ContextSource, Owners};
use crate::copy::{Group, Resolved};
use crate::copy_files::Copier;
use crate::destination::Destination;
use crate::error::ErrorKind;
use crate::key::CacheKey;
use crate::stage::{StageBuild, Step};
use crate::state::StageState;

/// The directory that a copied tree gets.
const TREE: &str = "/root";

impl StageBuild<'_, '_> {
    /// Copies a file or directory of a source into a directory of its own; returns where it is.
    pub(crate) fn materialise(
        &self,
        source: &Arc<ContextSource>,
        path: &str,
        into: &Path,
    ) -> Result<PathBuf, ErrorKind> {
        let (_, group) = self.tree_digest(source, path)?;
        let root = group.selected.first().map(|selected| &selected.root);
        let mut destination = Destination::new(into, &[])?;
        let inner = match root {
            Some(root) if root.file_type == FileType::Directory => {
                destination.made = source.view.metadata(root)?;
                if source.owners == Owners::Root {
                    (destination.made.uid, destination.made.gid) = (0, 0);
                }
                TREE.to_owned()
            }
            _ => format!("{TREE}/{}", path.rsplit('/').next().unwrap_or("file")),
        };
        self.copy_group(&group, &inner, destination)?;
        Ok(into.join(inner.trim_start_matches('/')))
    }

    /// The state of a base that is a tree of files: one layer, and the configuration of `scratch`.
    pub(crate) fn files_state(
        &self,
        name: &str,
        source: &Arc<ContextSource>,
        platform: &Platform,
        title: String,
    ) -> Result<StageState, ErrorKind> {
        let mut state = StageState::scratch(platform);
        let (digest, group) = self.tree_digest(source, "/")?;
        let step = Step {
            name: title,
            created_by: format!("FROM {name}"),
            key: CacheKey::of("files")
                .text("digest", digest.as_str())
                .finish_with_inputs(),
            files: Box::new(|| vec![group.files()]),
            origin: None,
            ground: Ground::Same,
        };
        self.step(&mut state, step, |_, _| {
            let layer = self.engine.store.new_layer()?;
            let destination = Destination::new(layer.path(), &[])?;
            self.copy_group(&group, "/", destination)?;
            Ok(layer.commit()?)
        })?;
        Ok(state)
    }

    fn copy_group(
        &self,
        group: &Group,
        inner: &str,
        destination: Destination,
    ) -> Result<(), ErrorKind> {
        let resolved = Resolved::plain(inner);
        let mut copier = Copier::new(self.engine.store, destination, None, &resolved);
        for selected in &group.selected {
            copier.copy(group, selected)?;
        }
        copier.finish().map(drop)
    }
}

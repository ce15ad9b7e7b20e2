//! The files of an image as one tree: a tar stream, or a directory of the user.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::At;
use crate::layer::{Rewrite, Tree, write_trees};
use crate::{Follow, Limits, Stack, StoreError, View, apply_onto};

/// Bytes that travel at a time.
const CHUNK: usize = 256 << 10;

impl Stack {
    /// Writes the merged tree of all layers as a tar stream.
    pub fn write_tree(&self, rewrite: Rewrite, out: impl Write) -> Result<(), StoreError> {
        self.view()?.write_tree(rewrite, out)
    }

    /// Writes the merged tree of all layers into a directory, which is made where it is missing.
    /// What else is there stays.
    ///
    /// # Errors
    /// When a file cannot be made; the directory may then hold a part of the tree.
    pub fn write_tree_to(&self, rewrite: Rewrite, directory: &Path) -> Result<(), StoreError> {
        std::fs::create_dir_all(directory).at("create", directory)?;
        let (reader, writer) = io::pipe().at("make a pipe for", directory)?;
        let limits = Limits::default();
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut out = BufWriter::with_capacity(CHUNK, writer);
                self.write_tree(rewrite, &mut out)?;
                out.flush().at("write to", directory)
            });
            let applied = apply_onto(directory, reader, &limits);
            let written = writing
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // Who reads knows more than who found the pipe closed.
            applied.map(drop).and(written)
        })
    }
}

/// Writes the merged trees of several stacks as one tar stream, each in a folder.
pub fn concatenate_trees(
    trees: &[(String, Stack, Rewrite)],
    out: impl Write,
) -> Result<(), StoreError> {
    let views = trees.iter().map(|(_, stack, _)| stack.view());
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let trees = trees.iter().zip(&views);
    let trees = trees.map(|((folder, _, rewrite), view)| Tree {
        folder,
        root: view.merged_root(),
        rewrite: *rewrite,
    });
    Ok(write_trees(&trees.collect::<Vec<_>>(), out)?)
}

impl View {
    /// Writes the merged tree as a tar stream.
    pub(crate) fn write_tree(&self, rewrite: Rewrite, out: impl Write) -> Result<(), StoreError> {
        let tree = Tree {
            folder: "",
            root: self.merged_root(),
            rewrite,
        };
        Ok(write_trees(&[tree], out)?)
    }

    /// Lists the paths of all that is no directory, for trees that must not overlap.
    pub fn file_paths(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut paths = Vec::new();
        let root = self.lookup("/".as_ref(), Follow::All)?;
        let mut pending: Vec<_> = root.into_iter().collect();
        while let Some(directory) = pending.pop() {
            for entry in self.read_dir(&directory)? {
                match entry.is_directory() {
                    true => pending.push(entry),
                    false => paths.push(entry.path),
                }
            }
        }
        paths.sort();
        Ok(paths)
    }
}

//! Reading files of an image: one by its entry, or all of some layer in one pass.

use std::io::{self, Read, Write};

use crate::InspectError;
use crate::entry::{Entry, Kind, shown};
use crate::error::PathError;
use crate::image::Image;
use crate::index::tar_error;
use crate::stream::BUFFER;
use crate::tree::{EntryId, Follow, NodeId, Tree};

/// Whether to go on with a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Read on.
    Continue,
    /// All that was wanted has been seen.
    Stop,
}

impl Image {
    /// Writes the content of a file.
    ///
    /// # Errors
    /// When the layer cannot be read, or `out` not be written.
    pub fn read(&self, file: EntryId, out: &mut impl Write) -> Result<(), InspectError> {
        let mut written = Ok(());
        self.read_with(file, |content| {
            written = copy(content, out)?;
            Ok(())
        })?;
        Ok(written?)
    }

    /// Reads a part of a file: at most `most` bytes from the offset `from` on; fewer at its end.
    ///
    /// # Errors
    /// When the layer cannot be read.
    pub fn read_part(&self, file: EntryId, from: u64, most: u64) -> Result<Vec<u8>, InspectError> {
        let mut part = Vec::new();
        self.read_with(file, |content| {
            io::copy(&mut content.take(from), &mut io::sink())?;
            content.take(most).read_to_end(&mut part)?;
            Ok(())
        })?;
        Ok(part)
    }

    /// Hands the content of a file to a reader, which need not read to its end.
    ///
    /// # Errors
    /// When the layer cannot be read; the reader's own error is taken for that.
    pub fn read_with(
        &self,
        file: EntryId,
        mut reader: impl FnMut(&mut dyn Read) -> io::Result<()>,
    ) -> Result<(), InspectError> {
        self.visit(file.layer, |entry, content| {
            if entry != file.entry {
                return Ok(Flow::Continue);
            }
            reader(content)?;
            Ok(Flow::Stop)
        })
    }

    /// Passes through a layer and hands out the content of its files by their place in the index.
    /// What the visitor leaves unread is skipped.
    ///
    /// # Errors
    /// When the layer cannot be read; the visitor's own error is taken for the reader's.
    pub fn visit(
        &self,
        layer: usize,
        mut visitor: impl FnMut(usize, &mut dyn Read) -> io::Result<Flow>,
    ) -> Result<(), InspectError> {
        let failed = |source| self.layer_error(layer, source);
        let entries = &self.index(layer)?.entries;
        let mut stream = self.layer_stream(layer)?;
        let mut next = 0;
        while let Some((_, ordinal, mut content)) = stream.next().map_err(failed)? {
            while entries
                .get(next)
                .is_some_and(|entry| entry.ordinal < ordinal)
            {
                next += 1;
            }
            let is_file = |entry: &&Entry| entry.ordinal == ordinal && entry.kind == Kind::File;
            if entries.get(next).filter(is_file).is_none() {
                continue;
            }
            let visited = visitor(next, &mut content);
            match visited.map_err(|error| failed(tar_error(error)))? {
                Flow::Continue => {}
                Flow::Stop => return Ok(()),
            }
        }
        stream.finish().map_err(failed)
    }

    /// Finds a path in a tree of this image.
    ///
    /// # Errors
    /// [`InspectError::Path`].
    pub fn find(
        &self,
        tree: &Tree<'_>,
        path: &[u8],
        follow: Follow,
    ) -> Result<NodeId, InspectError> {
        tree.resolve(path, follow)
            .map_err(|why| self.path_error(path, why))
    }

    /// Finds the content of a regular file. A hard link in the tree of one layer may lead to a file
    /// of a layer below.
    ///
    /// # Errors
    /// [`InspectError::Path`], also when the path is something else.
    pub fn find_file(&self, tree: &Tree<'_>, path: &[u8]) -> Result<EntryId, InspectError> {
        let id = self.find(tree, path, Follow::All)?;
        let Some(data) = tree.node(id).data else {
            return Err(self.path_error(path, PathError::Directory));
        };
        match tree.entry(data).kind {
            Kind::File => Ok(data),
            Kind::Directory => Err(self.path_error(path, PathError::Directory)),
            Kind::HardLink => {
                let stack = self.stack(data.layer + 1)?;
                let path = tree.path(id);
                self.find_file(&stack.tree, &path)
            }
            Kind::Whiteout | Kind::Opaque => Err(self.path_error(path, PathError::Missing)),
            _ => Err(self.path_error(path, PathError::NotAFile)),
        }
    }

    pub(crate) fn path_error(&self, path: &[u8], why: PathError) -> InspectError {
        InspectError::Path {
            image: self.name.clone(),
            path: shown(path),
            why,
        }
    }
}

/// Copies content. The outer error is the reader's, the inner one the writer's.
fn copy(content: &mut dyn Read, out: &mut impl Write) -> io::Result<io::Result<()>> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(out.flush()),
            count => {
                if let Err(error) = out.write_all(&buffer[..count]) {
                    return Ok(Err(error));
                }
            }
        }
    }
}

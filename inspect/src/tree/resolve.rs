//! Finding paths in a tree, inside its root.

use std::collections::VecDeque;

use super::{NodeId, Tree};
use crate::entry::Kind;
use crate::error::PathError;

/// As many symbolic links as Linux follows on one path (`path_resolution(7)`).
pub(super) const MOST_LINKS: usize = 40;

/// Which symbolic links a look-up follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Those on the way and the last component.
    All,
    /// Those on the way only.
    Parents,
}

/// The components of a path still to be walked.
pub(super) fn steps(path: &[u8]) -> VecDeque<&[u8]> {
    components(path).collect()
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let parts = path.split(|byte| *byte == b'/');
    parts.filter(|part| !part.is_empty() && *part != b".")
}

/// Puts a link's target in front of what is still to be walked.
pub(super) fn follow<'p>(target: &'p [u8], steps: &mut VecDeque<&'p [u8]>) {
    for step in components(target).rev() {
        steps.push_front(step);
    }
}

impl Tree<'_> {
    /// Finds a path, absolute or relative to the root.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn resolve(&self, path: &[u8], follow_last: Follow) -> Result<NodeId, PathError> {
        let mut here = self.root();
        let mut steps = steps(path);
        let must_be_directory = path.ends_with(b"/");
        let mut links = 0;
        while let Some(step) = steps.pop_front() {
            if !self.is_directory(here) {
                return Err(PathError::NotADirectory);
            }
            if step == b".." {
                here = self.parent(here);
                continue;
            }
            let next = self.node(here).children.get(step);
            let next = *next.ok_or(PathError::Missing)?;
            let is_last = steps.is_empty() && !must_be_directory;
            if self.kind(next) != Kind::Symlink || (is_last && follow_last == Follow::Parents) {
                here = next;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(PathError::Loop);
            }
            let target = &self.data(next).expect("a link has an entry").link;
            if target.starts_with(b"/") {
                here = self.root();
            }
            follow(target, &mut steps);
        }
        if must_be_directory && !self.is_directory(here) {
            return Err(PathError::NotADirectory);
        }
        Ok(here)
    }
}

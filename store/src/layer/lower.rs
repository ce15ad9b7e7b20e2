//! The layers below one that is written. Nothing of them is looked at before somebody asks, so that
//! they may still be on their way.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::rc::Rc;

use rustix::io::Errno;

use crate::view::{Child, MergedDirectory, View};

/// Layers that another is written on top of.
pub(crate) trait LowerLayers: Sync {
    /// Returns their root, and waits until it is there.
    ///
    /// # Errors
    /// [`Errno::CANCELED`] when it will never be.
    fn root(&self) -> Result<&MergedDirectory, Errno>;
}

impl LowerLayers for View {
    fn root(&self) -> Result<&MergedDirectory, Errno> {
        Ok(self.merged_root())
    }
}

/// A directory of the lower layers, as far as it is visible, found when it is asked for; a cheap
/// clone.
#[derive(Clone)]
pub(crate) struct Lower<'v>(Rc<State<'v>>);

struct State<'v> {
    origin: Origin<'v>,
    found: OnceCell<Option<MergedDirectory>>,
}

enum Origin<'v> {
    /// There is none, or it cannot be seen.
    Hidden,
    Root(&'v dyn LowerLayers),
    Child(Lower<'v>, OsString),
    Known,
}

impl<'v> Lower<'v> {
    /// Nothing of the lower layers.
    pub(crate) fn hidden() -> Self {
        Self::new(Origin::Hidden, OnceCell::new())
    }

    /// Their root.
    pub(crate) fn root(below: &'v dyn LowerLayers) -> Self {
        Self::new(Origin::Root(below), OnceCell::new())
    }

    /// A directory that was found.
    pub(crate) fn found(directory: MergedDirectory) -> Self {
        Self::new(Origin::Known, OnceCell::from(Some(directory)))
    }

    /// What has that name in this one, if it is a directory.
    pub(crate) fn child(&self, name: &OsStr) -> Self {
        match self.is_hidden() {
            true => self.clone(),
            false => Self::new(
                Origin::Child(self.clone(), name.to_owned()),
                OnceCell::new(),
            ),
        }
    }

    fn new(origin: Origin<'v>, found: OnceCell<Option<MergedDirectory>>) -> Self {
        Self(Rc::new(State { origin, found }))
    }

    /// Tells whether it is known, without a look, that there is none.
    pub(crate) fn is_hidden(&self) -> bool {
        matches!(self.0.origin, Origin::Hidden)
    }

    /// Looks it up, once.
    pub(crate) fn get(&self) -> Result<Option<&MergedDirectory>, Errno> {
        let State { origin, found } = &*self.0;
        if found.get().is_none() {
            let looked_up = match origin {
                Origin::Hidden | Origin::Known => None,
                Origin::Root(below) => Some(below.root()?.clone()),
                Origin::Child(parent, name) => match parent.get()? {
                    None => None,
                    Some(parent) => match parent.child(name)? {
                        Child::Directory(directory) => Some(directory),
                        Child::Missing | Child::Symlink(_) | Child::Other => None,
                    },
                },
            };
            let _ = found.set(looked_up);
        }
        Ok(found.get().and_then(Option::as_ref))
    }
}

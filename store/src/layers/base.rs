//! What a layer is unpacked on: a stack that is there, or one that is still on its way.

use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::layer::LowerLayers;
use crate::view::{MergedDirectory, View};
use crate::{Stack, StoreError};

/// The layers below one that is unpacked.
pub(crate) struct Base {
    coming: Mutex<Option<oneshot::Receiver<Stack>>>,
    there: OnceLock<Option<(Stack, View)>>,
}

impl Base {
    /// Returns one that is there.
    pub(crate) fn of(stack: Stack) -> Result<Self, StoreError> {
        let view = stack.view()?;
        Ok(Self {
            coming: Mutex::new(None),
            there: OnceLock::from(Some((stack, view))),
        })
    }

    /// Returns one that is waited for when it is needed. Not to be asked where a runtime's tasks
    /// run: that blocks.
    pub(crate) fn coming(stack: oneshot::Receiver<Stack>) -> Self {
        Self {
            coming: Mutex::new(Some(stack)),
            there: OnceLock::new(),
        }
    }

    /// Returns the stack and its merged view.
    ///
    /// # Errors
    /// [`StoreError::NoBase`] when it will not come.
    pub(crate) fn get(&self) -> Result<&(Stack, View), StoreError> {
        let wait = || {
            let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
            let stack = coming.take()?.blocking_recv().ok()?;
            let view = stack.view().ok()?;
            Some((stack, view))
        };
        let there = self.there.get_or_init(wait).as_ref();
        there.ok_or(StoreError::NoBase)
    }
}

impl LowerLayers for Base {
    fn root(&self) -> Result<&MergedDirectory, Errno> {
        let (_, view) = self.get().map_err(|_| Errno::CANCELED)?;
        Ok(view.merged_root())
    }
}

//! Removing behind the next step what a step leaves.

use std::any::Any;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

type Value = Box<dyn Any + Send>;

/// A thread that drops values in turn; it is started for the first, and ends with this, after the
/// last.
#[derive(Default)]
pub(crate) struct Behind(OnceLock<(Sender<Value>, JoinHandle<()>)>);

impl Behind {
    /// Drops a value behind what follows.
    pub(crate) fn drop(&self, value: impl Any + Send) {
        let start = || {
            let (sender, receiver) = channel::<Value>();
            (
                sender,
                std::thread::spawn(move || receiver.iter().for_each(drop)),
            )
        };
        // Without the thread, which a panic in a destructor would have ended, it is dropped here.
        let _ = self.0.get_or_init(start).0.send(Box::new(value));
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

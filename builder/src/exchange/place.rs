//! Where caches are: what a registry, a directory and a bucket have in common.

use std::fmt;
use std::io::Read;
use std::path::Path;

use mica_oci::{Descriptor, MediaType};

/// What an implementation says went wrong.
pub type ExchangeError = Box<dyn std::error::Error + Send + Sync>;

/// A place that a cache is read from, under one name.
pub trait CacheSource: fmt::Debug + Send + Sync {
    /// Returns what messages call the place: a reference, a path, a URL.
    fn name(&self) -> String;

    /// Reads the document that the name stands for; `None` when there is none.
    fn root(&self) -> Result<Option<(MediaType, Vec<u8>)>, ExchangeError>;

    /// Opens content. Whoever reads it verifies it.
    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, ExchangeError>;
}

/// A place that a cache is written to, under one name.
pub trait CacheDestination: CacheSource {
    /// Tells whether the content is there, so that it need not be sent.
    fn contains(&self, descriptor: &Descriptor) -> Result<bool, ExchangeError>;

    /// Puts content there. Success means that it is there, whoever put it there.
    fn push(&self, descriptor: &Descriptor, content: Content<'_>) -> Result<(), ExchangeError>;

    /// Gives the name to a document that was pushed.
    fn tag(&self, descriptor: &Descriptor) -> Result<(), ExchangeError>;
}

/// What is pushed.
#[derive(Clone, Copy, Debug)]
pub enum Content<'c> {
    /// A document.
    Bytes(&'c [u8]),
    /// A file of the store.
    File(&'c Path),
}

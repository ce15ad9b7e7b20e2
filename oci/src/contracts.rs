//! The contracts that move content: pull, push, save, load and copy are one verb over them.
//!
//! *Copy a graph, children before parents, tag last.* Every implementation promises: bytes handed
//! out by [`Fetch`] are verified by the time their reader reaches end of file; a [`Push`] that
//! returned without an error means the content is there, whoever put it there; a [`Tag`] is atomic.

use std::future::Future;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{Descriptor, Digest, Reference};

/// A stream of a blob's bytes. An [`std::io::Error`] from it may carry a
/// [`VerifyError`](crate::VerifyError).
pub type BlobReader = Pin<Box<dyn AsyncRead + Send>>;

/// An error of an implementation, with the attempted action and its object in the message.
pub type ContractError = Box<dyn std::error::Error + Send + Sync>;

/// A source of content by descriptor.
pub trait Fetch: Sync {
    /// Opens the content. The reader fails at its end when size or digest do not match.
    fn fetch(
        &self,
        descriptor: &Descriptor,
    ) -> impl Future<Output = Result<BlobReader, ContractError>> + Send;

    /// Opens the content from a byte on. Who asks verifies the whole, as a part shows nothing.
    ///
    /// A source that cannot begin in the middle reads the start and drops it.
    fn fetch_from(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> impl Future<Output = Result<BlobReader, ContractError>> + Send {
        async move {
            let mut content = self.fetch(descriptor).await?;
            let mut start = (&mut content).take(offset);
            tokio::io::copy(&mut start, &mut tokio::io::sink()).await?;
            Ok(content)
        }
    }

    /// Says that the content handed out last was not what the descriptor says. Tells whether
    /// there is another copy, which the next call hands out.
    fn distrust(&self, _descriptor: &Descriptor) -> bool {
        false
    }
}

/// Content that is read while it is being made; its digest is known at its end.
pub trait Growing: Sync {
    /// Names what it is made of. The same origin gives the same bytes, so that what was sent of
    /// them earlier is of use.
    fn origin(&self) -> &Digest;

    /// Waits until so many bytes are there, or all of them: then returns what they are.
    fn wait_for(
        &self,
        length: u64,
    ) -> impl Future<Output = Result<Option<Descriptor>, ContractError>> + Send;

    /// Opens the content from a byte on. The reader waits for what is not there yet.
    fn open(&self, offset: u64) -> impl Future<Output = Result<BlobReader, ContractError>> + Send;
}

/// A place that content can be put into.
pub trait Push: Sync {
    /// Tells whether the content is there already, so that it need not be sent.
    fn contains(
        &self,
        descriptor: &Descriptor,
    ) -> impl Future<Output = Result<bool, ContractError>> + Send;

    /// Puts the content there. Idempotent: success means that the content is there.
    fn push(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> impl Future<Output = Result<(), ContractError>> + Send;

    /// As [`push`](Self::push), of content that can be opened again at any byte: an
    /// implementation that is interrupted goes on from there.
    fn push_from<S: Fetch>(
        &self,
        descriptor: &Descriptor,
        source: &S,
    ) -> impl Future<Output = Result<(), ContractError>> + Send {
        async move {
            let content = source.fetch(descriptor).await?;
            self.push(descriptor, content).await
        }
    }

    /// Puts content there that is still being made, and returns what it turned out to be.
    ///
    /// An implementation may send its start before its end is made.
    fn push_growing<G: Growing>(
        &self,
        content: &G,
    ) -> impl Future<Output = Result<Descriptor, ContractError>> + Send {
        async move {
            let whole = content.wait_for(u64::MAX).await?;
            let whole = whole.ok_or("the content has no end")?;
            self.push(&whole, content.open(0).await?).await?;
            Ok(whole)
        }
    }
}

/// A source of names.
pub trait Resolve: Sync {
    /// Finds what a name stands for.
    fn resolve(
        &self,
        reference: &Reference,
    ) -> impl Future<Output = Result<Descriptor, ContractError>> + Send;
}

/// A place that can give names to what it holds.
pub trait Tag: Sync {
    /// Gives `reference` to content that is there already. Readers see the old or the new one.
    fn tag(
        &self,
        descriptor: &Descriptor,
        reference: &Reference,
    ) -> impl Future<Output = Result<(), ContractError>> + Send;
}

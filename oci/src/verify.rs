//! Reading that ends in an error when the bytes are not those that were asked for.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::{Descriptor, Digest, Hasher};

/// A reader that checks size and digest of what passes through it.
///
/// Nothing read from it is to be trusted before it returned end of file: only then has it seen
/// every byte. It never hands out more bytes than the descriptor's size. Works for [`Read`] and
/// for [`AsyncRead`], whichever the inner reader is.
#[derive(Debug)]
pub struct Verified<R> {
    inner: R,
    expected: Digest,
    size: u64,
    seen: u64,
    hasher: Option<Hasher>,
}

/// Says how content differs from its descriptor. Travels inside an [`io::Error`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifyError {
    /// The content ended early.
    #[error("content of {digest} ended after {seen} of {size} bytes")]
    Short {
        /// The digest asked for.
        digest: Digest,
        /// How many bytes came.
        seen: u64,
        /// How many were promised.
        size: u64,
    },
    /// The content goes on past its size.
    #[error("content of {digest} is longer than its {size} bytes")]
    Long {
        /// The digest asked for.
        digest: Digest,
        /// How many bytes were promised.
        size: u64,
    },
    /// The content is something else.
    #[error("content has digest {actual}, expected {expected}")]
    Digest {
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
}

impl<R> Verified<R> {
    /// Checks what `inner` yields against `descriptor`.
    pub fn new(inner: R, descriptor: &Descriptor) -> Self {
        Self {
            inner,
            expected: descriptor.digest.clone(),
            size: descriptor.size,
            seen: 0,
            hasher: Some(Hasher::new()),
        }
    }

    fn account(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        if bytes.is_empty() {
            return self.finish();
        }
        self.seen += bytes.len() as u64;
        if self.seen > self.size {
            return Err(VerifyError::Long {
                digest: self.expected.clone(),
                size: self.size,
            });
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), VerifyError> {
        if self.seen < self.size {
            return Err(VerifyError::Short {
                digest: self.expected.clone(),
                seen: self.seen,
                size: self.size,
            });
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(actual) if actual != self.expected => Err(VerifyError::Digest {
                expected: self.expected.clone(),
                actual,
            }),
            _ => Ok(()),
        }
    }
}

fn invalid(error: VerifyError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        self.account(&buffer[..count]).map_err(invalid)?;
        Ok(count)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Verified<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let start = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let checked = self.account(&buffer.filled()[start..]);
        if checked.is_err() {
            // A reader that fails must not have filled its buffer: the contract of AsyncRead.
            buffer.set_filled(start);
        }
        Poll::Ready(checked.map_err(invalid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MediaType;

    fn check(content: &[u8], asked: &Descriptor, good: bool) {
        let mut out = Vec::new();
        let sync = Verified::new(content, asked).read_to_end(&mut out);
        assert_eq!(sync.is_ok(), good, "{asked:?}: {sync:?}");
        assert!(out.len() as u64 <= asked.size.max(content.len() as u64));
    }

    #[test]
    fn only_the_very_bytes_pass() {
        let descriptor = Descriptor::of(MediaType::OCI_LAYER, b"hello");
        check(b"hello", &descriptor, true);
        check(b"hell", &descriptor, false);
        check(b"hello!", &descriptor, false);
        check(b"jello", &descriptor, false);
        check(b"", &Descriptor::of(MediaType::OCI_LAYER, b""), true);
    }
}

//! Bridges between blocking readers and writers and asynchronous ones: bounded channels of bytes.
//!
//! Dropping one end ends the other, so a transfer that is given up leaves no thread behind.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use mica_oci::{BlobReader, ContractError, Descriptor, Fetch};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedSender};

/// Bytes that travel at a time: large enough that waking a thread does not count.
const CHUNK: usize = 256 << 10;

/// Chunks on the way: enough that neither side waits for a short pause of the other.
const DEPTH: usize = 4;

/// The blocking end of a channel that is fed by [`feed`].
pub(super) struct ChannelReader {
    chunks: Receiver<Bytes>,
    current: Bytes,
}

/// Makes a channel that [`feed`] fills and a blocking reader empties.
pub(super) fn channel() -> (Sender<Bytes>, ChannelReader) {
    let (sender, chunks) = mpsc::channel(DEPTH);
    let current = Bytes::new();
    (sender, ChannelReader { chunks, current })
}

/// Sends all that `reader` has, telling `progress` how much that is so far. Ends early, without
/// an error, when the receiving end is gone: it knows why.
pub(super) async fn feed(
    mut reader: Pin<Box<dyn AsyncRead + Send>>,
    sender: Sender<Bytes>,
    mut progress: impl FnMut(u64),
) -> io::Result<()> {
    let mut total = 0;
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        while chunk.len() < CHUNK && reader.read_buf(&mut chunk).await? > 0 {}
        if chunk.is_empty() {
            return Ok(());
        }
        total += chunk.len() as u64;
        if sender.send(chunk.freeze()).await.is_err() {
            return Ok(());
        }
        progress(total);
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// A writer in a blocking thread whose bytes come out of a [`ProducedReader`].
pub(super) struct ProducedWriter {
    chunks: Sender<io::Result<Bytes>>,
    current: BytesMut,
}

/// What a blocking thread produces, as a stream.
pub(super) struct ProducedReader {
    chunks: Receiver<io::Result<Bytes>>,
    current: Bytes,
}

/// Runs `produce` in a thread of its own and returns what it writes. Its error is the stream's.
pub(super) fn produce<E>(
    produce: impl FnOnce(&mut ProducedWriter) -> Result<(), E> + Send + 'static,
) -> ProducedReader
where
    E: std::error::Error + Send + Sync + 'static,
{
    let (sender, chunks) = mpsc::channel(DEPTH);
    tokio::task::spawn_blocking(move || {
        let mut writer = ProducedWriter {
            chunks: sender,
            current: BytesMut::with_capacity(CHUNK),
        };
        let result = produce(&mut writer).map_err(io::Error::other);
        if let Err(error) = result.and_then(|()| writer.flush()) {
            // Without a receiver nobody is left to be told.
            let _ = writer.chunks.blocking_send(Err(error));
        }
    });
    ProducedReader {
        chunks,
        current: Bytes::new(),
    }
}

impl Write for ProducedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK - self.current.len());
        self.current.extend_from_slice(&bytes[..count]);
        if self.current.len() == CHUNK {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.current, BytesMut::with_capacity(CHUNK));
        self.chunks
            .blocking_send(Ok(chunk.freeze()))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for ProducedReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.current.is_empty() {
            match ready!(self.chunks.poll_recv(context)) {
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = buffer.remaining().min(self.current.len());
        buffer.put_slice(&self.current.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// A stream that tells how much of it was read: every [`CHUNK`] bytes, and at its end.
struct Counted<R> {
    inner: R,
    total: u64,
    told: UnboundedSender<u64>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let before = self.total;
        self.total += (buffer.filled().len() - start) as u64;
        let is_end = self.total == before;
        if is_end || self.total / CHUNK as u64 != before / CHUNK as u64 {
            // Without a listener nobody wants to know.
            let _ = self.told.send(self.total);
        }
        Poll::Ready(Ok(()))
    }
}

/// A source that tells how much of its content was read, from its first byte on.
pub(super) struct CountedSource<'a, S> {
    source: &'a S,
    told: UnboundedSender<u64>,
}

impl<'a, S> CountedSource<'a, S> {
    pub(super) fn new(source: &'a S, told: UnboundedSender<u64>) -> Self {
        Self { source, told }
    }
}

/// Returns a stream that tells how much of it was read, of which `total` was before.
pub(super) fn counted(inner: BlobReader, total: u64, told: &UnboundedSender<u64>) -> BlobReader {
    let told = told.clone();
    Box::pin(Counted { inner, total, told })
}

impl<S: Fetch> Fetch for CountedSource<'_, S> {
    async fn fetch(&self, descriptor: &Descriptor) -> Result<BlobReader, ContractError> {
        let content = self.source.fetch(descriptor).await?;
        Ok(counted(content, 0, &self.told))
    }

    async fn fetch_from(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<BlobReader, ContractError> {
        let content = self.source.fetch_from(descriptor, offset).await?;
        Ok(counted(content, offset, &self.told))
    }

    fn distrust(&self, descriptor: &Descriptor) -> bool {
        self.source.distrust(descriptor)
    }
}

//! Unpacking a layer's blob: verify and decompress here, hash and apply on a thread of its own. To
//! decompress takes longer than all else together. Of a plain blob the digest is the diff ID.
//!
//! ```text
//! blob ─▶ size and digest ─▶ decompress ─▶ channel ─▶ diff ID ─▶ tar ─▶ files
//! ```

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use mica_oci::{ChainId, Descriptor, DiffId, Digest, Hasher, Verified};

use super::Base;
use crate::error::At;
use crate::layer::{Applied, Decompressed, LayerError, apply};
use crate::{
    Layer, LayerDescription, LayerWriter, Limits, Metadata, Stack, Store, StoreError, View, sys,
};

/// Bytes that travel at a time.
const CHUNK: usize = 256 << 10;

/// Chunks on the way: enough that neither side waits for a short pause of the other.
const DEPTH: usize = 4;

impl Store {
    /// Unpacks a layer on top of a stack whose layers are registered, and registers it. Where it
    /// is there already nothing is read.
    ///
    /// # Errors
    /// When `blob` is not what `descriptor` and `diff_id` say, or cannot be applied; nothing is
    /// visible then.
    pub fn apply_layer(
        &self,
        parent: &Stack,
        diff_id: &DiffId,
        descriptor: &Descriptor,
        blob: impl Read,
    ) -> Result<Layer, StoreError> {
        if let Some(known) = self.layer(&ChainId::extend(chain_of(parent)?.as_ref(), diff_id))? {
            return Ok(known);
        }
        let base = Base::of(parent.clone())?;
        let verified = Verified::new(blob, descriptor);
        self.apply_verified(&base, diff_id, descriptor, verified)
    }

    /// As [`apply_layer`](Self::apply_layer) for a layer that is not there, with a reader that fails
    /// at its end unless the blob is the one described. The base is waited for when something of
    /// it is needed, at the latest when the layer is registered.
    pub(crate) fn apply_verified(
        &self,
        base: &Base,
        diff_id: &DiffId,
        descriptor: &Descriptor,
        verified: impl Read,
    ) -> Result<Layer, StoreError> {
        self.check_unpacks(descriptor)?;
        let (writer, description) = self.unpack_beside(base, descriptor, verified)?;
        if description.diff_id != *diff_id {
            return Err(StoreError::DiffId {
                digest: descriptor.digest.clone(),
                expected: diff_id.clone(),
                actual: description.diff_id,
            });
        }
        let (parent, _) = base.get()?;
        let below = chain_of(parent)?;
        self.register(below.as_ref(), writer.commit()?, &description)
    }

    /// Unpacks a layer's blob on top of a stack, and leaves it at that. The reader fails at its end
    /// unless the blob is the one described.
    pub(crate) fn unpack_beside(
        &self,
        base: &Base,
        descriptor: &Descriptor,
        verified: impl Read,
    ) -> Result<(LayerWriter, LayerDescription), StoreError> {
        let writer = self.new_layer()?;
        let digest = Some(&descriptor.digest);
        let description = unpack(&writer, base, verified, digest, self.limits());
        let description = description.map_err(|source| StoreError::Unpack {
            digest: descriptor.digest.clone(),
            source: Box::new(source),
        })?;
        Ok((writer, description))
    }

    /// Unpacks a stream that nothing is known of.
    pub(crate) fn unpack_unknown(
        &self,
        parent: &Stack,
        stream: impl Read,
    ) -> Result<LayerWriter, StoreError> {
        let base = Base::of(parent.clone())?;
        let writer = self.new_layer()?;
        unpack(&writer, &base, stream, None, self.limits())?;
        Ok(writer)
    }
}

/// Returns the metadata of a view's root.
pub(crate) fn root_metadata(view: &View) -> Result<Metadata, StoreError> {
    match view.lookup("/".as_ref(), crate::Follow::All)? {
        Some(root) => view.metadata(&root),
        None => Ok(Metadata {
            modified: Some((0, 0)),
            ..Metadata::new(0o755, 0, 0)
        }),
    }
}

fn chain_of(parent: &Stack) -> Result<Option<ChainId>, StoreError> {
    match parent.layers.last() {
        None => Ok(None),
        Some(Layer {
            chain: Some(chain), ..
        }) => Ok(Some(chain.clone())),
        Some(layer) => Err(StoreError::Unregistered {
            path: layer.path.clone(),
        }),
    }
}

/// Unpacks a blob, which fails at its end unless its digest is the one that is given, if one is.
fn unpack(
    writer: &LayerWriter,
    base: &Base,
    blob: impl Read,
    digest: Option<&Digest>,
    limits: &Limits,
) -> Result<LayerDescription, StoreError> {
    let root = sys::open_root(writer.path()).at("open", writer.path())?;
    let (sender, receiver) = sync_channel(DEPTH);
    let (used, buffers) = sync_channel(DEPTH + 2);
    let stream = Decompressed::new(blob, limits);
    let is_plain = stream.as_ref().is_ok_and(Decompressed::is_plain);
    let known = digest.filter(|_| is_plain);
    let hasher = known.is_none().then(Hasher::new);
    let mut chunks = Chunks::new(receiver, used, hasher);
    let applied = thread::scope(|scope| {
        // With an error the chunks go, too: who feeds would wait for ever for somebody to take one.
        let applied = scope.spawn(move || -> Result<_, LayerError> {
            Ok((apply(root, base, &mut chunks, limits)?, chunks))
        });
        feed(stream, sender, &buffers);
        applied
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let (applied, chunks) = applied?;
    let Applied {
        entries,
        content,
        describes_root,
        ..
    } = applied;
    if !describes_root {
        // Overlayfs shows the topmost layer's: like the one below it.
        let (_, view) = base.get()?;
        root_metadata(view)?.apply(writer.path())?;
    }
    let hashed = chunks.hasher.map(Hasher::finish).or(known.cloned());
    Ok(LayerDescription {
        diff_id: DiffId(hashed.expect("it is hashed where it is not known")),
        size: chunks.size,
        content,
        entries,
    })
}

/// Decompresses to the end, or until the other side has given up. An error travels to the other
/// side, which knows what it was at. What that side has read through is used again.
fn feed(
    stream: io::Result<Decompressed<impl Read>>,
    sender: SyncSender<io::Result<Vec<u8>>>,
    buffers: &Receiver<Vec<u8>>,
) {
    let send = || -> io::Result<()> {
        let mut stream = stream?;
        loop {
            let mut chunk = buffers.try_recv().unwrap_or_default();
            read_chunk(&mut stream, &mut chunk)?;
            if chunk.is_empty() || sender.send(Ok(chunk)).is_err() {
                return Ok(());
            }
        }
    };
    if let Err(error) = send() {
        // Nobody listens when the other side has failed as well.
        let _ = sender.send(Err(error));
    }
}

/// Fills a chunk; at the end of the stream, after the checks that come there, it is empty.
fn read_chunk(stream: &mut Decompressed<impl Read>, chunk: &mut Vec<u8>) -> io::Result<()> {
    chunk.resize(CHUNK, 0);
    let mut filled = 0;
    while filled < CHUNK {
        match stream.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(filled);
    if filled == 0 {
        stream.finish()?;
    }
    Ok(())
}

/// The reading end of the channel, which hashes all that comes, unless that is known.
struct Chunks {
    receiver: Receiver<io::Result<Vec<u8>>>,
    used: SyncSender<Vec<u8>>,
    hasher: Option<Hasher>,
    size: u64,
    chunk: Vec<u8>,
    position: usize,
}

impl Chunks {
    fn new(
        receiver: Receiver<io::Result<Vec<u8>>>,
        used: SyncSender<Vec<u8>>,
        hasher: Option<Hasher>,
    ) -> Self {
        Self {
            receiver,
            used,
            hasher,
            size: 0,
            chunk: Vec::new(),
            position: 0,
        }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.chunk.len() {
            // The sender goes away at the end of the stream.
            let Ok(chunk) = self.receiver.recv() else {
                return Ok(0);
            };
            let used = std::mem::replace(&mut self.chunk, chunk?);
            // One that finds no room is dropped.
            let _ = self.used.try_send(used);
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&self.chunk);
            }
            self.size += self.chunk.len() as u64;
            self.position = 0;
        }
        let rest = &self.chunk[self.position..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}

//! Compression in parallel, with the same bytes on every machine.
//!
//! The input is cut into blocks that are compressed on their own. Blocks, not threads, shape the
//! output. A block is a member of gzip (RFC 1952, 2.2) or a frame of zstd (RFC 8878, 3.1), of
//! which any number make one stream.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use libdeflater::{CompressionLvl, Compressor};
use mica_oci::Compression;

/// Input bytes of one block. Smaller blocks lose matches, larger ones parallelism.
const BLOCK: usize = 1 << 20;

/// Part of the format of what leaves the store: another level gives other digests.
/// The figures are in `docs/decisions/0006-gzip-back-end.md`.
const GZIP_LEVEL: i32 = 2;

/// The library's own default.
const ZSTD_LEVEL: i32 = 3;

/// More threads than this wait for the one that writes.
const MOST_THREADS: usize = 16;

/// How layers are compressed on their way out, and how hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Codec {
    compression: Compression,
    level: i32,
}

/// Says why there is no such codec.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("compression level {level} is out of range: {name} takes 0 to {most}")]
pub struct LevelError {
    level: i32,
    name: &'static str,
    most: i32,
}

impl Codec {
    /// Gzip as layers are pushed by default.
    pub const GZIP: Self = Self {
        compression: Compression::Gzip,
        level: GZIP_LEVEL,
    };

    /// Chooses a compression and a level: 0 to 9 of gzip, 0 to 22 of zstd; a plain tar stream
    /// has none.
    pub fn new(compression: Compression, level: Option<i32>) -> Result<Self, LevelError> {
        let (name, most, usual) = match compression {
            Compression::None => ("uncompressed", 0, 0),
            Compression::Gzip => ("gzip", 9, GZIP_LEVEL),
            Compression::Zstd => ("zstd", 22, ZSTD_LEVEL),
        };
        let level = level.unwrap_or(usual);
        match (compression, (0..=most).contains(&level)) {
            (Compression::None, _) => Ok(Self {
                compression,
                level: 0,
            }),
            (_, true) => Ok(Self { compression, level }),
            (_, false) => Err(LevelError { level, name, most }),
        }
    }

    /// Returns the compression.
    pub fn compression(self) -> Compression {
        self.compression
    }

    /// Names this codec's results among those of a layer; empty for the default.
    pub(crate) fn suffix(self) -> String {
        match (self.compression, self.level) {
            (Compression::Gzip, GZIP_LEVEL) => String::new(),
            (Compression::None, _) => "/none".to_owned(),
            (Compression::Gzip, level) => format!("/gzip-{level}"),
            (Compression::Zstd, level) => format!("/zstd-{level}"),
        }
    }
}

/// What one thread compresses its blocks with.
enum Packer {
    None,
    Gzip(Box<Compressor>),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    fn new(codec: Codec) -> io::Result<Self> {
        Ok(match codec.compression {
            Compression::None => Self::None,
            Compression::Zstd => Self::Zstd(zstd::bulk::Compressor::new(codec.level)?),
            Compression::Gzip => {
                let level = CompressionLvl::new(codec.level);
                let level = level.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                Self::Gzip(Box::new(Compressor::new(level)))
            }
        })
    }

    fn pack(&mut self, input: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(input),
            Self::Zstd(frame) => frame.compress(&input),
            Self::Gzip(member) => {
                let mut packed = vec![0; member.gzip_compress_bound(input.len())];
                let length = member.gzip_compress(&input, &mut packed);
                packed.truncate(length.map_err(io::Error::other)?);
                Ok(packed)
            }
        }
    }
}

/// Compresses what is written to it; memory is bounded by the number of threads.
pub(crate) struct BlockWriter<W: Write> {
    out: W,
    blocks: u64,
    block: Vec<u8>,
    workers: Workers,
    pending: VecDeque<Receiver<io::Result<Vec<u8>>>>,
}

/// The threads, and the way to them; dropping ends them.
struct Workers {
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

struct Job {
    input: Vec<u8>,
    reply: SyncSender<io::Result<Vec<u8>>>,
}

impl<W: Write> BlockWriter<W> {
    /// Starts a stream, with a thread for every processor.
    pub(crate) fn new(out: W, codec: Codec) -> io::Result<Self> {
        let threads = match codec.compression {
            Compression::None => 1,
            _ => thread::available_parallelism().map_or(1, usize::from),
        };
        Self::with_threads(out, codec, threads.min(MOST_THREADS))
    }

    fn with_threads(out: W, codec: Codec, threads: usize) -> io::Result<Self> {
        Ok(Self {
            out,
            blocks: 0,
            block: Vec::with_capacity(BLOCK),
            workers: Workers::start(threads, codec)?,
            pending: VecDeque::new(),
        })
    }

    /// Ends the stream and returns what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        // Nothing at all is no stream of gzip or zstd; a member or frame of nothing is one.
        if !self.block.is_empty() || self.blocks == 0 {
            self.send_block()?;
        }
        while !self.pending.is_empty() {
            self.write_oldest()?;
        }
        Ok(self.out)
    }

    fn send_block(&mut self) -> io::Result<()> {
        self.blocks += 1;
        // One block more than threads waits compressed, so that no thread idles meanwhile.
        while self.pending.len() > self.workers.threads.len() {
            self.write_oldest()?;
        }
        let input = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let (reply, result) = sync_channel(1);
        self.workers.send(Job { input, reply })?;
        self.pending.push_back(result);
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        if let Some(oldest) = self.pending.pop_front() {
            let block = oldest.recv().map_err(|_| worker_died())??;
            self.out.write_all(&block)?;
        }
        Ok(())
    }
}

impl<W: Write> Write for BlockWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK {
            self.send_block()?;
        }
        Ok(count)
    }

    /// Does nothing: a block that ended early would change the output.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Workers {
    fn start(count: usize, codec: Codec) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(count);
        let queue = Arc::new(Mutex::new(queue));
        let mut workers = Self {
            jobs: Some(jobs),
            threads: Vec::with_capacity(count),
        };
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new().name("compress".to_owned());
            let packer = Packer::new(codec)?;
            workers
                .threads
                .push(thread.spawn(move || work(&queue, packer))?);
        }
        Ok(workers)
    }

    fn send(&self, job: Job) -> io::Result<()> {
        let jobs = self.jobs.as_ref().ok_or_else(worker_died)?;
        jobs.send(job).map_err(|_| worker_died())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic in a worker was seen already: its reply never came.
            let _ = thread.join();
        }
    }
}

fn work(queue: &Mutex<Receiver<Job>>, mut packer: Packer) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The writer may have gone after an error of its own; then nobody wants the block.
        let _ = job.reply.send(packer.pack(job.input));
    }
}

fn worker_died() -> io::Error {
    io::Error::other("a compression thread ended early")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Text that compresses, and noise that does not, from a xorshift generator.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut bytes = Vec::with_capacity(length + 64);
        while bytes.len() < length {
            match next() % 3 {
                0 => bytes.extend_from_slice(b"the quick brown fox jumps over the lazy dog "),
                1 => bytes.extend_from_slice(&next().to_le_bytes()),
                _ => bytes.extend_from_slice(&[0; 40]),
            }
        }
        bytes.truncate(length);
        bytes
    }

    fn compress(codec: Codec, input: &[u8], threads: usize, step: usize) -> Vec<u8> {
        let mut writer = BlockWriter::with_threads(Vec::new(), codec, threads).unwrap();
        for piece in input.chunks(step) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap()
    }

    fn decompress(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        let mut back = Vec::new();
        match codec.compression {
            Compression::None => back.extend_from_slice(bytes),
            Compression::Zstd => back = zstd::decode_all(bytes).unwrap(),
            Compression::Gzip => {
                let mut decoder = flate2::read::MultiGzDecoder::new(bytes);
                decoder.read_to_end(&mut back).unwrap();
            }
        }
        back
    }

    fn check(codec: Codec, length: usize) {
        let input = sample(length);
        let expected = compress(codec, &input, 1, BLOCK);
        for (threads, step) in [(1, 999), (2, 64 << 10), (7, 3 * BLOCK)] {
            let output = compress(codec, &input, threads, step);
            assert!(output == expected, "{codec:?}, {length}, {threads} threads");
        }
        assert!(
            decompress(codec, &expected) == input,
            "{codec:?}, {length} bytes"
        );
    }

    #[test]
    fn neither_threads_nor_writes_shape_the_output() {
        for length in [0, 1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 12345] {
            check(Codec::GZIP, length);
            check(Codec::new(Compression::Zstd, None).unwrap(), length);
            check(Codec::new(Compression::None, None).unwrap(), length);
        }
    }

    #[test]
    fn levels_change_the_size_and_nothing_else() {
        let input = sample(2 * BLOCK);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let [low, high] = [1, 9].map(|level| Codec::new(compression, Some(level)).unwrap());
            let sizes = [low, high].map(|codec| {
                let output = compress(codec, &input, 2, BLOCK);
                assert!(decompress(codec, &output) == input, "{codec:?}");
                output.len()
            });
            assert!(sizes[0] > sizes[1], "{compression:?}: {sizes:?}");
        }
        assert!(Codec::new(Compression::Gzip, Some(10)).is_err());
        assert!(Codec::new(Compression::Zstd, Some(23)).is_err());
        assert!(Codec::new(Compression::Gzip, Some(-1)).is_err());
    }

    #[test]
    fn noise_grows_by_little() {
        let mut state = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(3 * BLOCK)
        .collect();
        assert!(compress(Codec::GZIP, &noise, 2, BLOCK).len() < noise.len() + noise.len() / 500);
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match bytes.len() {
                0 => Ok(0),
                _ => Err(io::ErrorKind::StorageFull.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_error_of_the_output_ends_it() {
        let mut writer = BlockWriter::with_threads(Full, Codec::GZIP, 2).unwrap();
        let written = writer.write_all(&sample(20 * BLOCK));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    /// Guards the digests of pushed layers: they may change only with a new block size, level or
    /// back end, which is a decision of its own.
    #[test]
    fn output_is_pinned() {
        let digest = mica_oci::Digest::of(&compress(Codec::GZIP, &sample(2 * BLOCK + 5), 2, BLOCK));
        assert_eq!(digest.short(), "5cc807567c23");
    }
}

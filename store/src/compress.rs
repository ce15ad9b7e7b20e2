//! Gzip in parallel, with the same bytes on every machine.
//!
//! One gzip member whose deflate stream is made of blocks compressed on their own, each of
//! [`BLOCK`] bytes of input and ended by a sync flush. Blocks, not threads, shape the output.
//!
//! ```text
//! header (no name, time 0) │ block │ block │ … │ empty final block │ CRC-32 │ length
//! ```

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use flate2::{Compress, Compression, Crc, FlushCompress};

/// Input bytes of one block. Smaller blocks lose matches, larger ones parallelism.
const BLOCK: usize = 1 << 20;

/// Part of the format of what leaves the store: another level gives other digests.
/// The figures are in `docs/decisions/0006-gzip-back-end.md`.
const LEVEL: u32 = 3;

/// RFC 1952, 2.3: deflate, no flags, time 0, no hint of the level, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// RFC 1951, 3.2.6: the last block, with fixed codes and nothing but its end.
const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// More threads than this wait for the one that writes.
const MOST_THREADS: usize = 16;

/// Compresses what is written to it; memory is bounded by the number of threads.
pub(crate) struct GzipWriter<W: Write> {
    out: W,
    block: Vec<u8>,
    workers: Workers,
    pending: VecDeque<Receiver<io::Result<Block>>>,
    crc: Crc,
}

/// The threads, and the way to them; dropping ends them.
struct Workers {
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

struct Job {
    input: Vec<u8>,
    reply: SyncSender<io::Result<Block>>,
}

struct Block {
    compressed: Vec<u8>,
    crc: Crc,
}

impl<W: Write> GzipWriter<W> {
    /// Starts a stream, with a thread for every processor.
    pub(crate) fn new(out: W) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(out, threads.min(MOST_THREADS))
    }

    fn with_threads(mut out: W, threads: usize) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        Ok(Self {
            out,
            block: Vec::with_capacity(BLOCK),
            workers: Workers::start(threads)?,
            pending: VecDeque::new(),
            crc: Crc::new(),
        })
    }

    /// Ends the stream and returns what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() {
            self.send_block()?;
        }
        while !self.pending.is_empty() {
            self.write_oldest()?;
        }
        self.out.write_all(&FINAL_BLOCK)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    fn send_block(&mut self) -> io::Result<()> {
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
            self.out.write_all(&block.compressed)?;
            self.crc.combine(&block.crc);
        }
        Ok(())
    }
}

impl<W: Write> Write for GzipWriter<W> {
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
    fn start(count: usize) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(count);
        let queue = Arc::new(Mutex::new(queue));
        let mut workers = Self {
            jobs: Some(jobs),
            threads: Vec::with_capacity(count),
        };
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new().name("gzip".to_owned());
            workers.threads.push(thread.spawn(move || work(&queue))?);
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

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The writer may have gone after an error of its own; then nobody wants the block.
        let _ = job.reply.send(compress_block(&job.input));
    }
}

fn compress_block(input: &[u8]) -> io::Result<Block> {
    let mut crc = Crc::new();
    crc.update(input);
    let mut deflate = Compress::new(Compression::new(LEVEL), false);
    // Stored blocks need 5 bytes for 64 KiB at most, the flush another 5.
    let mut compressed = Vec::with_capacity(input.len() + input.len() / 1000 + 64);
    loop {
        let rest = &input[deflate.total_in() as usize..];
        deflate
            .compress_vec(rest, &mut compressed, FlushCompress::Sync)
            .map_err(io::Error::other)?;
        let all = deflate.total_in() as usize == input.len();
        if all && compressed.len() < compressed.capacity() {
            return Ok(Block { compressed, crc });
        }
        compressed.reserve(BLOCK / 8);
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

    fn compress(input: &[u8], threads: usize, step: usize) -> Vec<u8> {
        let mut writer = GzipWriter::with_threads(Vec::new(), threads).unwrap();
        for piece in input.chunks(step) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn neither_threads_nor_writes_shape_the_output() {
        for length in [0, 1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 12345] {
            let input = sample(length);
            let expected = compress(&input, 1, BLOCK);
            for (threads, step) in [(1, 999), (2, 64 << 10), (7, 3 * BLOCK)] {
                let output = compress(&input, threads, step);
                assert!(output == expected, "{length} bytes, {threads} threads");
            }
            let mut back = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&expected[..]);
            decoder.read_to_end(&mut back).unwrap();
            assert!(back == input, "{length} bytes");
            assert_eq!(decoder.into_inner(), [0u8; 0], "a single member");
        }
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
        assert!(compress(&noise, 2, BLOCK).len() < noise.len() + noise.len() / 500);
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > HEADER.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_error_of_the_output_ends_it() {
        let mut writer = GzipWriter::with_threads(Full, 2).unwrap();
        let written = writer.write_all(&sample(20 * BLOCK));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    /// Guards the digests of pushed layers: they may change only with a new block size, level or
    /// back end, which is a decision of its own.
    #[test]
    fn output_is_pinned() {
        let digest = mica_oci::Digest::of(&compress(&sample(2 * BLOCK + 5), 2, BLOCK));
        assert_eq!(digest.short(), "e2b31f76fd37");
    }
}

//! Telling how a layer is compressed, and undoing it.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use mica_oci::Compression;

use super::header::BLOCK;
use super::limits::Limits;

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

/// Bytes that tell the compressions apart.
const MAGIC: usize = 4;

/// Output up to which no ratio is looked at: short files of zeros are common.
const FREE_EXPANSION: u64 = 16 << 20;

/// The uncompressed stream of a layer.
pub(crate) struct Decompressed<R: Read> {
    stream: Stream<R>,
    written: u64,
    limits: Limits,
}

type Input<R> = BufReader<Chain<Cursor<Vec<u8>>, Counted<R>>>;

enum Stream<R: Read> {
    Plain(Input<R>),
    Gzip(Box<MultiGzDecoder<Input<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input<R>>>),
}

impl<R: Read> Decompressed<R> {
    /// Looks at the first bytes: they are right even where a descriptor is not.
    pub(crate) fn new(input: R, limits: &Limits) -> io::Result<Self> {
        let mut input = Counted { input, count: 0 };
        let magic = first_bytes(&mut input)?;
        let compression = detect(&magic);
        let input = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(input));
        let stream = match compression {
            Compression::None => Stream::Plain(input),
            Compression::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Zstd => {
                Stream::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(input)?))
            }
        };
        Ok(Self {
            stream,
            written: 0,
            limits: limits.clone(),
        })
    }

    /// Reads on below the decompressor, which may have stopped before the end of its input: the
    /// checks of a digest come there.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let input = match &mut self.stream {
            Stream::Plain(input) => input,
            Stream::Gzip(decoder) => decoder.get_mut(),
            Stream::Zstd(decoder) => decoder.get_mut(),
        };
        io::copy(input, &mut io::sink()).map(drop)
    }

    fn compressed(&self) -> u64 {
        match &self.stream {
            Stream::Plain(_) => self.written,
            Stream::Gzip(decoder) => decoder.get_ref().get_ref().get_ref().1.count,
            Stream::Zstd(decoder) => decoder.get_ref().get_ref().get_ref().1.count,
        }
    }

    fn account(&mut self, count: usize) -> io::Result<()> {
        self.written += count as u64;
        let over = |limit: Option<u64>, value: u64| limit.is_some_and(|limit| value > limit);
        if over(self.limits.stream, self.written) {
            return Err(refused("the layer is larger than its limit"));
        }
        let ratio = self.written / self.compressed().max(1);
        if self.written > FREE_EXPANSION && over(self.limits.expansion, ratio) {
            return Err(refused("the layer expands more than its limit"));
        }
        Ok(())
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.stream {
            Stream::Plain(input) => input.read(buffer)?,
            Stream::Gzip(decoder) => decoder.read(buffer)?,
            Stream::Zstd(decoder) => decoder.read(buffer)?,
        };
        self.account(count)?;
        Ok(count)
    }
}

/// Reads the first bytes; a pipe may hand them out one by one.
fn first_bytes(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut magic = Vec::with_capacity(MAGIC);
    input.take(MAGIC as u64).read_to_end(&mut magic)?;
    Ok(magic)
}

/// Tells an archive by its first bytes: gzip, zstd, or a tar header's magic. Leaves the file at its
/// start.
///
/// # Errors
///
/// The file's.
pub fn is_archive(file: &mut std::fs::File) -> io::Result<bool> {
    use std::io::Seek;
    let mut head = Vec::with_capacity(BLOCK);
    file.rewind()?;
    Read::by_ref(file)
        .take(BLOCK as u64)
        .read_to_end(&mut head)?;
    file.rewind()?;
    let compressed = head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    Ok(compressed || head.get(257..262) == Some(b"ustar"))
}

/// RFC 1952, 2.3.1 (gzip); RFC 8878, 3.1.1 and 3.1.2 (zstd frames, skippable frames).
fn detect(magic: &[u8]) -> Compression {
    match magic {
        [0x1f, 0x8b, 8, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// A reader that counts.
struct Counted<R> {
    input: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    /// A pipe whose writer writes byte by byte.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    fn read(input: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut stream = Decompressed::new(Slow(input), &Limits::default())?;
        stream.read_to_end(&mut out)?;
        stream.finish()?;
        Ok(out)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn streams_are_told_by_their_first_bytes() {
        let zstd = |content: &[u8]| zstd::encode_all(content, 1).unwrap();
        let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        let cases = [
            (Vec::new(), ""),
            (b"ab".to_vec(), "ab"),
            (b"plain".to_vec(), "plain"),
            ([gzip(b"one"), gzip(b""), gzip(b"two")].concat(), "onetwo"),
            (
                [zstd(b"one"), skippable.clone(), zstd(b"two")].concat(),
                "onetwo",
            ),
            ([skippable, zstd(b"one")].concat(), "one"),
        ];
        for (input, expected) in cases {
            assert_eq!(
                read(&input).unwrap(),
                expected.as_bytes(),
                "{}",
                input.escape_ascii()
            );
        }
    }

    #[test]
    fn damage_is_found() {
        let mut wrong_sum = gzip(b"content");
        let place = wrong_sum.len() - 8;
        wrong_sum[place] ^= 1;
        let (gzip, zstd) = (
            gzip(b"content"),
            zstd::encode_all(&b"content"[..], 1).unwrap(),
        );
        for damaged in [&wrong_sum, &gzip[..gzip.len() - 1], &zstd[..zstd.len() - 1]] {
            assert!(read(damaged).is_err(), "{}", damaged.escape_ascii());
        }
    }
}

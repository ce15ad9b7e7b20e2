//! Telling how a layer is compressed, and undoing it.

use std::io::{self, BufReader, Chain, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::header::{BLOCK, Header};
use super::limits::Limits;

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

/// Bytes that tell the compressions apart.
const MAGIC: usize = 6;

/// What a decoder of xz may use, in KiB: twice what `xz -9` asks for.
const XZ_MEMORY: u32 = 128 << 10;

/// The uncompressed stream of a layer.
pub struct Decompressed<R: Read> {
    stream: Stream<R>,
    written: u64,
    limits: Limits,
}

type Input<R> = BufReader<Chain<Cursor<Vec<u8>>, Counted<R>>>;

enum Stream<R: Read> {
    Plain(Input<R>),
    Gzip(Box<MultiGzDecoder<Input<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input<R>>>),
    Bzip2(Box<MultiBzDecoder<Input<R>>>),
    Xz(Box<XzReader<Input<R>>>),
}

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl<R: Read> Decompressed<R> {
    /// Looks at the first bytes: they are right even where a descriptor is not.
    pub fn new(input: R, limits: &Limits) -> io::Result<Self> {
        let mut input = Counted { input, count: 0 };
        let magic = first_bytes(&mut input)?;
        let format = detect(&magic);
        let input = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(input));
        let stream = match format {
            Format::Plain => Stream::Plain(input),
            Format::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(input))),
            Format::Zstd => {
                Stream::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(input)?))
            }
            Format::Bzip2 => Stream::Bzip2(Box::new(MultiBzDecoder::new(input))),
            Format::Xz => Stream::Xz(Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY))),
        };
        Ok(Self {
            stream,
            written: 0,
            limits: limits.clone(),
        })
    }

    /// Tells whether the stream is its input, as it is.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Plain(_))
    }

    /// Reads on below the decompressor, which may have stopped before the end of its input: the
    /// checks of a digest come there.
    pub fn finish(&mut self) -> io::Result<()> {
        let input = match &mut self.stream {
            Stream::Plain(input) => input,
            Stream::Gzip(decoder) => decoder.get_mut(),
            Stream::Zstd(decoder) => decoder.get_mut(),
            Stream::Bzip2(decoder) => decoder.get_mut(),
            Stream::Xz(decoder) => decoder.inner_mut(),
        };
        io::copy(input, &mut io::sink()).map(drop)
    }

    fn compressed(&self) -> u64 {
        match &self.stream {
            Stream::Plain(_) => self.written,
            Stream::Gzip(decoder) => decoder.get_ref().get_ref().get_ref().1.count,
            Stream::Zstd(decoder) => decoder.get_ref().get_ref().get_ref().1.count,
            Stream::Bzip2(decoder) => decoder.get_ref().get_ref().get_ref().1.count,
            Stream::Xz(decoder) => decoder.inner().get_ref().get_ref().1.count,
        }
    }

    fn account(&mut self, count: usize) -> io::Result<()> {
        self.written += count as u64;
        let over = |limit: Option<u64>, value: u64| limit.is_some_and(|limit| value > limit);
        if over(self.limits.stream, self.written) {
            return Err(refused("the layer is larger than its limit"));
        }
        let ratio = self.written / self.compressed().max(1);
        if self.written > self.limits.free_expansion && over(self.limits.expansion, ratio) {
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
            Stream::Bzip2(decoder) => decoder.read(buffer)?,
            Stream::Xz(decoder) => decoder.read(buffer)?,
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

/// Tells whether a file is a tar archive, plain or compressed, by its first header. A compressed
/// file of something else is none. Leaves the file at its start.
///
/// # Errors
///
/// The file's.
pub fn is_archive(file: &mut std::fs::File) -> io::Result<bool> {
    use std::io::Seek;
    file.rewind()?;
    let first = first_block(file);
    file.rewind()?;
    // What cannot be decompressed is no archive.
    Ok(first.is_some_and(|header| !header.is_zero() && header.verify().is_ok()))
}

fn first_block(file: &std::fs::File) -> Option<Header> {
    let mut block = [0; BLOCK];
    let mut stream = Decompressed::new(file, &Limits::default()).ok()?;
    stream.read_exact(&mut block).ok()?;
    Some(Header(block))
}

/// RFC 1952, 2.3.1 (gzip); RFC 8878, 3.1.1 and 3.1.2 (zstd frames, skippable frames); the .xz file
/// format, 2.1.1.1; bzip2's format has no standard.
fn detect(magic: &[u8]) -> Format {
    match magic {
        [0x1f, 0x8b, 8, ..] => Format::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        _ => Format::Plain,
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
        let bzip2 = |content: &[u8]| {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        };
        // `printf one | xz --check=crc32`
        let xz = b"\xfd\x37\x7a\x58\x5a\x00\x00\x01\x69\x22\xde\x36\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x02\x6f\x6e\x65\x00\x00\xf1\x86\x6c\x7a\x00\x01\x17\x03\x07\x60\x0c\xbc\x90\x42\x99\x0d\x01\x00\x00\x00\x00\x01\x59\x5a";
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
            ([bzip2(b"one"), bzip2(b"two")].concat(), "onetwo"),
            ([&xz[..], &xz[..]].concat(), "oneone"),
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

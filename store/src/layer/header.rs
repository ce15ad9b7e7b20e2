//! The 512-byte header of a tar entry: POSIX.1-1988 `ustar`, with GNU's large numbers.

use super::error::TarError;

/// Headers and data stand in blocks of this size.
pub(crate) const BLOCK: usize = 512;

/// A header block, its fields at their places.
#[derive(Clone)]
pub(crate) struct Header(pub(crate) [u8; BLOCK]);

type Field = std::ops::Range<usize>;
pub(crate) const NAME: Field = 0..100;
pub(crate) const MODE: Field = 100..108;
pub(crate) const UID: Field = 108..116;
pub(crate) const GID: Field = 116..124;
pub(crate) const SIZE: Field = 124..136;
pub(crate) const MODIFIED: Field = 136..148;
const CHECKSUM: Field = 148..156;
const TYPE: usize = 156;
pub(crate) const LINK: Field = 157..257;
const MAGIC: Field = 257..265;
pub(crate) const MAJOR: Field = 329..337;
pub(crate) const MINOR: Field = 337..345;
pub(crate) const PREFIX: Field = 345..500;

impl Header {
    /// A `ustar` header with all numbers zero.
    pub(crate) fn new(entry_type: u8) -> Self {
        let mut header = Self([0; BLOCK]);
        header.0[MAGIC].copy_from_slice(b"ustar\x0000");
        header.0[TYPE] = entry_type;
        for field in [MODE, UID, GID, SIZE, MODIFIED, MAJOR, MINOR] {
            header.set_number(field, 0);
        }
        header
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    pub(crate) fn entry_type(&self) -> u8 {
        self.0[TYPE]
    }

    pub(crate) fn is_gnu(&self) -> bool {
        &self.0[MAGIC] == b"ustar  \0"
    }

    /// Returns the name; in `ustar` headers it may continue a prefix.
    pub(crate) fn name(&self) -> Vec<u8> {
        let (prefix, name) = (self.text(PREFIX), self.text(NAME));
        let has_prefix = &self.0[MAGIC] == b"ustar\x0000" && !prefix.is_empty();
        match has_prefix {
            true => [prefix, b"/", name].concat(),
            false => name.to_vec(),
        }
    }

    pub(crate) fn text(&self, field: Field) -> &[u8] {
        let bytes = &self.0[field];
        bytes.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Reads a number: octal digits, or binary when the first bit is set. An empty one is zero.
    pub(crate) fn number(&self, field: Field, name: &'static str) -> Result<i64, TarError> {
        let bytes = &self.0[field];
        let number = match bytes[0] & 0x80 {
            0 => octal(bytes),
            _ => binary(bytes),
        };
        number.ok_or(TarError::Number { field: name })
    }

    /// As [`number`](Self::number) for what is not negative.
    pub(crate) fn size(&self, field: Field, name: &'static str) -> Result<u64, TarError> {
        let number = self.number(field, name)?;
        u64::try_from(number).map_err(|_| TarError::Number { field: name })
    }

    /// Checks the sum. Old writers added signed bytes; both are taken.
    pub(crate) fn verify(&self) -> Result<(), TarError> {
        let stored = self.number(CHECKSUM, "check sum")?;
        let signed: i64 = self.summed().map(|byte| i64::from(byte as i8)).sum();
        match stored == self.sum() || stored == signed {
            true => Ok(()),
            false => Err(TarError::Checksum),
        }
    }

    fn sum(&self) -> i64 {
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>();
        let spaces = CHECKSUM.len() as i64 * i64::from(b' ');
        sum(&self.0) - sum(&self.0[CHECKSUM]) + spaces
    }

    /// The bytes that count, with the sum's own field as spaces.
    fn summed(&self) -> impl Iterator<Item = u8> {
        let place = |index| CHECKSUM.contains(&index);
        let bytes = self.0.iter().enumerate();
        bytes.map(move |(index, byte)| if place(index) { b' ' } else { *byte })
    }

    /// Writes a number in octal; tells whether it fits.
    pub(crate) fn set_number(&mut self, field: Field, value: u64) -> bool {
        let width = field.len() - 1;
        let fits = value >> (3 * width) == 0;
        if fits {
            let mut rest = value;
            for digit in self.0[field.start..field.start + width].iter_mut().rev() {
                *digit = b'0' + (rest & 7) as u8;
                rest >>= 3;
            }
        }
        fits
    }

    /// Writes text; tells whether it fits.
    pub(crate) fn set_text(&mut self, field: Field, text: &[u8]) -> bool {
        let fits = text.len() <= field.len();
        if fits {
            self.0[field.start..field.start + text.len()].copy_from_slice(text);
        }
        fits
    }

    /// Writes the check sum; to be called last.
    pub(crate) fn seal(&mut self) {
        let sum = self.sum() as u64;
        self.0[CHECKSUM].copy_from_slice(b"0000000 ");
        self.set_number(CHECKSUM.start..CHECKSUM.end - 1, sum);
        self.0[CHECKSUM.end - 2] = 0;
    }
}

fn octal(bytes: &[u8]) -> Option<i64> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    let text = text.trim_ascii();
    if text.is_empty() {
        return Some(0);
    }
    if !text.iter().all(|byte| (b'0'..=b'7').contains(byte)) {
        return None;
    }
    i64::from_str_radix(std::str::from_utf8(text).ok()?, 8).ok()
}

/// Two's complement, big-endian; the first bit is the mark, the second the sign.
fn binary(bytes: &[u8]) -> Option<i64> {
    let negative = bytes[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in bytes.iter().enumerate() {
        let byte = match (index, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value = (value << 8) | i128::from(byte);
    }
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Option<i64>) {
        let mut header = Header::new(b'0');
        header.0[SIZE].fill(0);
        assert!(header.set_text(SIZE, bytes));
        let number = header.number(SIZE, "size").ok();
        assert_eq!(number, expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn numbers_are_octal_or_binary() {
        check(b"", Some(0));
        check(b"00000000017\0", Some(15));
        check(b"  17 ", Some(15));
        check(b"777777777777", Some(0o777_777_777_777));
        check(b"8", None);
        check(b"-1", None);
        check(b"\x80\0\0\0\0\0\0\0\0\0\x01\x00", Some(256));
        check(&[0xff; 12], Some(-1));
        check(
            &[
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
            ],
            Some(-2),
        );
        check(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None);
    }

    #[test]
    fn a_sealed_header_verifies() {
        let mut header = Header::new(b'5');
        assert!(header.set_text(NAME, &[0xe9; 100]));
        assert!(header.set_number(UID, 0o7_777_777));
        assert!(!header.set_number(GID, 0o10_000_000));
        header.seal();
        assert!(header.verify().is_ok());
        header.0[3] ^= 1;
        assert!(matches!(header.verify(), Err(TarError::Checksum)));
    }
}

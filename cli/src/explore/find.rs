//! Finding bytes in a file that is read once, however long it is.

use std::io::{self, Read};

use super::keys::Way;

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

/// What is searched, and from where.
#[derive(Debug)]
pub(super) struct Search {
    /// The bytes; ASCII letters stand for both cases.
    pub(super) needle: Vec<u8>,
    /// An offset in the file.
    pub(super) from: u64,
    /// Whether the first one at that offset or behind is wanted, or the last one before it.
    pub(super) way: Way,
}

/// Where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// The offset in the file.
    pub(super) at: u64,
    /// Whether there was none up to the end, or the start, and the search went on at the other one.
    pub(super) is_around: bool,
}

/// Makes bytes of what was typed: `\x7f` is a byte, all else stands for itself.
pub(super) fn needle(typed: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = typed;
    while let Some(letter) = rest.chars().next() {
        let digits = rest.strip_prefix("\\x").and_then(|rest| rest.get(..2));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let taken = match byte {
            Some(byte) => {
                bytes.push(byte);
                4
            }
            None => {
                bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                letter.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    bytes
}

impl Search {
    /// Searches content whose first byte has the offset `start`. It is read no further than needed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn run(&self, content: &mut dyn Read, start: u64) -> io::Result<Option<Hit>> {
        let mut buffer = Vec::new();
        let mut offset = start;
        let (mut near, mut around) = (None, None);
        loop {
            let kept = buffer.len();
            content.take(BUFFER as u64).read_to_end(&mut buffer)?;
            if buffer.len() == kept {
                break;
            }
            for place in self.places(&buffer) {
                let at = offset + place as u64;
                match (self.way, at < self.from) {
                    (Way::Forward, false) => return Ok(Some(hit(at))),
                    (Way::Forward, true) => around = around.or(Some(at)),
                    (Way::Backward, true) => near = Some(at),
                    (Way::Backward, false) if near.is_some() => return Ok(near.map(hit)),
                    (Way::Backward, false) => around = Some(at),
                }
            }
            let done = buffer.len().saturating_sub(self.needle.len() - 1);
            buffer.drain(..done);
            offset += done as u64;
        }
        let around = around.map(|at| Hit {
            at,
            is_around: true,
        });
        Ok(near.map(hit).or(around))
    }

    fn places<'b>(&'b self, bytes: &'b [u8]) -> impl Iterator<Item = usize> + 'b {
        let windows = bytes.windows(self.needle.len()).enumerate();
        let is_it = |(_, window): &(usize, &[u8])| window.eq_ignore_ascii_case(&self.needle);
        windows.filter(is_it).map(|(place, _)| place)
    }
}

fn hit(at: u64) -> Hit {
    Hit {
        at,
        is_around: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &[u8], typed: &str, from: u64, way: Way, expected: Option<(u64, bool)>) {
        let search = Search {
            needle: needle(typed),
            from,
            way,
        };
        let found = search.run(&mut &content[..], 100);
        let found = found.expect("memory can be read");
        assert_eq!(found.map(|hit| (hit.at, hit.is_around)), expected);
    }

    #[test]
    fn both_ways_and_around() {
        let content = b"one two ONE two";
        check(content, "one", 100, Way::Forward, Some((100, false)));
        check(content, "one", 101, Way::Forward, Some((108, false)));
        check(content, "one", 109, Way::Forward, Some((100, true)));
        check(content, "one", 108, Way::Backward, Some((100, false)));
        check(content, "one", 100, Way::Backward, Some((108, true)));
        check(content, "three", 0, Way::Forward, None);
        check(b"", "one", 0, Way::Backward, None);
    }

    #[test]
    fn between_two_reads() {
        let mut content = vec![b'-'; 3 * BUFFER];
        content[2 * BUFFER - 2..2 * BUFFER + 2].copy_from_slice(b"word");
        let at = 100 + 2 * BUFFER as u64 - 2;
        check(&content, "word", 0, Way::Forward, Some((at, false)));
        check(&content, "word", u64::MAX, Way::Backward, Some((at, false)));
    }

    #[test]
    fn bytes_are_typed() {
        assert_eq!(needle(r"\x7fELF\x02"), b"\x7fELF\x02");
        assert_eq!(needle(r"\xé\"), r"\xé\".as_bytes());
    }
}

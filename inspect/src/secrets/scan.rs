//! Looking for secrets in a stream, a buffer at a time.

use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::patterns::{LONGEST_TOKEN, TOKENS};
use super::{DeclaredSecret, excerpt};

/// The longest declared value that is looked for; of longer ones their beginning.
const LONGEST_VALUE: usize = 4096;

/// Shorter values are in every image.
const SHORTEST_VALUE: usize = 4;

/// What stands around the kind of a private key.
const KEY: (&[u8], &[u8]) = (b"-----BEGIN ", b"PRIVATE KEY");

/// A text to look for as it is.
struct Needle {
    what: String,
    bytes: Vec<u8>,
}

/// All that is looked for, by its first byte.
pub(super) struct Scanner {
    needles: Vec<Needle>,
    /// Whether something that is looked for begins with a byte.
    begins: [bool; 256],
}

impl Scanner {
    pub(super) fn new(declared: &[DeclaredSecret]) -> Self {
        let mut needles = Vec::new();
        for secret in declared {
            let value = secret.value.trim_ascii();
            let value = &value[..value.len().min(LONGEST_VALUE)];
            if value.len() < SHORTEST_VALUE {
                continue;
            }
            let what = format!("declared secret {}", secret.name);
            for bytes in [value.to_vec(), base64(value)] {
                let what = what.clone();
                needles.push(Needle { what, bytes });
            }
        }
        let mut begins = [false; 256];
        begins[usize::from(KEY.0[0])] = true;
        for token in TOKENS {
            begins[usize::from(token.prefix[0])] = true;
        }
        for needle in &needles {
            begins[usize::from(needle.bytes[0])] = true;
        }
        Self { needles, begins }
    }

    /// Looks through a stream to its end; returns what was found, the offset and an excerpt.
    pub(super) fn stream(
        &self,
        content: &mut dyn Read,
        size: usize,
    ) -> io::Result<Vec<(String, u64, String)>> {
        let overlap = LONGEST_TOKEN.max(LONGEST_VALUE);
        let mut buffer = vec![0; size.max(2 * overlap)];
        let (mut filled, mut base, mut found) = (0, 0, Vec::new());
        loop {
            let count = content.read(&mut buffer[filled..])?;
            filled += count;
            let is_end = count == 0;
            if filled < buffer.len() && !is_end {
                continue;
            }
            // What begins near the end is looked at when more is there.
            let limit = if is_end { filled } else { filled - overlap };
            let mut at = 0;
            while at < limit {
                at += self.at(&buffer[..filled], at, base, &mut found);
            }
            if is_end {
                return Ok(found);
            }
            buffer.copy_within(at..filled, 0);
            filled -= at;
            base += at as u64;
        }
    }

    /// Looks at one place; returns how far to go on.
    fn at(
        &self,
        text: &[u8],
        at: usize,
        base: u64,
        found: &mut Vec<(String, u64, String)>,
    ) -> usize {
        let rest = &text[at..];
        if !self.begins[usize::from(rest[0])] {
            return 1;
        }
        for needle in &self.needles {
            if rest.starts_with(&needle.bytes) {
                found.push((needle.what.clone(), base + at as u64, String::new()));
                return needle.bytes.len();
            }
        }
        if let Some(length) = private_key(rest) {
            found.push(("private key".into(), base + at as u64, String::new()));
            return length;
        }
        let is_inside = at > 0 && text[at - 1].is_ascii_alphanumeric();
        let token = TOKENS.iter().filter(|_| !is_inside).find_map(|token| {
            let length = token.length(rest.strip_prefix(token.prefix)?)?;
            Some((token.what, token.prefix.len() + length))
        });
        match token {
            None => 1,
            Some((what, length)) => {
                let text = String::from_utf8_lossy(&rest[..length]);
                found.push((what.to_owned(), base + at as u64, excerpt(&text)));
                length
            }
        }
    }
}

/// Tells a private key in PEM form: its first line, and a line of base64 after it. Programs hold the
/// first line alone.
fn private_key(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(KEY.0)?;
    let line = rest.split(|byte| *byte == b'-').next()?;
    let is_key = line.ends_with(KEY.1) || line.ends_with(b"PRIVATE KEY BLOCK");
    let after = rest.get(line.len()..)?.strip_prefix(b"-----")?;
    // As a value of JSON or the environment its line ends are written out.
    let content = after
        .strip_prefix(b"\\n")
        .unwrap_or(after)
        .trim_ascii_start();
    let is_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let length = content.iter().take_while(is_base64).count();
    let is_content = length >= 32 || content.starts_with(b"Proc-Type:");
    (is_key && is_content).then_some(KEY.0.len() + line.len() + 5)
}

/// Encodes a value, without what a longer text would change at the end.
fn base64(bytes: &[u8]) -> Vec<u8> {
    let mut text = STANDARD_NO_PAD.encode(bytes).into_bytes();
    text.truncate(bytes.len() * 8 / 6);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let declared = [DeclaredSecret {
            name: "db".into(),
            value: b"correct horse\n".to_vec(),
        }];
        let scanner = Scanner::new(&declared);
        // Whatever stands before it, it is found, also over the ends of buffers.
        for before in [0, 1, 8000, 9000, 16384, 20000] {
            let text = format!("{}{text} \n", ".".repeat(before));
            let found = scanner.stream(&mut text.as_bytes(), 1).unwrap();
            let shown: Vec<_> = found.iter().map(|(what, _, _)| what.as_str()).collect();
            assert_eq!(shown, expected, "{before}");
            for (_, offset, _) in found {
                assert!(offset >= before as u64);
            }
        }
    }

    #[test]
    fn secrets_are_found() {
        let random = "k8Jx02mQpL5vR1zT7yB4nC6dF9gH3sAwEuIo";
        check("password is correct horse, no?", &["declared secret db"]);
        check("Y29ycmVjdCBob3JzZQ==", &["declared secret db"]);
        check(&format!("token ghp_{random}"), &["GitHub token"]);
        check(&format!("xghp_{random}"), &[]);
        check("AKIAIOSFODNN7EXAMPLE", &["AWS access key"]);
        check("AKIAXXXXXXXXXXXXXXXX", &[]);
        check("AKIAIOSFODNN7EXAMPLEX", &[]);
        let key = |content: &str| format!("-----BEGIN RSA PRIVATE KEY-----\n{content}\n");
        check(&key(&"MIIE".repeat(16)), &["private key"]);
        check(&key("%s"), &[]);
        check(
            "-----BEGIN PUBLIC KEY-----\nMIIEMIIEMIIEMIIEMIIEMIIEMIIEMIIE",
            &[],
        );
    }
}

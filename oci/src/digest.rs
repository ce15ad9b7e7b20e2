//! Three addresses that are never mixed up: of bytes, of a layer, of a stack of layers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The address of any bytes: an algorithm and its value in lower-case hexadecimal.
///
/// Source: OCI image specification, `descriptor.md`, "Digests". Only `sha256` is accepted: it is
/// what every registry serves, and an address that nothing here can verify is of no use.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Box<str>);

/// Says why a text is no digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DigestError {
    /// There is no `algorithm:value`.
    #[error("`{0}` is not a digest: expected `sha256:` and 64 hexadecimal digits")]
    Malformed(String),
    /// The algorithm is one that nothing here can verify.
    #[error("digest `{0}` uses an unsupported algorithm: only sha256 is supported")]
    Algorithm(String),
}

const PREFIX: &str = "sha256:";
const HEX_LENGTH: usize = 64;

impl Digest {
    /// Computes the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Returns the 64 hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// Returns the first 12 hexadecimal digits: docker's short form of an identifier.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// Makes the digest of a SHA-256 sum.
    pub fn of_sum(sum: &[u8; 32]) -> Self {
        let mut text = [0; 64];
        hex::encode_to_slice(sum, &mut text).expect("a sum has 64 hexadecimal digits");
        let text = std::str::from_utf8(&text).expect("digits are ASCII");
        Self([PREFIX, text].concat().into())
    }

    /// Returns the sum: the form for those who keep many.
    pub fn sum(&self) -> [u8; 32] {
        let mut sum = [0; 32];
        hex::decode_to_slice(self.hex(), &mut sum).expect("a digest has 64 hexadecimal digits");
        sum
    }

    /// Returns the whole text, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(value) = text.strip_prefix(PREFIX) else {
            return Err(match text.split_once(':') {
                Some(_) => DigestError::Algorithm(text.to_owned()),
                None => DigestError::Malformed(text.to_owned()),
            });
        };
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if value.len() == HEX_LENGTH && value.bytes().all(is_hex) {
            Ok(Self(text.into()))
        } else {
            Err(DigestError::Malformed(text.to_owned()))
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The address of a layer's uncompressed tar stream.
///
/// Source: OCI image specification, `config.md`, "Layer DiffID".
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

/// The address of a stack of layers, bottom to top.
///
/// Source: OCI image specification, `config.md`, "Layer ChainID".
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl ChainId {
    /// Computes the chain ID of `layer` on top of `parent`.
    pub fn extend(parent: Option<&Self>, layer: &DiffId) -> Self {
        match parent {
            None => Self(layer.0.clone()),
            Some(parent) => Self(Digest::of(format!("{} {}", parent.0, layer.0).as_bytes())),
        }
    }

    /// Computes the chain ID of a whole stack, bottom first; `None` for no layers.
    pub fn of(layers: &[DiffId]) -> Option<Self> {
        layers.iter().fold(None, |parent, layer| {
            Some(Self::extend(parent.as_ref(), layer))
        })
    }
}

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Computes a [`Digest`] piece by piece. It is a [`std::io::Write`], so a copy can end in it.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts with no bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes added.
    pub fn finish(self) -> Digest {
        Digest::of_sum(&self.sum())
    }

    /// Returns the SHA-256 sum of all bytes added.
    pub fn sum(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_only_complete_sha256() {
        let good = format!("sha256:{}", "a".repeat(64));
        assert_eq!(good.parse::<Digest>().unwrap().as_str(), good);
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:abc",
            &good.to_uppercase(),
            "sha256:../../etc/passwd",
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert!(matches!(
            "sha512:aa".parse::<Digest>(),
            Err(DigestError::Algorithm(_))
        ));
    }

    #[test]
    fn digest_of_empty_is_the_known_one() {
        assert_eq!(
            Digest::of(b"").hex(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn a_sum_makes_the_same_digest() {
        let digest = Digest::of(b"a");
        assert_eq!(Digest::of_sum(&digest.sum()), digest);
    }

    #[test]
    fn chain_id_follows_the_specification() {
        let (a, b) = (DiffId(Digest::of(b"a")), DiffId(Digest::of(b"b")));
        assert_eq!(ChainId::of(&[]), None);
        assert_eq!(ChainId::of(std::slice::from_ref(&a)).unwrap().0, a.0);
        let expected = Digest::of(format!("{a} {b}").as_bytes());
        assert_eq!(ChainId::of(&[a, b]).unwrap().0, expected);
    }
}

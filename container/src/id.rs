//! Container IDs and made-up names.

use std::fmt;

use rustix::rand::GetRandomFlags;
use serde::{Deserialize, Serialize};

/// A container's ID: 64 lower-case hexadecimal digits, random.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(Box<str>);

const LENGTH: usize = 64;
const SHORT_LENGTH: usize = 12;

impl ContainerId {
    /// Makes a new one.
    pub(crate) fn random() -> Self {
        Self(random_hex().into())
    }

    /// Takes a text that is an ID.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        (text.len() == LENGTH && is_hex(text)).then(|| Self(text.into()))
    }

    /// Returns the 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first 12 digits, as listings show.
    pub fn short(&self) -> &str {
        &self.0[..SHORT_LENGTH]
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells whether a text can be the beginning of an ID.
pub(crate) fn is_hex(text: &str) -> bool {
    text.len() <= LENGTH
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns 64 random hexadecimal digits; the names of anonymous volumes are made of them too.
pub(crate) fn random_hex() -> String {
    random_bytes::<{ LENGTH / 2 }>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn random_bytes<const COUNT: usize>() -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    // Up to 256 bytes come whole and uninterrupted once the kernel's pool is ready; getrandom(2).
    let filled = rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty());
    assert!(filled == Ok(COUNT), "the kernel gives random bytes");
    bytes
}

const ADJECTIVES: [&str; 48] = [
    "amber", "bold", "brave", "bright", "brisk", "calm", "candid", "clear", "clever", "cosmic",
    "curious", "deft", "eager", "early", "fair", "fleet", "fond", "frank", "gentle", "glad",
    "golden", "grand", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively",
    "lucid", "merry", "mild", "modest", "nimble", "noble", "patient", "plain", "polite", "proud",
    "quick", "quiet", "silent", "steady", "sunny", "tidy", "vivid", "warm",
];

/// People who described minerals, crystals and layers of rock, and some who built machines.
const SURNAMES: [&str; 48] = [
    "agricola",
    "anning",
    "babbage",
    "barlow",
    "berzelius",
    "bragg",
    "bravais",
    "breithaupt",
    "cordier",
    "cuvier",
    "dana",
    "delisle",
    "ebel",
    "fedorov",
    "franklin",
    "freiesleben",
    "gadolin",
    "gesner",
    "goldschmidt",
    "hall",
    "haidinger",
    "hauy",
    "hodgkin",
    "hopper",
    "hutton",
    "klaproth",
    "lehmann",
    "linnaeus",
    "lonsdale",
    "lovelace",
    "lyell",
    "miller",
    "mohs",
    "naumann",
    "niggli",
    "pauling",
    "playfair",
    "scheele",
    "smith",
    "steno",
    "stensen",
    "strunz",
    "tilas",
    "turing",
    "vauquelin",
    "weiss",
    "werner",
    "wollaston",
];

/// Makes up a name; the `attempt`s after a few get a number, so that one is free at last.
pub(crate) fn random_name(attempt: u32) -> String {
    let [first, second, third] = random_bytes::<3>().map(usize::from);
    let name = format!(
        "{}_{}",
        ADJECTIVES[first % ADJECTIVES.len()],
        SURNAMES[second % SURNAMES.len()]
    );
    if attempt < 4 {
        name
    } else {
        format!("{name}{}", third % 10 + 10 * attempt as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_and_have_their_form() {
        let (one, other) = (ContainerId::random(), ContainerId::random());
        assert_ne!(one, other);
        assert_eq!(ContainerId::from_text(one.as_str()), Some(one.clone()));
        assert_eq!(one.short().len(), 12);
        for bad in ["", "abc", &"g".repeat(64), &"a".repeat(65)] {
            assert_eq!(ContainerId::from_text(bad), None);
        }
    }

    #[test]
    fn names_have_their_form() {
        for attempt in [0, 10] {
            assert!(crate::mounts::is_name(&random_name(attempt)));
        }
    }
}

//! Known words of the language, and the nearest one to a typo.

/// The keywords of all instructions, in upper case and sorted.
pub const INSTRUCTION_NAMES: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Lists the flags of an instruction (its keyword in any case), without dashes and sorted.
#[must_use]
pub fn flags_of(instruction: &str) -> &'static [&'static str] {
    match instruction.to_ascii_uppercase().as_str() {
        "ADD" => &[
            "checksum",
            "chmod",
            "chown",
            "exclude",
            "keep-git-dir",
            "link",
            "unpack",
        ],
        "COPY" => &["chmod", "chown", "exclude", "from", "link", "parents"],
        "FROM" => &["platform"],
        "HEALTHCHECK" => &[
            "interval",
            "retries",
            "start-interval",
            "start-period",
            "timeout",
        ],
        "RUN" => &["device", "mount", "network", "security"],
        _ => &[],
    }
}

/// How many edits a word may be away from the one it is taken for; BuildKit's limit.
const LONGEST_DISTANCE: usize = 2;

/// Longest word that is compared: a longer one is no typo, and the comparison is quadratic.
const LONGEST_WORD: usize = 128;

/// Finds the known word that is nearest to a wrong one, in any case.
///
/// Returns nothing if none is near, or if the word is known after all.
#[must_use]
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let word = word.to_lowercase();
    closest(known, |known| {
        strsim::levenshtein(&word, &known.to_lowercase())
    })
}

/// Finds the known word that is nearest to a wrong one of which the case counts, such as a
/// variable's name.
#[must_use]
pub fn nearest_exact<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    closest(known, |known| strsim::levenshtein(word, known))
}

/// Of several that are equally near, the first counts.
fn closest<'k>(
    known: impl IntoIterator<Item = &'k str>,
    distance: impl Fn(&str) -> usize,
) -> Option<&'k str> {
    let (away, best) = known
        .into_iter()
        .filter(|known| known.len() <= LONGEST_WORD)
        .map(|known| (distance(known), known))
        .min_by_key(|(away, _)| *away)?;
    (1..=LONGEST_DISTANCE).contains(&away).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_words() {
        let cases = [
            ("FNTRYPOINT", Some("ENTRYPOINT")),
            ("foo", Some("FROM")),
            ("RUNN", Some("RUN")),
            ("BADCMD", None),
            ("run", None),
            ("", None),
        ];
        for (word, found) in cases {
            assert_eq!(
                nearest(word, INSTRUCTION_NAMES.iter().copied()),
                found,
                "{word}"
            );
        }
        assert_eq!(
            nearest("mont", flags_of("run").iter().copied()),
            Some("mount")
        );
        assert_eq!(nearest("nope", flags_of("COPY").iter().copied()), None);
        assert_eq!(nearest("zz", ["a"]), Some("a"));
    }
}

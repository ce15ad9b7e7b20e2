//! A list of patterns against paths: alone, while walking a tree, and with the reason.

use super::path::{clean, parents};
use super::pattern::Pattern;
use super::{IgnoreError, IgnoreLine};

/// A list of ignore patterns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    patterns: Vec<Pattern>,
}

/// Which patterns matched a directory, for its entries.
///
/// The default value stands for the root of the context.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParentMatches {
    matched: Vec<bool>,
}

/// What a list of patterns says about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the context.
    Kept,
    /// It is left out.
    Ignored,
}

/// Why a path is kept or left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'m> {
    /// The pattern that decides: the last one that changed the verdict.
    pub pattern: &'m Pattern,
    /// What it decides.
    pub verdict: Verdict,
    /// The path that it matches: the one asked for, or a parent of it.
    pub matched: String,
}

impl Matcher {
    /// Makes a matcher of patterns; fails with the first one that is wrong.
    ///
    /// A pattern with a class that can't be used is found only when a path is matched.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, IgnoreError> {
        Self::collect(
            patterns
                .into_iter()
                .map(|pattern| Pattern::new(pattern.as_ref(), None)),
        )
    }

    /// Makes a matcher of the lines of an ignore file, as [`read`](super::read) returns them.
    pub fn from_lines(lines: &[IgnoreLine]) -> Result<Self, IgnoreError> {
        Self::collect(
            lines
                .iter()
                .map(|line| Pattern::new(&line.pattern, Some(line.line))),
        )
    }

    fn collect(
        patterns: impl Iterator<Item = Result<Option<Pattern>, IgnoreError>>,
    ) -> Result<Self, IgnoreError> {
        let patterns = patterns
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// Returns the patterns, blank ones left out.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Tells whether a pattern begins with `!`. If none does, nothing below an ignored directory
    /// can be kept, and a walk need not enter it.
    #[must_use]
    pub fn has_exclusions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exclusion)
    }

    /// Tells whether a path, relative to the context's root, is left out because of a pattern
    /// that matches it or one of its parents.
    pub fn matches_or_parent_matches(&self, path: &str) -> Result<bool, IgnoreError> {
        Ok(self
            .explain(path)?
            .is_some_and(|decision| decision.verdict == Verdict::Ignored))
    }

    /// Finds the pattern that decides about a path; nothing if no pattern does and it is kept.
    pub fn explain(&self, path: &str) -> Result<Option<Decision<'_>>, IgnoreError> {
        let path = clean(path);
        let mut decision = None;
        let mut verdict = Verdict::Kept;
        if path == "." {
            return Ok(None);
        }
        for pattern in &self.patterns {
            if pattern.would_repeat(verdict) {
                continue;
            }
            if let Some(matched) = pattern.matched_part(&path)? {
                verdict = pattern.verdict();
                decision = Some(Decision {
                    pattern,
                    verdict,
                    matched: matched.to_owned(),
                });
            }
        }
        Ok(decision)
    }

    /// Decides about an entry of a directory while a tree is walked.
    ///
    /// `parent` is what this function returned for the directory, or the default for the root's
    /// entries. The answers are those of [`Matcher::matches_or_parent_matches`] if no pattern begins
    /// with `!`. With one, moby's walk differs, and so does this: a pattern that would only have
    /// repeated the verdict on a directory is not remembered for its entries. `path` must be clean
    /// and relative to the root.
    pub fn descend(
        &self,
        path: &str,
        parent: &ParentMatches,
    ) -> Result<(Verdict, ParentMatches), IgnoreError> {
        let mut verdict = Verdict::Kept;
        let mut matched = vec![false; self.patterns.len()];
        for (at, pattern) in self.patterns.iter().enumerate() {
            let inherited = parent.matched.get(at).copied().unwrap_or(false);
            if !inherited && pattern.would_repeat(verdict) {
                continue;
            }
            matched[at] = inherited || pattern.matches_below(path, parent)?;
            if matched[at] {
                verdict = pattern.verdict();
            }
        }
        Ok((verdict, ParentMatches { matched }))
    }
}

impl Pattern {
    fn verdict(&self) -> Verdict {
        if self.exclusion {
            Verdict::Kept
        } else {
            Verdict::Ignored
        }
    }

    /// Tells whether a match would say what was said before, so that it need not be tried.
    fn would_repeat(&self, verdict: Verdict) -> bool {
        self.verdict() == verdict
    }

    /// Returns the part of a path that the pattern matches: the whole, or a parent.
    fn matched_part<'p>(&self, path: &'p str) -> Result<Option<&'p str>, IgnoreError> {
        if self.matches(path)? {
            return Ok(Some(path));
        }
        for parent in parents(path) {
            if self.matches(parent)? {
                return Ok(Some(parent));
            }
        }
        Ok(None)
    }

    /// Matches a path whose parents were matched before, or all of them if that is unknown.
    fn matches_below(&self, path: &str, parent: &ParentMatches) -> Result<bool, IgnoreError> {
        if parent.matched.is_empty() {
            return Ok(self.matched_part(path)?.is_some());
        }
        self.matches(path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    fn reason(content: &str, path: &str) -> Option<(String, Option<usize>, Verdict, String)> {
        let matcher = Matcher::from_lines(&read(content)).expect("valid patterns");
        let decision = matcher.explain(path).expect("usable patterns")?;
        let pattern = decision.pattern;
        Some((
            pattern.written.clone(),
            pattern.line,
            decision.verdict,
            decision.matched,
        ))
    }

    #[test]
    fn explains_with_pattern_and_line() {
        let content = "# all\n*\n!src\nsrc/gen\n";
        let ignored = |pattern: &str, line, matched: &str| {
            Some((
                pattern.to_owned(),
                Some(line),
                Verdict::Ignored,
                matched.to_owned(),
            ))
        };
        assert_eq!(
            reason(content, "src/gen/a"),
            ignored("src/gen", 4, "src/gen")
        );
        assert_eq!(reason(content, "README"), ignored("*", 2, "README"));
        let kept = Some(("!src".to_owned(), Some(3), Verdict::Kept, "src".to_owned()));
        assert_eq!(reason(content, "src/main"), kept);
        assert_eq!(reason("b", "a"), None);
        assert_eq!(reason("*", "."), None);
    }

    #[test]
    fn errors_name_the_line() {
        let wrong = |content: &str| Matcher::from_lines(&read(content)).expect_err("an error");
        assert_eq!(
            wrong("a\n!\n"),
            IgnoreError::EmptyExclusion { line: Some(2) }
        );
        let pattern = "[".to_owned();
        assert_eq!(
            wrong("\n\n[\n"),
            IgnoreError::BadPattern {
                pattern,
                line: Some(3)
            }
        );
    }

    #[test]
    fn a_walk_forgets_what_would_have_repeated() {
        let matcher = Matcher::new(["*", "!a/x", "*"]).expect("valid patterns");
        assert_eq!(matcher.matches_or_parent_matches("a/x"), Ok(true));
        let (_, parent) = matcher
            .descend("a", &ParentMatches::default())
            .expect("usable");
        let (verdict, _) = matcher.descend("a/x", &parent).expect("usable");
        assert_eq!(verdict, Verdict::Kept);
    }

    #[test]
    fn classes_of_regular_expressions() {
        let cases = [
            ("[[:alpha:]]x", "bx", true),
            ("[[:^alpha:]]x", "1x", true),
            ("\\d\\D", "1a", true),
            ("[\\w.]x", ".x", true),
            ("a[^b]c", "a/c", true),
            ("?^a", "xa", false),
            ("**/a*/**/b?", "x/ay/z/bb", true),
        ];
        for (pattern, path, expected) in cases {
            let matcher = Matcher::new([pattern]).expect("a valid pattern");
            assert_eq!(
                matcher.matches_or_parent_matches(path),
                Ok(expected),
                "{pattern} {path}"
            );
        }
        for pattern in ["[[:wrong:]]", "\\q", "[z-a]"] {
            let matcher = Matcher::new([pattern]).expect("looks valid");
            assert!(matcher.matches_or_parent_matches("x").is_err(), "{pattern}");
        }
    }
}

//! Which rules are on: `# check=`, the build argument of the same meaning, and comments above
//! single instructions.

use super::rules::Rule;
use crate::boolean::boolean;
use crate::quote::Quoted;
use std::collections::BTreeSet;
use thiserror::Error;

/// The settings of the checks, such as `skip=JSONArgsRecommended;error=true`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    skip: Choice,
    experimental: Choice,
    /// Whether a warning fails the build.
    pub(crate) error: bool,
}

/// Some rules, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Choice {
    all: bool,
    names: BTreeSet<String>,
}

/// What is wrong with the settings of the checks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum SettingsError {
    /// An option that does not exist, or one without a value.
    #[error("invalid check option {}", Quoted(.0))]
    Option(String),
    /// `error` is neither true nor false.
    #[error("failed to parse check option {}: strconv.ParseBool: parsing {}: invalid syntax", Quoted(.option), Quoted(.value))]
    Boolean {
        /// The option as it was written.
        option: String,
        /// Its value.
        value: String,
    },
}

/// What becomes of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// It is a warning.
    Warn,
    /// It is advice, and no reason for anything to fail.
    Advise,
    /// It is not wanted.
    Drop,
}

/// Stands in `experimental=` for all rules that BuildKit does not have.
const ALL_OWN: &str = "mica";

impl Settings {
    /// Reads the settings as they are written after `check=`.
    pub(crate) fn parse(text: &str) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(settings);
        }
        for option in text.splitn(3, ';') {
            let (key, value) = option
                .split_once('=')
                .ok_or_else(|| SettingsError::Option(option.to_owned()))?;
            let value = value.trim();
            match key.trim() {
                "skip" => settings.skip = Choice::parse(value),
                "experimental" => settings.experimental = Choice::parse(value),
                "error" => {
                    settings.error = boolean(value).ok_or_else(|| SettingsError::Boolean {
                        option: option.to_owned(),
                        value: value.to_owned(),
                    })?;
                }
                other => return Err(SettingsError::Option(other.to_owned())),
            }
        }
        Ok(settings)
    }

    /// Adds the settings of the first comment `check=...` above an instruction.
    pub(crate) fn with_comments(&self, comments: &[String]) -> Self {
        let merged = comments.iter().find_map(|comment| {
            let (name, value) = comment.split_once('=')?;
            let value = value.trim();
            let named = name.trim_end().eq_ignore_ascii_case("check") && !value.is_empty();
            named.then(|| Self::parse(value.split(' ').next().unwrap_or_default()))
        });
        match merged {
            Some(Ok(other)) => Self {
                skip: self.skip.with(other.skip),
                experimental: self.experimental.with(other.experimental),
                error: self.error,
            },
            _ => self.clone(),
        }
    }

    /// Tells what becomes of a finding of a rule.
    pub(crate) fn treatment(&self, rule: Rule) -> Treatment {
        let skipped = self.skip.all || self.skip.names.contains(rule.name());
        let named = self.experimental.names.contains(rule.name());
        match (rule.is_own(), rule.is_experimental(), skipped) {
            (true, _, true) => Treatment::Drop,
            (true, ..) if named || self.experimental.names.contains(ALL_OWN) => Treatment::Warn,
            (true, ..) => Treatment::Advise,
            (false, true, _) if named || self.experimental.all => Treatment::Warn,
            (false, true, _) | (false, false, true) => Treatment::Drop,
            (false, false, false) => Treatment::Warn,
        }
    }
}

impl Choice {
    fn parse(value: &str) -> Self {
        if value == "all" {
            return Self {
                all: true,
                ..Self::default()
            };
        }
        Self {
            all: false,
            names: value
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect(),
        }
    }

    fn with(&self, other: Self) -> Self {
        Self {
            all: self.all || other.all,
            names: self.names.iter().cloned().chain(other.names).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn treatment(settings: &str, rule: Rule) -> Treatment {
        Settings::parse(settings).expect("valid").treatment(rule)
    }

    #[test]
    fn settings_choose_rules() {
        use Treatment::{Advise, Drop, Warn};
        let cases = [
            ("", Rule::FromAsCasing, Warn),
            ("skip=all", Rule::FromAsCasing, Drop),
            ("skip=A, FromAsCasing;error=true", Rule::FromAsCasing, Drop),
            ("error=1", Rule::FromAsCasing, Warn),
            ("", Rule::InvalidDefinitionDescription, Drop),
            (
                "skip=all;experimental=all",
                Rule::InvalidDefinitionDescription,
                Warn,
            ),
            (
                "experimental=InvalidDefinitionDescription",
                Rule::InvalidDefinitionDescription,
                Warn,
            ),
            ("", Rule::UnpinnedBase, Advise),
            ("experimental=all", Rule::UnpinnedBase, Advise),
            ("experimental=mica", Rule::UnpinnedBase, Warn),
            ("experimental=mica/UnpinnedBase", Rule::UnpinnedBase, Warn),
            ("skip=mica/UnpinnedBase", Rule::UnpinnedBase, Drop),
        ];
        for (settings, rule, expected) in cases {
            assert_eq!(treatment(settings, rule), expected, "{settings} {rule}");
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        let cases = [
            ("skip", "invalid check option \"skip\""),
            ("skp=a", "invalid check option \"skp\""),
            ("skip=a;", "invalid check option \"\""),
            (
                "error=maybe",
                "failed to parse check option \"error=maybe\": strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ];
        for (text, expected) in cases {
            let error = Settings::parse(text).expect_err(text);
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn comments_apply_to_one_instruction() {
        let settings = Settings::parse("error=true").expect("valid");
        let comment = "check=skip=FromAsCasing // because".to_owned();
        let merged = settings.with_comments(&["other".to_owned(), comment]);
        assert_eq!(merged.treatment(Rule::FromAsCasing), Treatment::Drop);
        assert!(merged.error);
        let wrong = settings.with_comments(&["check=what".to_owned()]);
        assert_eq!(wrong, settings);
    }
}

//! What stands beside an error's message: a stable code, and what was expected.

use crate::error::{ErrorKind, ParseError};
use crate::instruction::FROM_SHAPE;
use crate::suggest::{INSTRUCTION_NAMES, flags_of};

impl ParseError {
    /// Says what was expected in place of what is wrong, if that helps.
    ///
    /// `instruction` is the text of the instruction, for the flags that it has.
    #[must_use]
    pub fn expected(&self, instruction: &str) -> Option<String> {
        match &self.kind {
            ErrorKind::UnknownFlag(_) => flags(instruction),
            ErrorKind::UnknownInstruction(_) if self.suggestion.is_none() => {
                Some(format!("expected one of {}", INSTRUCTION_NAMES.join(", ")))
            }
            kind => kind.expected(),
        }
    }
}

/// Lists the flags of the first word that has any: of ONBUILD's inner instruction, too.
fn flags(instruction: &str) -> Option<String> {
    let words = instruction.split_whitespace().take(2);
    let known = words.map(flags_of).find(|flags| !flags.is_empty());
    let Some(known) = known else {
        return Some("this instruction has no flags".to_owned());
    };
    let known: Vec<_> = known.iter().map(|flag| format!("--{flag}")).collect();
    Some(format!("expected one of {}", known.join(", ")))
}

impl ErrorKind {
    fn expected(&self) -> Option<String> {
        let text = match self {
            Self::Empty | Self::NoInstructions | Self::NoStages => {
                format!("expected {FROM_SHAPE}")
            }
            Self::NoCurrentStage => "begin with FROM: only ARG may stand before it".to_owned(),
            Self::FromArguments => format!("expected {FROM_SHAPE}"),
            Self::StageName(_) => {
                "expected a letter, and then letters, digits, `-`, `_` and `.`".to_owned()
            }
            Self::InvalidEscape(_) => "expected ` or \\".to_owned(),
            Self::UnterminatedHeredoc { name } => format!("expected a line that is only `{name}`"),
            Self::NotStringArray => "put each element between double quotes".to_owned(),
            Self::TwoArguments(name) => format!("expected {name} name=value"),
            Self::MissingEquals(_) => {
                "expected name=value, with quotes around a value that has blanks".to_owned()
            }
            Self::MissingFlagValue(flag) => format!("expected --{flag}=VALUE"),
            Self::NotBoolean { .. } => "expected true or false".to_owned(),
            Self::NoDestination(name) => format!("expected {name} SOURCE... DESTINATION"),
            Self::NotJson(name) => format!("expected {name} [\"executable\", \"parameter\"]"),
            Self::HealthcheckType(_) | Self::HealthcheckNoCommand => {
                "expected HEALTHCHECK CMD COMMAND or HEALTHCHECK NONE".to_owned()
            }
            Self::Duration { .. } | Self::ShortInterval(_) => {
                "expected a time such as 30s or 1m30s".to_owned()
            }
            Self::Number { .. } | Self::NegativeRetries(_) => "expected a number".to_owned(),
            Self::NetworkMode(_) => "expected default, none or host".to_owned(),
            Self::SecurityMode(_) => "expected sandbox or insecure".to_owned(),
            _ => return None,
        };
        Some(text)
    }

    /// Returns a word for the kind of error that stays the same from version to version.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty-file",
            Self::NoInstructions => "no-instructions",
            Self::NoStages => "no-stages",
            Self::NoCurrentStage => "no-stage-yet",
            Self::DuplicateDirective(_) => "duplicate-directive",
            Self::InvalidEscape(_) => "invalid-escape",
            Self::UnterminatedHeredoc { .. } => "unterminated-heredoc",
            Self::InvalidHeredoc(_) => "invalid-heredoc",
            Self::NotStringArray => "not-a-string-array",
            Self::TwoArguments(_) => "two-arguments",
            Self::MissingEquals(_) => "missing-equals",
            Self::UnknownInstruction(_) => "unknown-instruction",
            Self::UnknownFlag(_) => "unknown-flag",
            Self::DuplicateFlag(_) => "duplicate-flag",
            Self::MissingFlagValue(_) => "missing-flag-value",
            Self::NotBoolean { .. } => "not-a-boolean",
            Self::AtLeastOneArgument(_) => "missing-argument",
            Self::ExactlyOneArgument(_) => "one-argument",
            Self::NoDestination(_) => "no-destination",
            Self::HeredocDestination(_) => "heredoc-destination",
            Self::BlankName(_) => "blank-name",
            Self::FromArguments => "from-arguments",
            Self::StageName(_) => "stage-name",
            Self::OnbuildChain => "onbuild-chain",
            Self::OnbuildTrigger(_) => "onbuild-trigger",
            Self::EmptyVolume => "empty-volume",
            Self::NotJson(_) => "not-json",
            Self::HealthcheckNoneArguments
            | Self::HealthcheckNoCommand
            | Self::HealthcheckType(_) => "healthcheck",
            Self::ShortInterval(_) | Self::Duration { .. } => "duration",
            Self::Number { .. } | Self::NegativeRetries(_) => "number",
            Self::NetworkMode(_) => "network-mode",
            Self::SecurityMode(_) => "security-mode",
            Self::Mount(_) => "mount",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::parse;

    #[test]
    fn says_what_was_expected() {
        let cases = [
            (
                "FROM a b",
                "from-arguments",
                "expected FROM [--platform=PLATFORM] IMAGE [AS NAME]",
            ),
            (
                "FROM a\nCOPY --frm=b c d",
                "unknown-flag",
                "expected one of --chmod, --chown, --exclude, --from, --link, --parents",
            ),
            (
                "FROM a\nONBUILD USER --x y",
                "unknown-flag",
                "this instruction has no flags",
            ),
            (
                "FROM a\nSHELL x",
                "not-json",
                "expected SHELL [\"executable\", \"parameter\"]",
            ),
            (
                "FROM a\nRUN <<E\nx",
                "unterminated-heredoc",
                "expected a line that is only `E`",
            ),
        ];
        for (text, code, expected) in cases {
            let errors = parse(text).expect_err(text);
            let line = text
                .lines()
                .nth(errors[0].instruction_line - 1)
                .unwrap_or("");
            assert_eq!(errors[0].kind.code(), code, "{text}");
            assert_eq!(
                errors[0].expected(line).as_deref(),
                Some(expected),
                "{text}"
            );
        }
    }
}

//! The rules: their names, what they say, and where to read about them.

use std::fmt;

/// A rule of the build checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A stage's name in capitals.
    StageNameCasing,
    /// `FROM` and `AS` in different cases.
    FromAsCasing,
    /// A blank line inside a continued instruction.
    NoEmptyContinuation,
    /// An instruction in another case than most.
    ConsistentInstructionCasing,
    /// Two stages of one name.
    DuplicateStageName,
    /// A stage named `scratch` or `context`.
    ReservedStageName,
    /// `CMD` or `ENTRYPOINT` in shell form.
    JsonArgsRecommended,
    /// `MAINTAINER`.
    MaintainerDeprecated,
    /// A variable in `FROM` that no `ARG` declares.
    UndefinedArgInFrom,
    /// A relative `WORKDIR` on top of an unknown one.
    WorkdirRelativePath,
    /// A variable that nothing sets.
    UndefinedVar,
    /// An instruction that a later one overrides.
    MultipleInstructionsDisallowed,
    /// `ENV name value`.
    LegacyKeyValueFormat,
    /// A base image for another platform.
    InvalidBaseImagePlatform,
    /// `--platform=$TARGETPLATFORM`.
    RedundantTargetPlatform,
    /// A secret in `ARG` or `ENV`.
    SecretsUsedInArgOrEnv,
    /// A base image that has no valid name without build arguments.
    InvalidDefaultArgInFrom,
    /// A fixed `--platform`.
    FromPlatformFlagConstDisallowed,
    /// A source that the ignore file keeps out.
    CopyIgnoredFile,
    /// A comment above `ARG` or `FROM` that does not describe it.
    InvalidDefinitionDescription,
    /// A protocol of `EXPOSE` in capitals.
    ExposeProtoCasing,
    /// An address or host port in `EXPOSE`.
    ExposeInvalidFormat,
    /// The whole context copied before dependencies are installed.
    CopyBeforeInstall,
    /// Copied files that a later step only changes owner or mode of.
    ChangedAfterCopy,
    /// Package lists refreshed in a step of their own.
    UpdateWithoutInstall,
    /// A base image without tag or digest.
    UnpinnedBase,
    /// Package lists or caches left in a layer.
    CacheLeftInLayer,
    /// A download piped into a command without `pipefail`.
    HiddenPipeFailure,
    /// A directory or variable set in a step that nothing follows in.
    LostShellState,
}

/// What is said of a rule, whatever it found.
struct Facts {
    name: &'static str,
    description: &'static str,
    page: &'static str,
}

/// The rules that BuildKit has.
pub const BUILDKIT_RULES: [Rule; 22] = [
    Rule::StageNameCasing,
    Rule::FromAsCasing,
    Rule::NoEmptyContinuation,
    Rule::ConsistentInstructionCasing,
    Rule::DuplicateStageName,
    Rule::ReservedStageName,
    Rule::JsonArgsRecommended,
    Rule::MaintainerDeprecated,
    Rule::UndefinedArgInFrom,
    Rule::WorkdirRelativePath,
    Rule::UndefinedVar,
    Rule::MultipleInstructionsDisallowed,
    Rule::LegacyKeyValueFormat,
    Rule::InvalidBaseImagePlatform,
    Rule::RedundantTargetPlatform,
    Rule::SecretsUsedInArgOrEnv,
    Rule::InvalidDefaultArgInFrom,
    Rule::FromPlatformFlagConstDisallowed,
    Rule::CopyIgnoredFile,
    Rule::InvalidDefinitionDescription,
    Rule::ExposeProtoCasing,
    Rule::ExposeInvalidFormat,
];

/// The rules that BuildKit does not have; their names begin with `mica/`.
pub const OWN_RULES: [Rule; 7] = [
    Rule::CopyBeforeInstall,
    Rule::ChangedAfterCopy,
    Rule::UpdateWithoutInstall,
    Rule::UnpinnedBase,
    Rule::CacheLeftInLayer,
    Rule::HiddenPipeFailure,
    Rule::LostShellState,
];

/// Where BuildKit's rules are described.
const BUILDKIT_PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

impl Rule {
    /// Returns the name that `skip=` and `experimental=` take.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Returns what the rule asks for, as a sentence.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.facts().description
    }

    /// Returns the address of the rule's page: a URL, or a path in this repository for a rule of
    /// its own. One of BuildKit's rules has none.
    #[must_use]
    pub fn url(self) -> Option<String> {
        match self.facts().page {
            "" => None,
            page if self.is_own() => Some(format!("docs/checks/{page}.md")),
            page => Some(format!("{BUILDKIT_PAGES}{page}/")),
        }
    }

    /// Tells whether the rule is not one of BuildKit's.
    #[must_use]
    pub fn is_own(self) -> bool {
        OWN_RULES.contains(&self)
    }

    /// Tells whether the rule is off unless `experimental=` names it.
    #[must_use]
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }

    fn facts(self) -> Facts {
        let (name, page, description) = if self.is_own() {
            own(self)
        } else {
            buildkit(self)
        };
        Facts {
            name,
            description,
            page,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Name, page and description.
type Texts = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
fn buildkit(rule: Rule) -> Texts {
    match rule {
        Rule::StageNameCasing => ("StageNameCasing", "stage-name-casing", "Stage names should be lowercase"),
        Rule::FromAsCasing => ("FromAsCasing", "from-as-casing", "The 'as' keyword should match the case of the 'from' keyword"),
        Rule::NoEmptyContinuation => ("NoEmptyContinuation", "no-empty-continuation", "Empty continuation lines will become errors in a future release"),
        Rule::ConsistentInstructionCasing => ("ConsistentInstructionCasing", "consistent-instruction-casing", "All commands within the Dockerfile should use the same casing (either upper or lower)"),
        Rule::DuplicateStageName => ("DuplicateStageName", "duplicate-stage-name", "Stage names should be unique"),
        Rule::ReservedStageName => ("ReservedStageName", "reserved-stage-name", "Reserved words should not be used as stage names"),
        Rule::JsonArgsRecommended => ("JSONArgsRecommended", "json-args-recommended", "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals"),
        Rule::MaintainerDeprecated => ("MaintainerDeprecated", "maintainer-deprecated", "The MAINTAINER instruction is deprecated, use a label instead to define an image author"),
        Rule::UndefinedArgInFrom => ("UndefinedArgInFrom", "undefined-arg-in-from", "FROM command must use declared ARGs"),
        Rule::WorkdirRelativePath => ("WorkdirRelativePath", "workdir-relative-path", "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes"),
        Rule::UndefinedVar => ("UndefinedVar", "undefined-var", "Variables should be defined before their use"),
        Rule::MultipleInstructionsDisallowed => ("MultipleInstructionsDisallowed", "multiple-instructions-disallowed", "Multiple instructions of the same type should not be used in the same stage"),
        Rule::LegacyKeyValueFormat => ("LegacyKeyValueFormat", "legacy-key-value-format", "Legacy key/value format with whitespace separator should not be used"),
        Rule::InvalidBaseImagePlatform => ("InvalidBaseImagePlatform", "", "Base image platform does not match expected target platform"),
        Rule::RedundantTargetPlatform => ("RedundantTargetPlatform", "redundant-target-platform", "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior"),
        Rule::SecretsUsedInArgOrEnv => ("SecretsUsedInArgOrEnv", "secrets-used-in-arg-or-env", "Sensitive data should not be used in the ARG or ENV commands"),
        Rule::InvalidDefaultArgInFrom => ("InvalidDefaultArgInFrom", "invalid-default-arg-in-from", "Default value for global ARG results in an empty or invalid base image name"),
        Rule::FromPlatformFlagConstDisallowed => ("FromPlatformFlagConstDisallowed", "from-platform-flag-const-disallowed", "FROM --platform flag should not use a constant value"),
        Rule::CopyIgnoredFile => ("CopyIgnoredFile", "copy-ignored-file", "Attempting to Copy file that is excluded by .dockerignore"),
        Rule::InvalidDefinitionDescription => ("InvalidDefinitionDescription", "invalid-definition-description", "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment."),
        Rule::ExposeProtoCasing => ("ExposeProtoCasing", "expose-proto-casing", "Protocol in EXPOSE instruction should be lowercase"),
        _ => ("ExposeInvalidFormat", "expose-invalid-format", "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release"),
    }
}

#[rustfmt::skip]
fn own(rule: Rule) -> Texts {
    match rule {
        Rule::CopyBeforeInstall => ("mica/CopyBeforeInstall", "copy-before-install", "Copy only what lists the dependencies before they are installed: a change of any other file then reuses the installed layer"),
        Rule::ChangedAfterCopy => ("mica/ChangedAfterCopy", "changed-after-copy", "Give copied files their owner and mode with --chown and --chmod: a later chown or chmod writes all of them again into another layer"),
        Rule::UpdateWithoutInstall => ("mica/UpdateWithoutInstall", "update-without-install", "Refresh package lists in the step that installs: a reused step would leave them old"),
        Rule::UnpinnedBase => ("mica/UnpinnedBase", "unpinned-base", "Name a version or digest of the base image: `latest` is another image tomorrow"),
        Rule::CacheLeftInLayer => ("mica/CacheLeftInLayer", "cache-left-in-layer", "Leave no package lists or caches in a layer: remove them in the same step, or keep them in a cache mount"),
        Rule::HiddenPipeFailure => ("mica/HiddenPipeFailure", "hidden-pipe-failure", "Set pipefail where a download is piped into a command: its failure goes unnoticed otherwise"),
        _ => ("mica/LostShellState", "lost-shell-state", "Each RUN starts in a new shell: use WORKDIR and ENV for what later steps need"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let all = BUILDKIT_RULES.iter().chain(&OWN_RULES);
        let names: BTreeSet<_> = all.clone().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), BUILDKIT_RULES.len() + OWN_RULES.len());
        for rule in all {
            assert_eq!(rule.is_own(), rule.name().starts_with("mica/"));
            assert_eq!(rule.name().trim_start_matches("mica/"), variant(*rule));
        }
    }

    /// The name as the type spells it.
    fn variant(rule: Rule) -> String {
        format!("{rule:?}").replace("Json", "JSON")
    }
}

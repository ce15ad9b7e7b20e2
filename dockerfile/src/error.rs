//! What can be wrong with a Dockerfile, and where.

use crate::mount::MountError;
use crate::quote::Quoted;
use crate::source::{Position, SourceMap, Span};
use std::fmt;
use thiserror::Error;

/// An error in a Dockerfile.
///
/// Displays as BuildKit words it, e.g.
/// `dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The text to underline: the wrong word where it is known, or else the instruction.
    pub span: Span,
    /// Line and column where `span` begins.
    pub position: Position,
    /// The line that the instruction begins on, which the message names.
    pub instruction_line: usize,
    /// The line that it ends on, as far as it could be read.
    pub instruction_end: usize,
    /// The nearest known word, if the wrong one looks like a typo.
    pub suggestion: Option<String>,
}

impl ParseError {
    /// Makes an error at `span` in an instruction.
    pub(crate) fn new(
        kind: ErrorKind,
        span: Span,
        instruction: Span,
        source: &SourceMap<'_>,
    ) -> Self {
        let position = source.position(span.start);
        Self {
            kind,
            span,
            position,
            instruction_line: instruction.first_line,
            instruction_end: instruction.last_line,
            suggestion: None,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.names_its_line() {
            write!(
                f,
                "dockerfile parse error on line {}: ",
                self.instruction_line
            )?;
        }
        write!(f, "{}", self.kind)?;
        match &self.suggestion {
            Some(word) => write!(f, " (did you mean {word}?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

/// The kinds of errors in a Dockerfile, without the place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ErrorKind {
    /// The file has no bytes.
    #[error("the Dockerfile cannot be empty")]
    Empty,
    /// The file has only comments and blank lines.
    #[error("file with no instructions")]
    NoInstructions,
    /// The file has no `FROM`.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// An instruction other than `ARG` stands before the first `FROM`.
    #[error("no build stage in current context")]
    NoCurrentStage,
    /// A parser directive stands twice.
    #[error("only one {0} parser directive can be used")]
    DuplicateDirective(String),
    /// The escape directive names another character.
    #[error("invalid escape token '{0}' does not match ` or \\")]
    InvalidEscape(String),
    /// The file ends inside a heredoc.
    #[error("unterminated heredoc")]
    UnterminatedHeredoc {
        /// The terminator that was looked for.
        name: String,
    },
    /// The delimiter of a heredoc can't be read as a word.
    #[error("invalid heredoc delimiter {}", Quoted(.0))]
    InvalidHeredoc(String),
    /// A JSON array has something else than strings.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotStringArray,
    /// `ENV name` or `LABEL name` has no value.
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    /// A word among `name=value` pairs has no `=`.
    #[error("Syntax error - can't find = in {}. Must be of the form: name=value", Quoted(.0))]
    MissingEquals(String),
    /// The keyword is none.
    #[error("unknown instruction: {0}")]
    UnknownInstruction(String),
    /// The instruction has no such flag.
    #[error("unknown flag: --{0}")]
    UnknownFlag(String),
    /// A flag that is not a list stands twice.
    #[error("duplicate flag specified: --{0}")]
    DuplicateFlag(String),
    /// A flag has no value.
    #[error("missing a value on flag: --{0}")]
    MissingFlagValue(String),
    /// A flag wants `true` or `false`.
    #[error("expecting boolean value for flag --{flag}, not: {value}")]
    NotBoolean {
        /// The flag's name.
        flag: String,
        /// The value given.
        value: String,
    },
    /// An instruction has no arguments.
    #[error("{0} requires at least one argument")]
    AtLeastOneArgument(&'static str),
    /// An instruction takes one argument, not more or less.
    #[error("{0} requires exactly one argument")]
    ExactlyOneArgument(&'static str),
    /// `ADD` or `COPY` has only one path.
    #[error(
        "{0} requires at least two arguments, but only one was provided. Destination could not be determined"
    )]
    NoDestination(&'static str),
    /// The last argument of `ADD` or `COPY` is a heredoc.
    #[error("{0} cannot accept a heredoc as a destination")]
    HeredocDestination(&'static str),
    /// A variable or label has an empty name.
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    /// `FROM` is not `FROM base` or `FROM base AS name`.
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    /// A stage's name has characters it must not have.
    #[error(
        "invalid name for build stage: {}, name can't start with a number or contain symbols",
        Quoted(.0)
    )]
    StageName(String),
    /// `ONBUILD ONBUILD`.
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnbuildChain,
    /// `ONBUILD FROM` or `ONBUILD MAINTAINER`.
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    OnbuildTrigger(&'static str),
    /// An empty volume.
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    /// `SHELL` is not a JSON array.
    #[error("{0} requires the arguments to be in JSON form")]
    NotJson(&'static str),
    /// `HEALTHCHECK NONE` with arguments.
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthcheckNoneArguments,
    /// `HEALTHCHECK CMD` without a command.
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthcheckNoCommand,
    /// `HEALTHCHECK` with another word than `NONE` or `CMD`.
    #[error("Unknown type {} in HEALTHCHECK (try CMD)", Quoted(.0))]
    HealthcheckType(String),
    /// A time shorter than a millisecond.
    #[error("Interval {} cannot be less than 1ms", Quoted(.0))]
    ShortInterval(String),
    /// A time that can't be read.
    #[error("time: {problem} {}", Quoted(.value))]
    Duration {
        /// What is wrong with it.
        problem: String,
        /// The value given.
        value: String,
    },
    /// A number that can't be read.
    #[error("strconv.ParseInt: parsing {}: {problem}", Quoted(.value))]
    Number {
        /// What is wrong with it.
        problem: &'static str,
        /// The value given.
        value: String,
    },
    /// `--retries` below zero.
    #[error("--retries cannot be negative ({0})")]
    NegativeRetries(i64),
    /// `RUN --network` with an unknown mode.
    #[error("invalid network mode {}", Quoted(.0))]
    NetworkMode(String),
    /// `RUN --security` with an unknown mode.
    #[error("security {} is not valid", Quoted(.0))]
    SecurityMode(String),
    /// `RUN --mount` or `RUN --device` is wrong in a way that shows before expansion.
    #[error(transparent)]
    Mount(#[from] MountError),
}

impl ErrorKind {
    /// Tells whether BuildKit's message begins with the line: so it is for what is wrong with an
    /// instruction's meaning, not for what stops the reading of its line.
    fn names_its_line(&self) -> bool {
        !matches!(
            self,
            Self::Empty
                | Self::NoInstructions
                | Self::NoStages
                | Self::NoCurrentStage
                | Self::DuplicateDirective(_)
                | Self::InvalidEscape(_)
                | Self::UnterminatedHeredoc { .. }
                | Self::InvalidHeredoc(_)
                | Self::NotStringArray
                | Self::TwoArguments(_)
                | Self::MissingEquals(_)
        )
    }
}

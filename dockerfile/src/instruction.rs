//! The typed form of a Dockerfile: stages, instructions, flags and heredocs.
//!
//! Values that the build expands are kept as they were written, quotes and escapes included; pass
//! them through [`Expander`](crate::Expander) with the stage's variables. Each field says whether
//! it is expanded. Values that are never expanded are ready for use.

use crate::directive::Directives;
use crate::mount::{Device, MountFlag};
use crate::source::{Span, Spanned};
use std::borrow::Cow;
use std::time::Duration;

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dockerfile {
    /// The parser directives at its head.
    pub directives: Directives,
    /// The `ARG` instructions before the first `FROM`, whose variables `FROM` lines may use.
    pub meta_args: Vec<Spanned<ArgInstruction>>,
    /// The build stages, in order; a successful parse has at least one.
    pub stages: Vec<Stage>,
    /// What the parser accepted but finds doubtful.
    pub warnings: Vec<Warning>,
}

impl Dockerfile {
    /// Finds a stage by its name (in any case) or, failing that, by its index as a number.
    #[must_use]
    pub fn stage_index(&self, reference: &str) -> Option<usize> {
        let named = |stage: &Stage| {
            stage
                .name
                .as_deref()
                .is_some_and(|name| name.eq_ignore_ascii_case(reference))
        };
        let index = || {
            reference
                .parse()
                .ok()
                .filter(|index| *index < self.stages.len())
        };
        self.stages.iter().position(named).or_else(index)
    }
}

/// How `FROM` is written, for messages.
pub(crate) const FROM_SHAPE: &str = "FROM [--platform=PLATFORM] IMAGE [AS NAME]";

/// A construct that parses but that the parser warns of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// An empty line inside a continued instruction (rule `NoEmptyContinuation`).
    EmptyContinuation {
        /// The instruction that the empty line stands in; BuildKit reports its last line.
        span: Span,
    },
}

/// A build stage: a `FROM` and the instructions below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name after `AS`, in lower case; stage names are matched in any case.
    pub name: Option<String>,
    /// The name after `AS` as it was written.
    pub written_name: Option<String>,
    /// The word `AS` as it was written (`as`, `As`, ...).
    pub as_keyword: Option<String>,
    /// The word `FROM` as it was written.
    pub keyword: String,
    /// The base image, another stage's name, or `scratch`. Expanded (global `ARG`s only).
    pub base: String,
    /// The value of `--platform`. Expanded (global `ARG`s only).
    pub platform: Option<String>,
    /// Where the `FROM` instruction stands (not the whole stage).
    pub span: Span,
    /// The `FROM` instruction's text.
    pub source: String,
    /// The description from a comment `# NAME TEXT` right above the `FROM`.
    pub description: Option<String>,
    /// The comment lines right above the `FROM`, without `#`.
    pub comments: Vec<String>,
    /// The instructions of the stage, in order.
    pub instructions: Vec<Instruction>,
}

/// An instruction with the place and the text it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub kind: InstructionKind,
    /// The keyword as it was written (`RUN`, `run`, ...).
    pub keyword: String,
    /// Where it stands, heredocs included.
    pub span: Span,
    /// Its text with continuations joined and blanks around it trimmed, without heredoc bodies:
    /// what BuildKit keeps for history and progress texts. The text as it stands in the file is
    /// `span.text(..)`.
    pub source: String,
    /// Its heredocs, in order.
    pub heredocs: Vec<Heredoc>,
    /// The comment lines right above it, without `#`.
    pub comments: Vec<String>,
}

impl Instruction {
    /// Returns the keyword in upper case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }
}

/// The instructions that may stand in a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `ADD`: files, archives, downloads and git repositories into the image.
    Add(AddInstruction),
    /// `ARG`: build variables.
    Arg(ArgInstruction),
    /// `CMD`: the default command. Never expanded.
    Cmd(CommandForm),
    /// `COPY`: files from the context, a stage or an image into the image.
    Copy(CopyInstruction),
    /// `ENTRYPOINT`: the command that `CMD` adds arguments to. Never expanded.
    Entrypoint(CommandForm),
    /// `ENV`: environment variables. Names and values expanded.
    Env(Vec<KeyValue>),
    /// `EXPOSE`: ports such as `80`, `53/udp` or `8000-8010/tcp`. Each expanded, and then split
    /// into words.
    Expose(Vec<String>),
    /// `HEALTHCHECK`. Never expanded.
    Healthcheck(Healthcheck),
    /// `LABEL`: metadata. Names and values expanded.
    Label(Vec<KeyValue>),
    /// `MAINTAINER` (deprecated): the author. Never expanded.
    Maintainer(String),
    /// `ONBUILD`: an instruction for builds on top of this image.
    Onbuild(OnbuildInstruction),
    /// `RUN`: a command that changes the image.
    Run(RunInstruction),
    /// `SHELL`: the command that runs shell forms. Never expanded.
    Shell(Vec<String>),
    /// `STOPSIGNAL`: a signal's name or number. Expanded.
    Stopsignal(String),
    /// `USER`: `user[:group]`, names or numbers. Expanded.
    User(String),
    /// `VOLUME`: mount points. Each expanded.
    Volume(Vec<String>),
    /// `WORKDIR`: a directory, relative to the one before. Expanded.
    Workdir(String),
}

impl InstructionKind {
    /// Returns the keyword in upper case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandForm {
    /// Text for the shell, as it was written; a broken JSON array is one, too. May be empty.
    Shell(String),
    /// The words of a JSON array; may be empty.
    Exec(Vec<String>),
}

impl CommandForm {
    /// Tells whether there is no command at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Shell(text) => text.is_empty(),
            Self::Exec(words) => words.is_empty(),
        }
    }
}

/// A here-document: the lines after an instruction, up to a terminator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The terminator, which names the file that the heredoc stands for.
    pub name: String,
    /// The number before `<<`, or 0.
    pub file_descriptor: u32,
    /// Whether variables in the content are expanded (no part of the delimiter was quoted). RUN
    /// ignores it: there the shell expands.
    pub expand: bool,
    /// Whether leading tabs are stripped (`<<-`).
    pub strip_tabs: bool,
    /// The lines as they stand in the file, with their line endings.
    pub content: String,
    /// Where the content and its terminator stand.
    pub span: Span,
}

impl Heredoc {
    /// Returns the content with the tabs stripped that `<<-` asks to strip.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        if !self.strip_tabs {
            return Cow::Borrowed(&self.content);
        }
        let lines = self.content.split_inclusive('\n');
        Cow::Owned(lines.map(|line| line.trim_start_matches('\t')).collect())
    }
}

/// A source of `ADD` or `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path, a pattern or (for `ADD`) a URL or git reference. Expanded.
    Path(String),
    /// An inline file; [`Heredoc::text`] is expanded if [`Heredoc::expand`] is set.
    Heredoc(Heredoc),
}

/// `ADD [flags] source... destination`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddInstruction {
    /// What to add, in order; at least one.
    pub sources: Vec<CopySource>,
    /// Where to; a directory if it ends with a slash. Expanded.
    pub destination: String,
    /// `--chown=user[:group]`. Expanded.
    pub chown: Option<String>,
    /// `--chmod=mode`, numeric or symbolic. Expanded.
    pub chmod: Option<String>,
    /// `--link`: the layer does not depend on the ones below it.
    pub link: bool,
    /// `--keep-git-dir`: keep `.git` of a git source; nothing if the flag is absent.
    pub keep_git_dir: Option<bool>,
    /// `--checksum=digest` of a download or git commit. Expanded.
    pub checksum: Option<String>,
    /// `--exclude=pattern`, repeatable. Expanded.
    pub exclude: Vec<String>,
    /// `--unpack`: unpack archives (or not); nothing leaves the default, local archives only.
    pub unpack: Option<bool>,
}

/// `COPY [flags] source... destination`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyInstruction {
    /// What to copy, in order; at least one.
    pub sources: Vec<CopySource>,
    /// Where to; a directory if it ends with a slash. Expanded.
    pub destination: String,
    /// `--from`: a stage's name or number, a named context or an image. Not expanded: BuildKit
    /// refuses a variable here.
    pub from: Option<String>,
    /// `--chown=user[:group]`. Expanded.
    pub chown: Option<String>,
    /// `--chmod=mode`, numeric or symbolic. Expanded.
    pub chmod: Option<String>,
    /// `--link`: the layer does not depend on the ones below it.
    pub link: bool,
    /// `--parents`: keep the parent directories of the sources (after a `/./`, if there is one).
    pub parents: bool,
    /// `--exclude=pattern`, repeatable. Expanded.
    pub exclude: Vec<String>,
}

/// `ARG name[=default]...`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArgInstruction {
    /// The variables, in order; at least one.
    pub arguments: Vec<Argument>,
}

/// A variable of an `ARG` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The variable's name. Expanded.
    pub name: String,
    /// Its default value. Expanded.
    pub value: Option<String>,
    /// The description from a comment `# NAME TEXT` right above the instruction.
    pub description: Option<String>,
}

/// A name and a value of `ENV` or `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The name. Expanded.
    pub name: String,
    /// The value. Expanded.
    pub value: String,
    /// How the two were separated.
    pub delimiter: Delimiter,
}

/// How `ENV` and `LABEL` separate a name from its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delimiter {
    /// `name=value`.
    Equals,
    /// The old form `name value` (rule `LegacyKeyValueFormat`).
    Blank,
}

/// `HEALTHCHECK NONE` or `HEALTHCHECK [flags] CMD command`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// No check, also not the base image's.
    None,
    /// A command that tells by its exit status whether the container is well.
    Command(HealthcheckCommand),
}

/// The command and the times of a health check; zero stands for "not given".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthcheckCommand {
    /// The command.
    pub command: CommandForm,
    /// `--interval`: time between two checks.
    pub interval: Duration,
    /// `--timeout`: how long a check may take.
    pub timeout: Duration,
    /// `--start-period`: time in which failures do not count.
    pub start_period: Duration,
    /// `--start-interval`: time between two checks in the start period.
    pub start_interval: Duration,
    /// `--retries`: failures in a row that make the container unhealthy.
    pub retries: u32,
}

/// `ONBUILD instruction`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnbuildInstruction {
    /// The inner instruction.
    pub instruction: Box<Instruction>,
    /// Its text as the image config keeps it, heredoc bodies included. Never expanded here.
    pub expression: String,
}

/// `RUN [flags] command`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInstruction {
    /// The command as it was written, without heredoc bodies. Never expanded by the build. See
    /// [`RunInstruction::script`] for what to run.
    pub command: CommandForm,
    /// The heredocs of a shell form.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, repeatable; values expanded by [`MountFlag::resolve`].
    pub mounts: Vec<MountFlag>,
    /// `--network`. Not expanded.
    pub network: RunNetwork,
    /// `--security`. Not expanded.
    pub security: RunSecurity,
    /// `--device`, repeatable. Not expanded.
    pub devices: Vec<Device>,
    /// The names of the flags given, in order, for messages and progress texts.
    pub flags_used: Vec<String>,
}

/// What a `RUN` instruction executes, heredocs taken into account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunScript {
    /// Run these words as they are.
    Exec(Vec<String>),
    /// Hand this text to the shell.
    Shell(String),
    /// A single heredoc that begins with `#!`: make an executable file (BuildKit mounts it
    /// read-only as `/dev/pipes/NAME`) and hand its path to the shell.
    File {
        /// The file's name: the heredoc's.
        name: String,
        /// The file's content.
        content: String,
    },
}

impl RunInstruction {
    /// Puts command and heredocs together as BuildKit does.
    ///
    /// A shell form that is only a heredoc runs its content, as a file if it begins with `#!`.
    /// Any other one is handed to the shell followed by its heredocs, which the shell reads.
    #[must_use]
    pub fn script(&self) -> RunScript {
        let text = match &self.command {
            CommandForm::Exec(words) => return RunScript::Exec(words.clone()),
            CommandForm::Shell(text) => text,
        };
        match self.heredocs.first() {
            Some(first) if crate::heredoc::is_only_heredoc(text) => Self::heredoc_script(first),
            Some(_) => RunScript::Shell(self.with_heredocs(text)),
            None => RunScript::Shell(text.clone()),
        }
    }

    fn heredoc_script(heredoc: &Heredoc) -> RunScript {
        let content = heredoc.text().into_owned();
        if content.starts_with("#!") {
            return RunScript::File {
                name: heredoc.name.clone(),
                content,
            };
        }
        RunScript::Shell(content)
    }

    fn with_heredocs(&self, text: &str) -> String {
        let mut script = text.to_owned();
        for heredoc in &self.heredocs {
            script.push('\n');
            script.push_str(&heredoc.content);
            script.push_str(&heredoc.name);
        }
        script
    }
}

/// The network of a `RUN` step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunNetwork {
    /// The build's network.
    #[default]
    Default,
    /// Only loopback.
    None,
    /// The host's network.
    Host,
}

/// The confinement of a `RUN` step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunSecurity {
    /// The default sandbox.
    #[default]
    Sandbox,
    /// All privileges.
    Insecure,
}

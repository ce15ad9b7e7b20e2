//! Why a build failed, and where in the Dockerfile.

use std::io;
use std::path::PathBuf;

use mica_dockerfile::{ExpandError, MountError, ParseError, Span};
use mica_oci::{Digest, Platform, PlatformError, ReferenceError};
use mica_store::StoreError;

use crate::exchange::ExchangeError;
use crate::remote::RemoteError;

/// A failed build: what happened and the text it happened at.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct BuildError {
    /// What happened.
    #[source]
    pub kind: ErrorKind,
    /// The instruction, where it stands in the Dockerfile; instructions that a base image brought
    /// (`ONBUILD`) stand nowhere.
    pub span: Option<Span>,
    /// The platform, where several were built.
    pub platform: Option<Box<Platform>>,
}

/// What can go wrong in a build.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The Dockerfile is not valid.
    #[error("cannot parse {name}")]
    Parse {
        /// The Dockerfile's name.
        name: String,
        /// All that is wrong with it.
        errors: Vec<ParseError>,
    },
    /// An instruction inherited from a base image is not valid.
    #[error("cannot parse ONBUILD trigger `{trigger}`")]
    Trigger {
        /// The trigger.
        trigger: String,
        /// What is wrong with it.
        errors: Vec<ParseError>,
    },
    /// `--target` names no stage.
    #[error("target stage \"{target}\" could not be found")]
    Target {
        /// What was asked for.
        target: String,
        /// The stages' names.
        known: Vec<String>,
    },
    /// `--squash` names nothing that the image is made of.
    #[error(
        "cannot squash from \"{from}\": expected one of the stages {} or a step from 2 to {steps}", stages.join(", ")
    )]
    Squash {
        /// What was asked for.
        from: String,
        /// The stages that the image's layers come from.
        stages: Vec<String>,
        /// How many steps the target has, with FROM.
        steps: usize,
    },
    /// A stage copies from one that stands below it.
    #[error(
        "cannot copy from stage \"{from}\", it needs to be defined before current stage \"{stage}\""
    )]
    LaterStage {
        /// The name after `--from`.
        from: String,
        /// The stage that copies.
        stage: String,
    },
    /// A base's name is empty after expansion.
    #[error("base name ({0}) should not be blank")]
    BlankBase(String),
    /// A variable could not be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// A name is none.
    #[error("failed to parse stage name \"{name}\"")]
    Reference {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// A platform is none.
    #[error("cannot use --platform")]
    Platform(#[from] PlatformError),
    /// A base image could not be had.
    #[error("cannot get base image {reference}")]
    Base {
        /// The image's name.
        reference: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A `--mount` is wrong.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A command failed.
    #[error("process \"{command}\" did not complete successfully: {}", exit_text(*code, *out_of_memory))]
    Run {
        /// The command.
        command: String,
        /// Its exit code; 128 and the signal for a killed one.
        code: u8,
        /// Whether the kernel killed it for its memory.
        out_of_memory: bool,
        /// The last lines of its output.
        output: String,
    },
    /// A command could not be started.
    #[error("cannot run \"{command}\"")]
    Start {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: mica_isolation::Error,
    },
    /// A source of `COPY` or `ADD` does not exist.
    #[error("\"{path}\": not found in {place}")]
    SourceMissing {
        /// The path as it was looked for.
        path: String,
        /// Where: `the build context`, `stage "x"`.
        place: String,
        /// The pattern of the ignore file that keeps it out, with its line.
        ignored_by: Option<String>,
    },
    /// A source's pattern is malformed.
    #[error("invalid pattern \"{0}\"")]
    Pattern(String),
    /// A file stands where a directory is needed.
    #[error("cannot copy to non-directory: {0}")]
    NotDirectory(PathBuf),
    /// A directory stands where a file is to go.
    #[error("cannot copy a file over the directory {0}")]
    IsDirectory(PathBuf),
    /// There is no context to copy from.
    #[error("there is no build context to copy from")]
    NoContext,
    /// `--chown` names nobody.
    #[error("cannot find {kind} \"{name}\" in {file} of the image")]
    Owner {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// `/etc/passwd` or `/etc/group`.
        file: &'static str,
    },
    /// `--chmod` is no mode.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Mode(String),
    /// A value that an instruction needs is not usable.
    #[error("{instruction}: {problem}")]
    Value {
        /// The instruction.
        instruction: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A secret that a step requires was not given.
    #[error("secret {0}: not found")]
    SecretMissing(String),
    /// A source from the network could not be had.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A step asks for more than the caller allows.
    #[error("{entitlement} is not allowed")]
    NotAllowed {
        /// What `--allow` would take.
        entitlement: String,
    },
    /// No keys were given for a `--mount=type=ssh` that is required.
    #[error("no SSH key \"{0}\" forwarded from the client")]
    SshMissing(String),
    /// An agent for `--ssh` could not be started or does not take a key.
    #[error("cannot {action} for --ssh {id}: {problem}")]
    Ssh {
        /// What was attempted.
        action: &'static str,
        /// The id.
        id: String,
        /// Why it failed.
        problem: String,
    },
    /// A required device is unknown.
    #[error("device {name} is required but no CDI specification has it")]
    DeviceMissing {
        /// The name.
        name: String,
        /// The names that are known.
        known: Vec<String>,
    },
    /// A CDI specification cannot be read.
    #[error("cannot read the CDI specification {}", path.display())]
    DeviceSpecification {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A step for another platform than this machine's could not be started.
    #[error("cannot run \"{command}\": it is for {platform}, and this machine does not run that")]
    Foreign {
        /// The command.
        command: String,
        /// The step's platform.
        platform: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer could not be hashed and registered.
    #[error("cannot seal a layer: {0}")]
    Seal(String),
    /// The network for steps could not be set up.
    #[error("cannot set up the network of the build")]
    Network(#[source] mica_isolation::Error),
    /// An imported cache names a layer that it does not hand out.
    #[error("cannot fetch layer {digest} of the cache {place}")]
    LostLayer {
        /// The layer's blob.
        digest: Digest,
        /// The cache.
        place: String,
        /// What went wrong.
        #[source]
        source: ExchangeError,
    },
    /// A cache cannot be imported.
    #[error("cannot import from the cache {place}")]
    CacheImport {
        /// Where from.
        place: String,
        /// What went wrong.
        #[source]
        source: ExchangeError,
    },
    /// The cache cannot be exported.
    #[error("cannot export the cache to {place}")]
    CacheExport {
        /// Where to.
        place: String,
        /// What went wrong.
        #[source]
        source: ExchangeError,
    },
    /// Another stage failed first.
    #[error("stage {0} failed")]
    Canceled(String),
}

fn exit_text(code: u8, out_of_memory: bool) -> String {
    match out_of_memory {
        true => format!("exit code: {code}: out of memory"),
        false => format!("exit code: {code}"),
    }
}

impl ErrorKind {
    /// Gives the error its place in the Dockerfile.
    pub(crate) fn at(self, span: Option<Span>) -> BuildError {
        BuildError {
            kind: self,
            span,
            platform: None,
        }
    }

    /// Wraps a failed file operation.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// One text for an error and its causes: for those who can keep a text only.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

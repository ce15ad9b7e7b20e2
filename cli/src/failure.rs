//! What a command ends in when it fails: an error, perhaps a hint, and an exit code.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use mica_inspect::InspectError;
use mica_store::StoreError;

use crate::exit::Exit;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What went wrong, with its causes.
    pub(crate) error: Box<dyn Error + Send + Sync>,
    /// What the user can do about it.
    pub(crate) hint: Option<String>,
    /// How the program ends.
    pub(crate) exit: Exit,
}

/// The result of a command.
pub(crate) type Outcome = Result<Exit, Failure>;

/// Errors of the command line itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A flag that the command does not have.
    #[error("unknown flag: {flag}")]
    UnknownFlag {
        /// The flag as given.
        flag: String,
    },
    /// A command that there is not.
    #[error("unknown command: {command}")]
    UnknownCommand {
        /// The command as given, with the program's name.
        command: String,
    },
    /// Any other mistake in the arguments.
    #[error("{message}")]
    Arguments {
        /// What is wrong.
        message: String,
    },
    /// A value that a flag does not take.
    #[error("invalid argument \"{value}\" for \"{flag}\" flag: {reason}")]
    FlagValue {
        /// The flag with its dashes.
        flag: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A filter that the command does not have.
    #[error("invalid filter '{filter}'")]
    Filter {
        /// The filter as given.
        filter: String,
    },
    /// Neither an image nor a container has that name.
    #[error("No such object: {name}")]
    NoSuchObject {
        /// The name as given.
        name: String,
    },
    /// The image is used by a container.
    #[error("conflict: unable to {action} {image} ({reason}")]
    ImageInUse {
        /// What was attempted: `delete` or `remove repository reference`.
        action: &'static str,
        /// The image as the user named it.
        image: String,
        /// What would be needed, a closing parenthesis, and who uses it.
        reason: String,
    },
    /// A file of the user cannot be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted: a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// No image of that name can be used.
    #[error("cannot use the image {name}")]
    Image {
        /// The name as given.
        name: String,
        /// Why not.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// An archive cannot be used.
    #[error("cannot {action} {place}")]
    Archive {
        /// What was attempted: a verb.
        action: &'static str,
        /// The file, the directory or standard input.
        place: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A configuration file is not what it should be.
    #[error("cannot read configuration {}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// Where the JSON is at fault.
        #[source]
        source: serde_json::Error,
    },
    /// A server has nothing at an address.
    #[error("cannot download {url}: the server answered {status}")]
    Download {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// A document cannot be read from where it is.
    #[error("cannot read {digest}")]
    Read {
        /// The document.
        digest: mica_oci::Digest,
        /// The answer of whoever has it.
        #[source]
        source: mica_oci::ContractError,
    },
    /// A configuration file is not the TOML it should be.
    #[error("cannot read configuration {}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where the TOML is at fault.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A configuration file has a value that it cannot have.
    #[error("cannot use `{value}` in {}: {reason}", path.display())]
    ConfigurationValue {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable of the environment has a value that it cannot have.
    #[error("{variable} is `{value}`: {reason}")]
    Variable {
        /// The variable's name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A program that keeps credentials failed.
    #[error("{program} {action} failed: {message}")]
    CredentialHelper {
        /// The program, such as `docker-credential-pass`.
        program: String,
        /// What it was to do.
        action: &'static str,
        /// What it said.
        message: String,
    },
    /// A program that keeps credentials cannot be run.
    #[error("cannot run {program}")]
    NoCredentialHelper {
        /// The program.
        program: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A program keeps the logins of a registry, and knows no others.
    #[error("docker-credential-{helper} keeps logins of whole registries, not that of {place}")]
    HelperOfHosts {
        /// The end of the program's name.
        helper: String,
        /// The namespace or repository.
        place: String,
    },
    /// Standard input is no terminal.
    #[error("{0}")]
    NoTerminal(&'static str),
    /// Some of several objects could not be worked on; each was reported on its own.
    #[error("")]
    Reported,
}

impl Failure {
    /// Adds a hint, unless there is one.
    pub(crate) fn or_hint(mut self, hint: impl FnOnce() -> Option<String>) -> Self {
        self.hint = self.hint.or_else(hint);
        self
    }

    /// Puts a hint in place of the usual one.
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        Self {
            hint: Some(hint.to_owned()),
            ..self
        }
    }

    /// Names the image where the error has no more than the digest of one of its documents.
    pub(crate) fn of_image(self, name: &str) -> Self {
        match crate::hint::store_error(&*self.error) {
            Some(StoreError::Platform { .. }) => {}
            Some(StoreError::Document(error)) if crate::hint::is_of_artifact(error) => {}
            _ => return self,
        }
        Self {
            error: Box::new(CliError::Image {
                name: name.to_owned(),
                source: self.error,
            }),
            ..self
        }
    }

    /// Sets the exit code.
    pub(crate) fn with_exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// Tells whether all that is wrong is that nobody reads the output any more.
    pub(crate) fn is_closed_output(&self) -> bool {
        let error = match self.error.downcast_ref() {
            Some(InspectError::Output(error)) => Some(error),
            _ => self.error.downcast_ref::<io::Error>(),
        };
        error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Tells whether everything was reported already.
    pub(crate) fn is_reported(&self) -> bool {
        matches!(self.error.downcast_ref(), Some(CliError::Reported))
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let hint = crate::hint::of(&error);
        Self {
            error: Box::new(error),
            hint,
            exit: Exit::Failure,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

//! The one list of exit codes.

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All was done.
    Success,
    /// Something failed.
    Failure,
    /// Two things could not be compared; 1 says that they differ: diff(1).
    NotCompared,
    /// A flag is wrong, or a container could not be made: docker's own code.
    Engine,
    /// The container's command cannot be invoked.
    CannotInvoke,
    /// The container's command was not found.
    NotFound,
    /// Nobody reads the output any more: what a shell shows for SIGPIPE.
    OutputClosed,
    /// The command of a container ended so.
    Command(u8),
}

impl Exit {
    /// Returns the code for the parent process.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::NotCompared => 2,
            Self::Engine => 125,
            Self::CannotInvoke => 126,
            Self::NotFound => 127,
            Self::OutputClosed => 141,
            Self::Command(code) => code,
        }
    }

    /// Chooses among docker's codes of a container that could not be started.
    pub(crate) fn of_start(code: u8) -> Self {
        match code {
            126 => Self::CannotInvoke,
            127 => Self::NotFound,
            _ => Self::Engine,
        }
    }
}

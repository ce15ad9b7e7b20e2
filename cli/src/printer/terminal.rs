//! Standard output and standard error.

use std::error::Error;
use std::io::{self, BufWriter, IsTerminal, Write};

use indicatif::ProgressDrawTarget;

use crate::failure::Failure;
use crate::hint;

/// Whether messages may be coloured where they go to a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colors {
    /// They may.
    Automatic,
    /// `NO_COLOR` is set.
    Never,
}

/// Writes what commands have to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    colors: Colors,
    lines: Lines,
}

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    Output,
    Messages,
}

impl Printer {
    /// Makes a printer.
    pub(crate) fn new(colors: Colors) -> Self {
        Self {
            colors,
            lines: Lines::Output,
        }
    }

    /// Makes lines messages: what a pull says is data of `pull`, but not of a `run` that pulls.
    pub(crate) fn as_messages(self) -> Self {
        Self {
            lines: Lines::Messages,
            ..self
        }
    }

    /// Tells whether lines go to a terminal.
    pub(crate) fn is_terminal(self) -> bool {
        match self.lines {
            Lines::Output => io::stdout().is_terminal(),
            Lines::Messages => io::stderr().is_terminal(),
        }
    }

    /// Returns where progress is drawn.
    pub(crate) fn draw_target(self) -> ProgressDrawTarget {
        match self.lines {
            Lines::Output => ProgressDrawTarget::stdout(),
            Lines::Messages => ProgressDrawTarget::stderr(),
        }
    }

    /// Writes data as it is.
    pub(crate) fn data(self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes.as_ref())?;
        out.flush()
    }

    /// Returns where data goes, for what writes it piece by piece.
    pub(crate) fn output(self) -> impl Write {
        io::stdout().lock()
    }

    /// Returns where data goes in many small pieces; whoever has written the last flushes it.
    pub(crate) fn buffered(self) -> BufWriter<impl Write> {
        BufWriter::with_capacity(1 << 16, self.output())
    }

    /// Writes a line of data.
    pub(crate) fn line(self, text: impl AsRef<str>) -> io::Result<()> {
        if self.lines == Lines::Messages {
            self.message(text);
            return Ok(());
        }
        writeln!(io::stdout().lock(), "{}", text.as_ref())
    }

    /// Writes bytes to standard error, such as those of a container. That nobody reads them is
    /// no reason to stop.
    pub(crate) fn error_data(self, bytes: &[u8]) {
        // Nothing is left to report it to.
        let _ = io::stderr().lock().write_all(bytes);
    }

    /// Writes a line for people.
    pub(crate) fn message(self, text: impl AsRef<str>) {
        self.error_data(format!("{}\n", text.as_ref()).as_bytes());
    }

    /// Writes a question for people, and leaves the cursor behind it.
    pub(crate) fn prompt(self, text: &str) {
        self.error_data(text.as_bytes());
    }

    /// Reports a failure: the error, its causes, a hint.
    pub(crate) fn report(self, failure: &Failure) {
        self.message(format!(
            "{} {}",
            self.label("error:", "1;31"),
            failure.error
        ));
        let mut former = failure.error.to_string();
        let mut cause = inner(failure.error.as_ref());
        while let Some(error) = cause {
            let text = error.to_string();
            // Errors that only pass another one on would say it twice.
            if text != former {
                self.message(format!("{} {text}", self.label("caused by:", "1;31")));
            }
            former = text;
            cause = inner(error);
        }
        if let Some(hint) = &failure.hint {
            self.message(format!("{} {hint}", self.label("hint:", "1;36")));
        }
    }

    /// Writes a warning.
    pub(crate) fn warning(self, text: &str) {
        self.message(format!("{} {text}", self.label("warning:", "1;33")));
    }

    fn label(self, text: &str, style: &str) -> String {
        if self.colors == Colors::Automatic && io::stderr().is_terminal() {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Messages, for what writes as it goes. That nobody reads them is no reason to stop.
impl Write for Printer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.error_data(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An `io::Error` that wraps another error shows that one's text as its own.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    if hint::covers_its_causes(error) {
        return None;
    }
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => wrapped.source(),
        None => error.source(),
    }
}

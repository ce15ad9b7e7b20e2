//! The caller's terminal: raw mode while a container's is shown in it, and its size.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use mica_isolation::WindowSize;
use rustix::termios::{OptionalActions, Termios};

/// Standard input in raw mode; as it was when this is dropped, also by a panic.
pub(crate) struct RawMode {
    former: Option<Termios>,
}

impl RawMode {
    /// Switches standard input to raw mode: every key goes to the container. Without a terminal
    /// there is nothing to switch.
    pub(crate) fn enter() -> io::Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self { former: None });
        }
        let stdin = io::stdin();
        let former = rustix::termios::tcgetattr(stdin.as_fd())?;
        let mut raw = former.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self {
            former: Some(former),
        })
    }

    /// Switches back.
    pub(crate) fn leave(&self) {
        if let Some(former) = &self.former {
            // A terminal that is gone needs no mode.
            let _ = rustix::termios::tcsetattr(io::stdin().as_fd(), OptionalActions::Now, former);
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Returns the size of the terminal that output goes to; none where there is no terminal.
pub(crate) fn window_size() -> Option<WindowSize> {
    let size = rustix::termios::tcgetwinsize(io::stdout().as_fd())
        .or_else(|_| rustix::termios::tcgetwinsize(io::stdin().as_fd()))
        .ok()?;
    let known = size.ws_row > 0 && size.ws_col > 0;
    known.then_some(WindowSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

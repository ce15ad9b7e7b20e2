//! The caller's terminal or pipes, connected to a container's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use mica_container::{
    AttachEnd, AttachStdio, Attachment, Controller, DetachKeys, ExecController, ExecSession,
    Streams,
};

use super::terminal::{RawMode, window_size};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::signals::{self, Catch, CaughtSignals, Patience, SignalThread};

/// How the caller is connected.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// The streams that are connected.
    pub(crate) streams: Streams,
    /// Whether the container has a terminal.
    pub(crate) terminal: Terminal,
    /// Whether signals are passed on.
    pub(crate) signals: SignalProxy,
    /// The keys that end the connection; docker's own when absent.
    pub(crate) keys: Option<DetachKeys>,
}

/// Whether a container's process has a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terminal {
    /// It has.
    Present,
    /// It has not.
    Absent,
}

impl Terminal {
    /// Says it of a container's `tty`.
    pub(crate) fn of(tty: bool) -> Self {
        if tty { Self::Present } else { Self::Absent }
    }
}

/// Whether signals are passed on to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalProxy {
    /// They are, unless keys pass through a terminal.
    On,
    /// They are not.
    Off,
}

impl SignalProxy {
    /// Says it of a `--sig-proxy`.
    pub(crate) fn of(flag: bool) -> Self {
        if flag { Self::On } else { Self::Off }
    }
}

impl Client {
    /// Catches the signals that matter to the connection; to be called before the container
    /// starts, so that none is lost.
    pub(crate) fn catch_signals(&self) -> std::io::Result<CaughtSignals> {
        CaughtSignals::new(match (self.terminal, self.signals) {
            (Terminal::Present, _) => Catch::WithTerminal,
            (Terminal::Absent, SignalProxy::On) => Catch::Forwarded,
            (Terminal::Absent, SignalProxy::Off) => Catch::Nothing,
        })
    }

    /// Passes the streams until the container ends or the caller leaves.
    pub(crate) fn run(
        self,
        attachment: Attachment,
        signals: CaughtSignals,
    ) -> Result<Exit, Failure> {
        let controller = attachment.controller()?;
        let raw = self.raw_mode()?;
        let killed = Arc::new(AtomicI32::new(0));
        let thread = match self.terminal {
            Terminal::Present => watch_terminal(signals, controller, Arc::clone(&killed)),
            Terminal::Absent => forward_signals(signals, controller, Arc::clone(&killed)),
        };
        let keys = (self.terminal == Terminal::Present && self.streams.stdin)
            .then(|| self.keys.unwrap_or_default());
        let end = attachment.run(AttachStdio::inherit(self.streams)?, keys);
        drop((thread, raw));
        Ok(match (end?, killed.load(Ordering::Relaxed)) {
            (AttachEnd::Exited(code), _) => Exit::Command(code),
            (AttachEnd::Detached, 0) => Exit::Success,
            (AttachEnd::Detached, signal) => Exit::Command(code_of_signal(signal)),
        })
    }

    fn raw_mode(&self) -> std::io::Result<Option<RawMode>> {
        let wanted = self.terminal == Terminal::Present && self.streams.stdin;
        wanted.then(RawMode::enter).transpose()
    }
}

/// Tells the container each new size. What would end the program lets the terminal be put in
/// order first; the container goes on.
fn watch_terminal(
    signals: CaughtSignals,
    controller: Controller,
    killed: Arc<AtomicI32>,
) -> SignalThread {
    let resize = move |controller: &Controller| {
        // A container that has ended needs no size.
        window_size().map(|size| controller.resize(size).ok());
    };
    resize(&controller);
    signals.forward(move |signal| match signals::is_resize(signal) {
        true => resize(&controller),
        false => {
            killed.store(signal, Ordering::Relaxed);
            controller.detach();
        }
    })
}

/// Passes signals on to the container; one that does not care is left behind in the end.
fn forward_signals(
    signals: CaughtSignals,
    controller: Controller,
    killed: Arc<AtomicI32>,
) -> SignalThread {
    let mut patience = Patience::default();
    signals.forward(move |signal| {
        // A container that has ended already takes none.
        let _ = controller.signal(signal);
        if patience.is_over(signal) {
            killed.store(signal, Ordering::Relaxed);
            controller.detach();
        }
    })
}

fn code_of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// Runs a command of `exec` to its end, and passes its terminal on if it has one.
pub(crate) fn run_session(
    session: ExecSession,
    terminal: Terminal,
    interactive: bool,
) -> Result<Exit, Failure> {
    let catch = match terminal {
        Terminal::Present => Catch::WithTerminal,
        Terminal::Absent => Catch::Forwarded,
    };
    let signals = CaughtSignals::new(catch)?;
    let controller = session.controller()?;
    let wanted = terminal == Terminal::Present && interactive;
    let raw = wanted.then(RawMode::enter).transpose()?;
    let thread = signals.forward(move |signal| handle_session(&controller, signal));
    let code = session.run();
    drop((thread, raw));
    Ok(Exit::Command(code?))
}

fn handle_session(controller: &ExecController, signal: i32) {
    // Both fail only when the command has ended.
    match (signals::is_resize(signal), window_size()) {
        (true, Some(size)) => drop(controller.resize(size)),
        (true, None) => {}
        (false, _) => drop(controller.signal(signal)),
    }
}

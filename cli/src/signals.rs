//! The signals that the program gets while a container's streams pass through it, or while it has
//! changed the terminal.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::signal::{
    SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::{Handle, Signals};

/// What is passed on to a container's process. SIGTTIN and SIGTTOU are about the caller's own
/// terminal, SIGCHLD and SIGPIPE about its own children and pipes.
const FORWARDED: &[i32] = &[SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// What matters while a terminal is in raw mode: keys make no signals then.
const WITH_TERMINAL: &[i32] = &[SIGHUP, SIGTERM, SIGWINCH];

/// What would end the program before it could put the terminal in order.
const ENDING: &[i32] = &[SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Which signals are caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Catch {
    /// Those that are passed on to the container.
    Forwarded,
    /// The terminal's new sizes, and what would end the program with the terminal in raw mode.
    WithTerminal,
    /// What asks the program to end.
    Ending,
    /// None.
    Nothing,
}

/// Signals that are caught and wait to be handled.
pub(crate) struct CaughtSignals(Signals);

impl CaughtSignals {
    /// Catches signals from now on.
    pub(crate) fn new(catch: Catch) -> io::Result<Self> {
        let signals = match catch {
            Catch::Forwarded => FORWARDED,
            Catch::WithTerminal => WITH_TERMINAL,
            Catch::Ending => ENDING,
            Catch::Nothing => &[],
        };
        Signals::new(signals).map(Self)
    }

    /// Hands each signal to `handle`, in a thread of its own.
    pub(crate) fn forward(self, mut handle: impl FnMut(i32) + Send + 'static) -> SignalThread {
        let Self(mut signals) = self;
        let end = signals.handle();
        let thread = std::thread::spawn(move || signals.forever().for_each(&mut handle));
        SignalThread {
            end,
            thread: Some(thread),
        }
    }
}

/// Handles signals until it is dropped.
pub(crate) struct SignalThread {
    end: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.end.close();
        if let Some(thread) = self.thread.take() {
            // A handler that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Counts what asks the program to end: whoever insists gets away without the container.
#[derive(Default)]
pub(crate) struct Patience {
    asked: u32,
}

/// Docker's number of SIGINT and SIGTERM after which its client leaves.
const PATIENCE: u32 = 3;

impl Patience {
    /// Tells whether this signal is the last straw.
    pub(crate) fn is_over(&mut self, signal: i32) -> bool {
        self.asked += u32::from(matches!(signal, SIGINT | SIGTERM));
        self.asked >= PATIENCE
    }
}

/// Ends the program as if the signal had not been caught: who waits for it sees 128 and its number.
pub(crate) fn end_by(signal: i32) {
    // It fails only for a signal that there is not.
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}

/// Tells whether a signal is about the terminal's size.
pub(crate) fn is_resize(signal: i32) -> bool {
    signal == SIGWINCH
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn caught_signals_are_forwarded() {
        let signals = CaughtSignals::new(Catch::Forwarded).unwrap();
        let (sender, receiver) = mpsc::channel();
        let thread = signals.forward(move |signal| sender.send(signal).unwrap());
        signal_hook::low_level::raise(SIGUSR2).unwrap();
        assert_eq!(receiver.recv(), Ok(SIGUSR2));
        drop(thread);
        assert!(receiver.recv().is_err(), "the thread has ended");
    }

    #[test]
    fn patience_ends() {
        let mut patience = Patience::default();
        let answers = [SIGINT, SIGUSR1, SIGTERM, SIGINT].map(|signal| patience.is_over(signal));
        assert_eq!(answers, [false, false, false, true]);
    }
}

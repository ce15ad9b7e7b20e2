//! The terminal while the interface has it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use mica_inspect::Image;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute};

use super::draw::draw;
use super::explorer::{Explorer, Next};
use super::keys;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::signals::{self, Catch, CaughtSignals, SignalThread};

/// Gives the terminal back as it was, whatever happens, signals included.
struct Screen {
    printer: Printer,
    _signals: SignalThread,
}

impl Screen {
    fn enter(printer: Printer) -> io::Result<Self> {
        let signals = CaughtSignals::new(Catch::Ending)?;
        enable_raw_mode()?;
        let screen = Self {
            printer,
            _signals: signals.forward(move |signal| leave_by(printer, signal)),
        };
        execute!(printer.output(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave(&mut self.printer.output());
    }
}

fn leave(output: &mut impl Write) {
    // Nothing is left to report it to.
    let _ = execute!(output, LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}

/// Ends the program by a signal. The output stays locked, so that nothing is drawn any more.
fn leave_by(printer: Printer, signal: i32) {
    let mut output = printer.output();
    leave(&mut output);
    signals::end_by(signal);
}

/// Shows an image until the user leaves.
///
/// # Errors
/// When the terminal fails, or a layer cannot be read.
pub(crate) fn run(image: &Image, printer: Printer) -> Result<(), Failure> {
    let mut explorer = Explorer::new(image)?;
    let _screen = Screen::enter(printer)?;
    let mut terminal = Terminal::new(CrosstermBackend::new(io::BufWriter::new(Output(printer))))?;
    let mut events = Events::default();
    loop {
        terminal.draw(|frame| draw(frame, &mut explorer))?;
        if explorer.is_waiting() {
            explorer.fetch(&mut || events.have_escape());
            continue;
        }
        // Whatever else happens, such as another size: the screen is drawn again.
        if let Event::Key(key) = events.next()?
            && key.kind != KeyEventKind::Release
            && explorer.key(key)? == Next::End
        {
            return Ok(());
        }
    }
}

/// What the terminal tells, in order.
#[derive(Default)]
struct Events {
    /// What came while a file was searched.
    waiting: VecDeque<Event>,
}

impl Events {
    fn next(&mut self) -> io::Result<Event> {
        self.waiting.pop_front().map_or_else(event::read, Ok)
    }

    /// Looks, without waiting, for a key that breaks off; all others keep their turn.
    fn have_escape(&mut self) -> bool {
        while matches!(event::poll(Duration::ZERO), Ok(true)) {
            match event::read() {
                Ok(Event::Key(key)) if keys::breaks_off(key) => return true,
                Ok(other) => self.waiting.push_back(other),
                // The next wait for a key fails as well, and says so.
                Err(_) => return true,
            }
        }
        false
    }
}

/// The printer as a writer of data. It is locked for each write only: others write as well.
struct Output(Printer);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.output().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.output().flush()
    }
}

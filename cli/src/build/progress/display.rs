//! One display for every style: it takes events from any thread.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mica_builder::{Event, Journal, Outcome, Status, StepId};

use super::colors::StepColors;
use super::live::Live;
use super::plain::Plain;
use super::raw_json::RawJson;
use super::screen::Size;
use super::summary;
use super::tails::Tails;
use crate::printer::Printer;

/// How a build is shown: `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Style {
    /// A live view on a terminal, plain lines elsewhere.
    Auto,
    /// Nothing.
    None,
    /// Every line of output, with BuildKit's `#N` in front.
    Plain,
    /// Nothing but the image ID.
    Quiet,
    /// BuildKit's status as JSON lines.
    #[value(name = "rawjson")]
    RawJson,
    /// A live view.
    Tty,
}

/// How often the live view's clocks move.
const TICK: Duration = Duration::from_millis(100);

/// A display, and the journal behind it.
pub(crate) struct Display {
    shared: Arc<Shared>,
    ticker: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// Wakes the ticker to its end.
    ended: Condvar,
}

struct State {
    view: View,
    tails: Tails,
    journal: Option<Journal>,
    /// What happened before there was a journal.
    early: Vec<Event>,
    start: Instant,
    ended: bool,
}

enum View {
    Plain(Plain),
    Live(Box<Live>),
    RawJson(RawJson),
    Quiet,
    None,
}

impl Display {
    /// Makes the display of a style; `Auto` is chosen by where messages go.
    pub(crate) fn new(style: Style, printer: Printer, colors: StepColors) -> Self {
        let out = || -> Box<dyn Write + Send> { Box::new(printer) };
        let view = match style {
            Style::Auto if printer.is_terminal() => View::Live(live(out(), colors)),
            Style::Tty => View::Live(live(out(), colors)),
            Style::Auto | Style::Plain => View::Plain(Plain::new(out())),
            Style::RawJson => View::RawJson(RawJson::new(out())),
            Style::Quiet => View::Quiet,
            Style::None => View::None,
        };
        let is_live = matches!(view, View::Live(_));
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                view,
                tails: Tails::default(),
                journal: None,
                early: Vec::new(),
                start: Instant::now(),
                ended: false,
            }),
            ended: Condvar::new(),
        });
        let ticker = is_live.then(|| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.tick())
        });
        Self {
            shared,
            ticker: Mutex::new(ticker),
        }
    }

    /// Writes down in a journal what was shown so far, and what is from now on.
    pub(crate) fn record(&self, mut journal: Journal) {
        let mut state = self.shared.lock();
        for event in std::mem::take(&mut state.early) {
            journal.event(&event);
        }
        state.journal = Some(journal);
    }

    /// Takes an event.
    pub(crate) fn event(&self, event: &Event) {
        let mut state = self.shared.lock();
        state.tails.event(event);
        match &mut state.journal {
            Some(journal) => journal.event(event),
            None => state.early.push(event.clone()),
        }
        let shown = match &mut state.view {
            View::Plain(plain) => plain.event(event),
            View::Live(live) => live.event(event),
            View::RawJson(lines) => lines.event(event),
            View::Quiet | View::None => Ok(()),
        };
        // A closed pipe must not end the build: what cannot be shown is not shown.
        shown.unwrap_or_default();
    }

    /// Shows something that the program itself does, from begin to end.
    pub(crate) fn step<T, E: std::fmt::Display>(
        &self,
        name: impl Into<String>,
        work: impl FnOnce(&dyn Fn(Status)) -> Result<T, E>,
    ) -> Result<T, E> {
        let step = StepId::next();
        let name = name.into();
        self.event(&Event::Started { step, name });
        let start = Instant::now();
        let result = work(&|status| self.event(&Event::Status { step, status }));
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(error) => {
                let error = error.to_string();
                self.event(&Event::Failed { step, error });
                Outcome::Failed
            }
        };
        self.event(&Event::Finished {
            step,
            outcome,
            elapsed: start.elapsed(),
        });
        result
    }

    /// Shows something that the program itself did.
    pub(crate) fn tell(&self, name: String, status: Status) {
        let told = self.step(name, |tell| {
            tell(status);
            Ok::<_, std::convert::Infallible>(())
        });
        told.unwrap_or_default();
    }

    /// Returns the name under which the build is written down; empty when it is not.
    pub(crate) fn build_id(&self) -> String {
        let state = self.shared.lock();
        let journal = state.journal.as_ref();
        journal
            .map(|journal| journal.id().to_owned())
            .unwrap_or_default()
    }

    /// Ends the display: what a build came to, or the last lines of what failed. Returns the
    /// journal.
    pub(crate) fn end(&self) -> Option<Journal> {
        self.stop();
        let mut state = self.shared.lock();
        let journal = state.journal.take();
        let lines = state.closing_lines(journal.as_ref());
        let shown = match &mut state.view {
            View::Plain(plain) => lines.iter().try_for_each(|line| plain.line(line)),
            View::Live(live) => live
                .end()
                .and_then(|()| lines.iter().try_for_each(|line| live.line(line))),
            View::RawJson(_) | View::Quiet | View::None => Ok(()),
        };
        shown.unwrap_or_default();
        journal
    }

    /// Returns the last lines of the steps that failed, as the report of a failure shows them.
    pub(crate) fn failures(&self) -> String {
        let state = self.shared.lock();
        let mut text = String::new();
        for tail in state.tails.failed() {
            text.push_str(&format!("------\n > {}:\n", tail.name));
            for line in &tail.lines {
                text.push_str(&format!("{line}\n"));
            }
            text.push_str("------\n");
        }
        text
    }

    fn stop(&self) {
        self.shared.lock().ended = true;
        self.shared.ended.notify_all();
        let ticker = self
            .ticker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(ticker) = ticker {
            // It does nothing but draw; what it could not draw is not missed.
            let _ = ticker.join();
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) {
        let mut state = self.lock();
        loop {
            let waited = self
                .ended
                .wait_timeout_while(state, TICK, |state| !state.ended);
            let (guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if state.ended {
                return;
            }
            if let View::Live(live) = &mut state.view {
                live.tick().unwrap_or_default();
            }
        }
    }
}

impl State {
    fn closing_lines(&self, journal: Option<&Journal>) -> Vec<String> {
        let steps = journal.map_or(&[][..], Journal::steps);
        if !self.tails.failed().is_empty() {
            return Vec::new();
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let Some(headline) = summary::headline(steps, seconds) else {
            return Vec::new();
        };
        match &self.view {
            View::Plain(_) => {
                let mut lines = vec![String::new(), headline];
                lines.extend(summary::lines(steps));
                lines
            }
            _ => vec![headline],
        }
    }
}

fn live(out: Box<dyn Write + Send>, colors: StepColors) -> Box<Live> {
    Box::new(Live::new(out, terminal_size, colors))
}

/// Returns the size of the terminal that messages go to; that of the first ones where it is not
/// known.
fn terminal_size() -> Size {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let known = size.filter(|size| size.ws_row > 0 && size.ws_col > 0);
    known.map_or(
        Size {
            columns: 80,
            rows: 24,
        },
        |size| Size {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        },
    )
}

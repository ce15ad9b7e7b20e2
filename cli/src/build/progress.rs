//! Showing a build while it runs: BuildKit's plain lines, or a live view on a terminal.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use mica_builder::{Event, Outcome, StepId};

use crate::printer::Printer;

/// How a build is shown: `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Style {
    /// A live view on a terminal, plain lines elsewhere.
    Auto,
    /// Every line of output, with BuildKit's `#N` in front.
    Plain,
    /// A live view.
    Tty,
    /// Nothing but the result.
    Quiet,
}

/// How many of a running step's last lines the live view shows.
const TAIL_LINES: usize = 6;

/// How often the live view's clocks move.
const TICK: Duration = Duration::from_millis(100);

/// A display that takes the events of a build, from any thread.
pub(crate) struct Display {
    state: Mutex<State>,
}

enum State {
    Plain(Plain),
    Live(Live),
    Quiet,
}

impl Display {
    /// Shows plain lines on `out`.
    pub(crate) fn plain(out: Box<dyn Write + Send>) -> Self {
        let plain = Plain {
            out,
            steps: BTreeMap::new(),
            last: None,
        };
        Self {
            state: Mutex::new(State::Plain(plain)),
        }
    }

    /// Shows a live view.
    pub(crate) fn live(printer: Printer) -> Self {
        let bars = MultiProgress::with_draw_target(printer.draw_target());
        Self {
            state: Mutex::new(State::Live(Live {
                bars,
                steps: BTreeMap::new(),
            })),
        }
    }

    /// Shows nothing.
    pub(crate) fn quiet() -> Self {
        Self {
            state: Mutex::new(State::Quiet),
        }
    }

    /// Takes an event.
    pub(crate) fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            // A closed pipe must not end the build: what cannot be shown is not shown.
            State::Plain(plain) => plain.event(event).unwrap_or_default(),
            State::Live(live) => live.event(event),
            State::Quiet => {}
        }
    }

    /// Shows a line outside of any step.
    pub(crate) fn message(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Plain(plain) => writeln!(plain.out, "{text}").unwrap_or_default(),
            State::Live(live) => live.bars.println(text).unwrap_or_default(),
            State::Quiet => {}
        }
    }
}

/// What a step's output is cut into: whole lines.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        let text = String::from_utf8_lossy(&whole[..end]).into_owned();
        text.split('\n')
            .map(|line| shown(line).to_owned())
            .collect()
    }

    fn finish(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| shown(&String::from_utf8_lossy(&rest)).to_owned())
    }
}

/// A line as a terminal would leave it: what a carriage return overwrote is gone.
fn shown(line: &str) -> &str {
    line.trim_end_matches('\r')
        .rsplit('\r')
        .next()
        .unwrap_or(line)
}

struct Plain {
    out: Box<dyn Write + Send>,
    steps: BTreeMap<StepId, PlainStep>,
    /// The step that the last line belongs to: BuildKit sets blocks of steps apart.
    last: Option<StepId>,
}

struct PlainStep {
    name: String,
    start: Instant,
    lines: Lines,
}

impl Plain {
    fn event(&mut self, event: Event) -> std::io::Result<()> {
        match event {
            Event::Started { step, name } => {
                self.turn_to(step, &name)?;
                let start = Instant::now();
                self.steps.insert(
                    step,
                    PlainStep {
                        name,
                        start,
                        lines: Lines::default(),
                    },
                );
            }
            Event::Output { step, bytes, .. } => {
                let lines = self
                    .steps
                    .get_mut(&step)
                    .map(|known| known.lines.push(&bytes));
                for line in lines.unwrap_or_default() {
                    self.line(step, &line)?;
                }
            }
            Event::Finished {
                step,
                outcome,
                elapsed,
            } => self.finish(step, outcome, elapsed)?,
            Event::Warning { text } => writeln!(self.out, "WARNING: {text}")?,
        }
        self.out.flush()
    }

    /// Starts a block of lines of a step; a step that was shown before is named again.
    fn turn_to(&mut self, step: StepId, name: &str) -> std::io::Result<()> {
        if self.last == Some(step) {
            return Ok(());
        }
        if self.last.is_some() {
            writeln!(self.out)?;
        }
        self.last = Some(step);
        writeln!(self.out, "#{} {name}", step.0)
    }

    fn line(&mut self, step: StepId, line: &str) -> std::io::Result<()> {
        let Some(known) = self.steps.get(&step) else {
            return Ok(());
        };
        let (name, seconds) = (known.name.clone(), known.start.elapsed().as_secs_f64());
        self.turn_to(step, &name)?;
        writeln!(self.out, "#{} {seconds:.3} {line}", step.0)
    }

    fn finish(&mut self, step: StepId, outcome: Outcome, elapsed: Duration) -> std::io::Result<()> {
        if let Some(rest) = self
            .steps
            .get_mut(&step)
            .and_then(|known| known.lines.finish())
        {
            self.line(step, &rest)?;
        }
        let Some(known) = self.steps.remove(&step) else {
            return Ok(());
        };
        self.turn_to(step, &known.name)?;
        match outcome {
            Outcome::Cached => writeln!(self.out, "#{} CACHED", step.0),
            Outcome::Done => writeln!(self.out, "#{} DONE {:.1}s", step.0, elapsed.as_secs_f64()),
            Outcome::Failed => writeln!(self.out, "#{} ERROR", step.0),
        }
    }
}

struct Live {
    bars: MultiProgress,
    steps: BTreeMap<StepId, LiveStep>,
}

struct LiveStep {
    name: String,
    bar: ProgressBar,
    lines: Lines,
    tail: Vec<String>,
}

impl Live {
    fn event(&mut self, event: Event) {
        match event {
            Event::Started { step, name } => self.start(step, name),
            Event::Output { step, bytes, .. } => {
                if let Some(known) = self.steps.get_mut(&step) {
                    known.output(&bytes);
                }
            }
            Event::Finished {
                step,
                outcome,
                elapsed,
            } => self.finish(step, outcome, elapsed),
            Event::Warning { text } => {
                self.bars
                    .println(format!("WARNING: {text}"))
                    .unwrap_or_default();
            }
        }
    }

    fn start(&mut self, step: StepId, name: String) {
        let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed}\n{msg}");
        let style = style
            .expect("the template is valid")
            .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ");
        let bar = self.bars.add(ProgressBar::new_spinner().with_style(style));
        bar.set_prefix(name.clone());
        bar.enable_steady_tick(TICK);
        self.steps.insert(
            step,
            LiveStep {
                name,
                bar,
                lines: Lines::default(),
                tail: Vec::new(),
            },
        );
    }

    fn finish(&mut self, step: StepId, outcome: Outcome, elapsed: Duration) {
        let Some(known) = self.steps.remove(&step) else {
            return;
        };
        known.bar.finish_and_clear();
        self.bars.remove(&known.bar);
        let seconds = elapsed.as_secs_f64();
        let line = match outcome {
            Outcome::Cached => format!("=> CACHED {}", known.name),
            Outcome::Done => format!("=> {} {seconds:.1}s", known.name),
            Outcome::Failed => format!("=> ERROR {} {seconds:.1}s", known.name),
        };
        self.bars.println(line).unwrap_or_default();
    }
}

impl LiveStep {
    fn output(&mut self, bytes: &[u8]) {
        self.tail.extend(self.lines.push(bytes));
        let excess = self.tail.len().saturating_sub(TAIL_LINES);
        self.tail.drain(..excess);
        let lines: Vec<_> = self.tail.iter().map(|line| format!("   {line}")).collect();
        self.bar.set_message(lines.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mica_builder::Stream;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn plain_lines_are_those_of_buildkit() {
        let out = Shared::default();
        let display = Display::plain(Box::new(out.clone()));
        let (a, b) = (StepId(1), StepId(2));
        let output = |step, text: &str| Event::Output {
            step,
            stream: Stream::Stdout,
            bytes: text.as_bytes().to_vec(),
        };
        display.event(Event::Started {
            step: a,
            name: "[1/2] FROM x".into(),
        });
        display.event(Event::Finished {
            step: a,
            outcome: Outcome::Cached,
            elapsed: Duration::ZERO,
        });
        display.event(Event::Started {
            step: b,
            name: "[2/2] RUN y".into(),
        });
        display.event(output(b, "one\ntw"));
        display.event(output(b, "o\n10%\r20%"));
        display.event(Event::Finished {
            step: b,
            outcome: Outcome::Done,
            elapsed: Duration::from_millis(1_250),
        });
        let text = String::from_utf8(out.0.lock().expect("no panic").clone()).expect("it is text");
        let without_times: Vec<String> = text
            .lines()
            .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
                [number, time, ref rest @ ..] if time.parse::<f64>().is_ok() => {
                    format!("{number} T {}", rest.join(" "))
                }
                _ => line.to_owned(),
            })
            .collect();
        assert_eq!(
            without_times,
            [
                "#1 [1/2] FROM x",
                "#1 CACHED",
                "",
                "#2 [2/2] RUN y",
                "#2 T one",
                "#2 T two",
                "#2 T 20%",
                "#2 DONE 1.2s"
            ]
        );
    }
}

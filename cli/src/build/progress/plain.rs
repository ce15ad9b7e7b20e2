//! BuildKit's plain lines: `#N [stage 2/7] RUN …`, `#N 0.123 output`, `#N DONE 0.1s`.
//!
//! One step has the word at a time. What others say meanwhile waits until it ends, or until it has
//! had the word for a while and somebody else has more to say.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use mica_builder::{Event, Outcome, Status, StepId};

use super::lines::{Lines, line_time};
use crate::printer;

/// How long a step keeps the word while others wait.
const TURN: Duration = Duration::from_secs(5);

/// How much further a transfer must be for another line, and how long a line is enough otherwise.
const STATUS_PART: f64 = 0.05;
const STATUS_TIME: Duration = Duration::from_secs(5);

/// Writes plain lines.
pub(super) struct Plain {
    out: Box<dyn Write + Send>,
    steps: BTreeMap<StepId, PlainStep>,
    current: Option<StepId>,
    /// Since when the current step has the word.
    since: Instant,
    written: bool,
    last_number: usize,
}

struct PlainStep {
    number: usize,
    name: String,
    start: Instant,
    lines: Lines,
    /// Lines that wait for the word.
    waiting: Vec<String>,
    statuses: BTreeMap<String, Seen>,
    error: Option<String>,
}

/// A status as it was written last.
struct Seen {
    start: Instant,
    written: Instant,
    current: u64,
}

impl Plain {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            steps: BTreeMap::new(),
            current: None,
            since: Instant::now(),
            written: false,
            last_number: 0,
        }
    }

    /// Shows an event.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Started { step, name } => self.start(*step, name)?,
            Event::Missed { step, miss } => self.say(*step, format!("not cached: {miss}"))?,
            Event::Status { step, status } => self.status(*step, status)?,
            Event::Output { step, bytes, .. } => self.output(*step, bytes)?,
            Event::Failed { step, error } => {
                if let Some(known) = self.steps.get_mut(step) {
                    known.error = Some(error.clone());
                }
            }
            Event::Finished {
                step,
                outcome,
                elapsed,
            } => self.finish(*step, *outcome, *elapsed)?,
            Event::Warning { text } => self.line(&format!("WARNING: {text}"))?,
            Event::Sited { .. } | Event::Kept { .. } | Event::Sealed { .. } => {}
        }
        self.out.flush()
    }

    /// Writes a line that belongs to no step.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.leave()?;
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    fn start(&mut self, step: StepId, name: &str) -> io::Result<()> {
        self.last_number += 1;
        let known = PlainStep {
            number: self.last_number,
            name: name.to_owned(),
            start: Instant::now(),
            lines: Lines::default(),
            waiting: Vec::new(),
            statuses: BTreeMap::new(),
            error: None,
        };
        self.steps.insert(step, known);
        match self.current {
            None => self.turn_to(step),
            Some(_) => Ok(()),
        }
    }

    fn output(&mut self, step: StepId, bytes: &[u8]) -> io::Result<()> {
        let Some(known) = self.steps.get_mut(&step) else {
            return Ok(());
        };
        let time = line_time(known.start.elapsed().as_secs_f64());
        for line in known.lines.push(bytes) {
            self.say(step, format!("{time} {line}"))?;
        }
        Ok(())
    }

    fn status(&mut self, step: StepId, status: &Status) -> io::Result<()> {
        let Some(known) = self.steps.get_mut(&step) else {
            return Ok(());
        };
        let now = Instant::now();
        let seen = known.statuses.get(&status.id);
        if let Some(seen) = seen.filter(|_| !status.done) {
            let moved = status.current.saturating_sub(seen.current) as f64;
            let little = status.total == 0 || moved / (status.total as f64) < STATUS_PART;
            if little && now - seen.written < STATUS_TIME {
                return Ok(());
            }
        }
        let start = seen.map_or(now, |seen| seen.start);
        let line = status_line(status, now - start);
        let seen = Seen {
            start,
            written: now,
            current: status.current,
        };
        known.statuses.insert(status.id.clone(), seen);
        self.say(step, line)
    }

    /// A step says something: at once when it has the word, or gets it.
    fn say(&mut self, step: StepId, line: String) -> io::Result<()> {
        let overdue = self.since.elapsed() > TURN;
        let Some(known) = self.steps.get_mut(&step) else {
            return Ok(());
        };
        known.waiting.push(line);
        match self.current {
            Some(current) if current != step && !overdue => Ok(()),
            _ => self.turn_to(step),
        }
    }

    /// Gives a step the word, and writes what it has waited with.
    fn turn_to(&mut self, step: StepId) -> io::Result<()> {
        let Some(known) = self.steps.get(&step) else {
            return Ok(());
        };
        let (number, title) = (known.number, format!("#{} {}", known.number, known.name));
        if self.current != Some(step) {
            self.leave()?;
            if self.written {
                writeln!(self.out)?;
            }
            writeln!(self.out, "{title}")?;
            self.written = true;
            self.current = Some(step);
            self.since = Instant::now();
        }
        let waiting = self
            .steps
            .get_mut(&step)
            .map(|known| std::mem::take(&mut known.waiting));
        for line in waiting.unwrap_or_default() {
            writeln!(self.out, "#{number} {line}")?;
        }
        Ok(())
    }

    /// Takes the word from the current step.
    fn leave(&mut self) -> io::Result<()> {
        let current = self.current.take();
        match current.and_then(|current| self.steps.get(&current)) {
            Some(known) => writeln!(self.out, "#{} ...", known.number),
            None => Ok(()),
        }
    }

    fn finish(&mut self, step: StepId, outcome: Outcome, elapsed: Duration) -> io::Result<()> {
        let Some(known) = self.steps.get_mut(&step) else {
            return Ok(());
        };
        if let Some(rest) = known.lines.finish() {
            let time = line_time(known.start.elapsed().as_secs_f64());
            known.waiting.push(format!("{time} {rest}"));
        }
        self.turn_to(step)?;
        let Some(known) = self.steps.remove(&step) else {
            return Ok(());
        };
        let number = known.number;
        match outcome {
            Outcome::Cached => writeln!(self.out, "#{number} CACHED")?,
            Outcome::Done => writeln!(self.out, "#{number} DONE {:.1}s", elapsed.as_secs_f64())?,
            Outcome::Canceled => writeln!(self.out, "#{number} CANCELED")?,
            Outcome::Failed => {
                let error = known.error.unwrap_or_default();
                writeln!(self.out, "#{number} ERROR: {error}")?;
            }
        }
        self.current = None;
        self.next()
    }

    /// Gives the word to the step that has most to say.
    fn next(&mut self) -> io::Result<()> {
        let waiting = self
            .steps
            .iter()
            .max_by_key(|(_, known)| known.waiting.len());
        match waiting.map(|(step, _)| *step) {
            Some(step) => self.turn_to(step),
            None => Ok(()),
        }
    }
}

/// `ID 1.05MB / 3.2MB 0.3s done`.
fn status_line(status: &Status, elapsed: Duration) -> String {
    let mut line = status.id.clone();
    match (status.current, status.total) {
        (0, 0) => {}
        (current, 0) => line.push_str(&format!(" {}", printer::size(current))),
        (current, total) => line.push_str(&format!(
            " {} / {}",
            printer::size(current),
            printer::size(total)
        )),
    }
    if elapsed.as_secs_f64() > 0.01 {
        line.push_str(&format!(" {:.1}s", elapsed.as_secs_f64()));
    }
    if status.done {
        line.push_str(" done");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use mica_builder::Stream;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn check(events: &[Event], expected: &[&str]) {
        let out = Shared::default();
        let mut plain = Plain::new(Box::new(out.clone()));
        for event in events {
            plain.event(event).expect("memory can be written");
        }
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
        assert_eq!(without_times, expected);
    }

    fn started(step: usize, name: &str) -> Event {
        Event::Started {
            step: StepId(step),
            name: name.into(),
        }
    }

    fn output(step: usize, text: &str) -> Event {
        Event::Output {
            step: StepId(step),
            stream: Stream::Stdout,
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn finished(step: usize, outcome: Outcome) -> Event {
        Event::Finished {
            step: StepId(step),
            outcome,
            elapsed: Duration::from_millis(1_250),
        }
    }

    #[test]
    fn plain_lines_are_those_of_buildkit() {
        let status = Status::done("resolve x");
        check(
            &[
                started(7, "[1/2] FROM x"),
                Event::Status {
                    step: StepId(7),
                    status,
                },
                finished(7, Outcome::Cached),
                started(9, "[2/2] RUN y"),
                output(9, "one\ntw"),
                output(9, "o\n10%\r20%"),
                finished(9, Outcome::Done),
            ],
            &[
                "#1 [1/2] FROM x",
                "#1 resolve x done",
                "#1 CACHED",
                "",
                "#2 [2/2] RUN y",
                "#2 T one",
                "#2 T two",
                "#2 T 20%",
                "#2 DONE 1.2s",
            ],
        );
    }

    #[test]
    fn one_step_has_the_word() {
        let error = "it broke".to_owned();
        check(
            &[
                started(1, "[a 2/2] RUN x"),
                started(2, "[b 2/2] RUN y"),
                output(1, "x1\n"),
                output(2, "y1\n"),
                output(1, "x2\n"),
                started(3, "[c 2/2] RUN z"),
                finished(3, Outcome::Cached),
                finished(1, Outcome::Done),
                output(2, "y2\n"),
                Event::Failed {
                    step: StepId(2),
                    error,
                },
                finished(2, Outcome::Failed),
            ],
            &[
                "#1 [a 2/2] RUN x",
                "#1 T x1",
                "#1 T x2",
                "#1 ...",
                "",
                "#3 [c 2/2] RUN z",
                "#3 CACHED",
                "",
                "#2 [b 2/2] RUN y",
                "#2 T y1",
                "#2 ...",
                "",
                "#1 [a 2/2] RUN x",
                "#1 DONE 1.2s",
                "",
                "#2 [b 2/2] RUN y",
                "#2 T y2",
                "#2 ERROR: it broke",
            ],
        );
    }
}

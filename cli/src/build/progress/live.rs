//! A live view on a terminal: steps side by side, their times, transfers, and what they say last.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use mica_builder::{Event, Outcome, Status, StepId};

use super::colors::StepColors;
use super::lines::{Lines, harmless};
use super::screen::{Row, Screen, Size, clipped, spread};
use crate::printer;

/// How many of a running step's last lines are shown at the most.
const TAIL_LINES: usize = 6;

/// How many parts of a running step are shown at the most.
const PARTS: usize = 5;

/// Drawing more often than this only costs time.
const SHORTEST: Duration = Duration::from_millis(50);

/// A live view.
pub(super) struct Live {
    screen: Screen,
    size: fn() -> Size,
    colors: StepColors,
    start: Instant,
    steps: Vec<LiveStep>,
    indices: BTreeMap<StepId, usize>,
    drawn: Option<Instant>,
}

struct LiveStep {
    name: String,
    start: Instant,
    end: Option<(Outcome, Duration)>,
    miss: Option<String>,
    parts: Vec<LivePart>,
    lines: Lines,
    tail: VecDeque<String>,
}

struct LivePart {
    status: Status,
    start: Instant,
    elapsed: Option<Duration>,
}

/// How much of the steps is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// What fits on the screen.
    Fitting,
    /// All, for the last time.
    All,
}

impl Live {
    pub(super) fn new(out: Box<dyn Write + Send>, size: fn() -> Size, colors: StepColors) -> Self {
        Self {
            screen: Screen::new(out, size()),
            size,
            colors,
            start: Instant::now(),
            steps: Vec::new(),
            indices: BTreeMap::new(),
            drawn: None,
        }
    }

    /// Shows an event, unless something was drawn a moment ago: then [`Live::tick`] does.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Event::Warning { text } = event {
            return self.line(&format!("WARNING: {text}"));
        }
        self.take(event);
        match self.drawn {
            Some(drawn) if drawn.elapsed() < SHORTEST => Ok(()),
            _ => self.tick(),
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Started { step, name } => {
                self.indices.insert(*step, self.steps.len());
                self.steps.push(LiveStep::new(name));
            }
            Event::Missed { step, miss } => {
                self.with(*step, |known| {
                    known.miss = Some(format!("not cached: {miss}"))
                });
            }
            Event::Status { step, status } => self.with(*step, |known| known.status(status)),
            Event::Output { step, bytes, .. } => self.with(*step, |known| known.output(bytes)),
            Event::Finished {
                step,
                outcome,
                elapsed,
            } => self.with(*step, |known| {
                known.end = Some((*outcome, *elapsed));
                known.tail.clear();
            }),
            _ => {}
        }
    }

    fn with(&mut self, step: StepId, change: impl FnOnce(&mut LiveStep)) {
        if let Some(index) = self.indices.get(&step) {
            change(&mut self.steps[*index]);
        }
    }

    /// Draws what has changed, clocks included.
    pub(super) fn tick(&mut self) -> io::Result<()> {
        let size = (self.size)();
        let rows = self.frame(size, Extent::Fitting);
        self.drawn = Some(Instant::now());
        self.screen.draw(rows, size)
    }

    /// Draws all steps for the last time.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let size = (self.size)();
        let rows = self.frame(size, Extent::All);
        self.screen.draw(rows, size)?;
        self.screen.release();
        Ok(())
    }

    /// Writes a line above the steps.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.screen.print_above(text, (self.size)())
    }

    fn frame(&self, size: Size, extent: Extent) -> Vec<Row> {
        // The last column stays free: some terminals wrap when it is written.
        let columns = size.columns.saturating_sub(1).max(20);
        let mut rows = vec![self.header(columns, extent)];
        let running = self.steps.iter().filter(|step| step.end.is_none()).count();
        let fixed: usize = self
            .steps
            .iter()
            .filter(|s| s.end.is_none())
            .map(LiveStep::height)
            .sum();
        let room = size.rows.saturating_sub(2);
        let tail = room.saturating_sub(fixed) / running.max(1);
        let tail = tail.min(TAIL_LINES);
        // Rows of steps that have ended give way first, the oldest ahead.
        let mut ended: VecDeque<Row> = VecDeque::new();
        let mut open: VecDeque<Row> = VecDeque::new();
        for step in &self.steps {
            let own = step.rows(columns, tail, &self.colors);
            match step.end {
                Some(_) if extent == Extent::Fitting => ended.extend(own),
                _ => open.extend(own),
            }
        }
        if extent == Extent::Fitting {
            let excess = (ended.len() + open.len()).saturating_sub(room);
            ended.drain(..excess.min(ended.len()));
            let excess = open.len().saturating_sub(room);
            open.drain(..excess);
        }
        rows.extend(ended);
        rows.extend(open);
        rows
    }

    fn header(&self, columns: usize, extent: Extent) -> Row {
        let ended = self.steps.iter().filter(|step| step.end.is_some()).count();
        let total = self.steps.len();
        let seconds = self.start.elapsed().as_secs_f64();
        let finished = match extent {
            Extent::All if ended == total => " FINISHED",
            _ => "",
        };
        let text = format!("[+] Building {seconds:.1}s ({ended}/{total}){finished}");
        Row {
            text: clipped(&text, columns),
            color: None,
        }
    }
}

impl LiveStep {
    fn new(name: &str) -> Self {
        Self {
            name: harmless(&name.split_whitespace().collect::<Vec<_>>().join(" ")),
            start: Instant::now(),
            end: None,
            miss: None,
            parts: Vec::new(),
            lines: Lines::default(),
            tail: VecDeque::new(),
        }
    }

    fn status(&mut self, status: &Status) {
        let known = self
            .parts
            .iter_mut()
            .find(|part| part.status.id == status.id);
        let part = match known {
            Some(part) => part,
            None => {
                self.parts.push(LivePart {
                    status: status.clone(),
                    start: Instant::now(),
                    elapsed: None,
                });
                self.parts.last_mut().expect("it was added")
            }
        };
        part.status.clone_from(status);
        if status.done && part.elapsed.is_none() {
            part.elapsed = Some(part.start.elapsed());
        }
    }

    fn output(&mut self, bytes: &[u8]) {
        for line in self.lines.push(bytes) {
            self.tail.push_back(harmless(&line));
        }
        let excess = self.tail.len().saturating_sub(TAIL_LINES);
        self.tail.drain(..excess);
    }

    /// How many rows it takes without what it says.
    fn height(&self) -> usize {
        1 + usize::from(self.miss.is_some()) + self.parts.len().min(PARTS)
    }

    fn rows(&self, columns: usize, tail: usize, colors: &StepColors) -> Vec<Row> {
        let (word, color, elapsed) = match &self.end {
            None => ("", &None, self.start.elapsed()),
            Some((Outcome::Cached, elapsed)) => ("CACHED ", &colors.run, *elapsed),
            Some((Outcome::Done, elapsed)) => ("", &colors.run, *elapsed),
            Some((Outcome::Failed, elapsed)) => ("ERROR ", &colors.error, *elapsed),
            Some((Outcome::Canceled, elapsed)) => ("CANCELED ", &colors.cancel, *elapsed),
        };
        let time = format!("{:.1}s", elapsed.as_secs_f64());
        let row = |text: String| Row {
            text,
            color: color.clone(),
        };
        let title = format!(" => {word}{}", self.name);
        let mut rows = vec![row(spread(&title, &time, columns))];
        if let Some(miss) = &self.miss {
            rows.push(row(clipped(&format!(" => => {}", harmless(miss)), columns)));
        }
        let hidden = self.parts.len().saturating_sub(PARTS);
        for part in &self.parts[hidden..] {
            rows.push(row(part.row(columns)));
        }
        if self.end.is_none() {
            let faint = |line: String| Row {
                text: clipped(&format!(" => => # {line}"), columns),
                color: colors.run.as_ref().map(|_| "2".to_owned()),
            };
            let unfinished = self.lines.unfinished().map(|line| harmless(&line));
            let lines: Vec<_> = self.tail.iter().cloned().chain(unfinished).collect();
            let hidden = lines.len().saturating_sub(tail);
            rows.extend(lines.into_iter().skip(hidden).map(faint));
        }
        rows
    }
}

impl LivePart {
    /// ` => => sha256:… 1.2MB / 3MB 5MB/s   0.3s`.
    fn row(&self, columns: usize) -> String {
        let elapsed = self.elapsed.unwrap_or_else(|| self.start.elapsed());
        let seconds = elapsed.as_secs_f64();
        let Status { current, total, .. } = self.status;
        let mut right = String::new();
        if total > 0 {
            right = format!("{} / {} ", printer::size(current), printer::size(total));
        } else if current > 0 {
            right = format!("{} ", printer::size(current));
        }
        if current > 0 && seconds > 0.1 {
            let rate = (current as f64 / seconds) as u64;
            right.push_str(&format!("{}/s ", printer::size(rate)));
        }
        let right = format!("{right}{seconds:.1}s");
        spread(
            &format!(" => => {}", harmless(&self.status.id)),
            &right,
            columns,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Live {
        let size = || Size {
            columns: 40,
            rows: 8,
        };
        Live::new(Box::new(io::sink()), size, StepColors::none())
    }

    fn texts(live: &Live, extent: Extent) -> Vec<String> {
        let rows = live.frame((live.size)(), extent);
        rows.into_iter().skip(1).map(|row| row.text).collect()
    }

    #[test]
    fn what_runs_stays_on_the_screen() {
        let mut live = live();
        for number in 1..=10 {
            let step = StepId(number);
            let name = format!("step {number}");
            live.take(&Event::Started { step, name });
            if number != 2 {
                live.take(&Event::Finished {
                    step,
                    outcome: Outcome::Done,
                    elapsed: Duration::ZERO,
                });
            }
        }
        live.take(&Event::Output {
            step: StepId(2),
            stream: mica_builder::Stream::Stdout,
            bytes: b"one\ntwo\n33%\r66%".to_vec(),
        });
        let shown = texts(&live, Extent::Fitting);
        assert_eq!(shown.len(), 6);
        assert_eq!(shown[0], format!(" => step 9{}0.0s", " ".repeat(25)));
        assert!(shown[2].starts_with(" => step 2 "), "{shown:?}");
        assert_eq!(shown[3..], [" => => # one", " => => # two", " => => # 66%"]);
        assert_eq!(texts(&live, Extent::All).len(), 13);
    }
}

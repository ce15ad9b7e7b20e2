//! What the commands about past builds need: which build is meant, and its log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use clap::Parser;
use mica_builder::{BuildRecord, BuildStep, Outcome, Sandbox, Subject};

use super::context::dockerfile_path;
use super::progress::{Lines, line_time};
use super::sandbox::sandbox;
use crate::commands::build::BuildArgs;
use crate::failure::{CliError, Failure};
use crate::printer::Printer;
use crate::session::Session;

/// Returns what stands for a Dockerfile and a context, as `mica build` is given them.
pub(crate) fn source(context: &str, file: Option<&str>) -> String {
    let directory = PathBuf::from(context);
    let directory = directory.canonicalize().unwrap_or(directory);
    let path = dockerfile_path(&directory, file);
    let name = path.strip_prefix(&directory).unwrap_or(&path);
    let subject = Subject {
        context: directory.display().to_string(),
        dockerfile: name.display().to_string(),
        ..Subject::default()
    };
    subject.source()
}

/// Returns the settings that the steps of a build without flags have.
pub(crate) fn shell_sandbox(network: &str, session: &Session) -> Result<Sandbox, Failure> {
    #[derive(Parser)]
    struct Build {
        #[command(flatten)]
        arguments: BuildArgs,
    }
    let words = ["build", "--network", network, "."];
    let build = Build::try_parse_from(words).map_err(|error| CliError::Arguments {
        message: error.to_string(),
    })?;
    sandbox(&build.arguments, session)
}

/// Where a piece of output is in a log.
struct Piece {
    /// Microseconds since the build began.
    time: u64,
    start: u64,
    length: u64,
}

/// Prints the steps of a build with what they said, as plain progress does.
pub(crate) fn print_log(
    record: &BuildRecord,
    log: Option<File>,
    printer: Printer,
) -> Result<(), Failure> {
    let mut log = log.map(BufReader::new);
    let pieces = match &mut log {
        Some(log) => pieces(log)?,
        None => BTreeMap::new(),
    };
    for (index, step) in record.steps.iter().enumerate() {
        let separator = if index == 0 { "" } else { "\n" };
        printer.data(format!("{separator}#{} {}\n", step.number, step.name))?;
        if let (Some(log), Some(pieces)) = (&mut log, pieces.get(&step.number)) {
            print_step(step, log, pieces, printer)?;
        }
        printer.data(format!("#{} {}\n", step.number, end(step)))?;
    }
    Ok(())
}

/// Finds the pieces of each step. A killed build may have left the last one unfinished.
fn pieces(log: &mut BufReader<File>) -> io::Result<BTreeMap<usize, Vec<Piece>>> {
    let mut pieces: BTreeMap<usize, Vec<Piece>> = BTreeMap::new();
    let mut header = String::new();
    loop {
        header.clear();
        log.read_line(&mut header)?;
        let fields: Vec<u64> = header
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        let [number, time, length] = fields[..] else {
            return Ok(pieces);
        };
        let start = log.stream_position()?;
        let number = usize::try_from(number).unwrap_or(0);
        pieces.entry(number).or_default().push(Piece {
            time,
            start,
            length,
        });
        log.seek_relative(i64::try_from(length).unwrap_or(i64::MAX))?;
    }
}

fn print_step(
    step: &BuildStep,
    log: &mut BufReader<File>,
    pieces: &[Piece],
    printer: Printer,
) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut last = 0;
    let print = |time: u64, line: &str| {
        let seconds = time.saturating_sub(step.time.start) as f64 / 1e6;
        printer.data(format!("#{} {} {line}\n", step.number, line_time(seconds)))
    };
    for piece in pieces {
        log.seek(SeekFrom::Start(piece.start))?;
        let mut bytes = Vec::new();
        log.by_ref().take(piece.length).read_to_end(&mut bytes)?;
        last = piece.time;
        for line in lines.push(&bytes) {
            print(last, &line)?;
        }
    }
    match lines.finish() {
        Some(line) => print(last, &line),
        None => Ok(()),
    }
}

fn end(step: &BuildStep) -> String {
    match step.outcome {
        Outcome::Cached => "CACHED".into(),
        Outcome::Done => format!("DONE {:.1}s", step.time.elapsed as f64 / 1e6),
        Outcome::Canceled => "CANCELED".into(),
        Outcome::Failed => format!("ERROR: {}", step.error.as_deref().unwrap_or("failed")),
    }
}

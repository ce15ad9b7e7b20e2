//! The container's log, in docker's json-file format: one JSON object a line.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use crate::LogStream;
use crate::logs::LogTime;

/// Docker splits lines that are longer.
const LINE: usize = 16 << 10;

/// The log of a running container.
pub(super) struct Log {
    file: File,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[derive(Serialize)]
struct Line<'a> {
    log: std::borrow::Cow<'a, str>,
    stream: LogStream,
    time: LogTime,
}

impl Log {
    /// Opens a container's log to append to it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self {
            file,
            stdout: Vec::new(),
            stderr: Vec::new(),
        })
    }

    /// Adds output; complete lines are written.
    pub(super) fn add(&mut self, stream: LogStream, bytes: &[u8]) -> io::Result<()> {
        let partial = match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        partial.extend_from_slice(bytes);
        let mut lines = Vec::new();
        let mut start = 0;
        let time = LogTime(Timestamp::now());
        while let Some(length) = line_length(&partial[start..]) {
            append(&mut lines, stream, &partial[start..start + length], time)?;
            start += length;
        }
        partial.drain(..start);
        self.file.write_all(&lines)
    }

    /// Writes what has no newline at its end.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let rests = [
            (LogStream::Stdout, std::mem::take(&mut self.stdout)),
            (LogStream::Stderr, std::mem::take(&mut self.stderr)),
        ];
        let mut lines = Vec::new();
        for (stream, rest) in rests.iter().filter(|(_, rest)| !rest.is_empty()) {
            append(&mut lines, *stream, rest, LogTime(Timestamp::now()))?;
        }
        self.file.write_all(&lines)
    }
}

/// Returns the length of the first line with its newline, or of a piece of one that is too long.
fn line_length(bytes: &[u8]) -> Option<usize> {
    let window = &bytes[..bytes.len().min(LINE)];
    match window.iter().position(|&byte| byte == b'\n') {
        Some(newline) => Some(newline + 1),
        None if bytes.len() >= LINE => Some(character_boundary(window)),
        None => None,
    }
}

/// Where to cut so that no character is split, if that is text at all.
fn character_boundary(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

fn append(lines: &mut Vec<u8>, stream: LogStream, bytes: &[u8], time: LogTime) -> io::Result<()> {
    let line = Line {
        log: String::from_utf8_lossy(bytes),
        stream,
        time,
    };
    serde_json::to_writer(&mut *lines, &line)?;
    lines.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut() {
        let check = |bytes: &[u8], expected| assert_eq!(line_length(bytes), expected);
        check(b"", None);
        check(b"abc", None);
        check(b"abc\nd", Some(4));
        check(&[b'x'; LINE], Some(LINE));
        let mut long = vec![b'x'; LINE - 1];
        long.extend_from_slice("é".as_bytes());
        check(&long, Some(LINE - 1));
        check(&[0xff; LINE + 5], Some(LINE));
    }
}

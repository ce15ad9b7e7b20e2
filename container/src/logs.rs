//! Reading a container's log.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::containers::Containers;
use crate::error::At;
use crate::{ContainerId, Error};

/// Which lines of a log are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Whether to go on until the container ends.
    pub follow: bool,
    /// Whether each line starts with its time.
    pub timestamps: bool,
    /// Only lines of this time or later.
    pub since: Option<Timestamp>,
    /// Only lines of this time or earlier.
    pub until: Option<Timestamp>,
    /// Only that many of the last lines.
    pub tail: Option<usize>,
}

/// Where a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// A time as docker's log has it: RFC 3339 with nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogTime(pub(crate) Timestamp);

impl Serialize for LogTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.9}", self.0))
    }
}

impl<'de> Deserialize<'de> for LogTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Timestamp::deserialize(deserializer).map(Self)
    }
}

/// One line of the log file.
#[derive(Deserialize)]
struct Line {
    log: String,
    stream: LogStream,
    time: LogTime,
}

/// Who gets the lines.
type Sink<'a> = &'a mut dyn FnMut(LogStream, &[u8]) -> io::Result<()>;

impl Containers {
    /// Hands the lines of a container's log to `sink`, each with its newline.
    ///
    /// # Errors
    /// [`Error::Io`], also for what `sink` returns.
    pub fn logs(
        &self,
        id: &ContainerId,
        options: &LogOptions,
        sink: Sink<'_>,
    ) -> Result<(), Error> {
        let path = self.log_path(id);
        // Connected and watched before anything is read, so that no line and no end is missed.
        let watch = if options.follow {
            Some(Watch::new(self, id, &path)?)
        } else {
            None
        };
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && watch.is_none() => {
                return Ok(());
            }
            opened => opened.at("open", &path)?,
        };
        if let Some(lines) = options.tail {
            seek_to_tail(&mut file, lines).at("read", &path)?;
        }
        let mut reader = Reader {
            file,
            rest: Vec::new(),
            options,
        };
        reader.read_available(sink).at("read", &path)?;
        let Some(mut watch) = watch else {
            return Ok(());
        };
        while watch.wait().at("watch", &path)? == Change::More {
            reader.read_available(sink).at("read", &path)?;
        }
        reader.read_available(sink).at("read", &path)
    }
}

/// The log as far as it was read.
struct Reader<'a> {
    file: File,
    rest: Vec<u8>,
    options: &'a LogOptions,
}

impl Reader<'_> {
    fn read_available(&mut self, sink: Sink<'_>) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = self.file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.rest.extend_from_slice(&buffer[..count]);
            self.take_lines(sink)?;
        }
    }

    fn take_lines(&mut self, sink: Sink<'_>) -> io::Result<()> {
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|&byte| byte == b'\n') {
            let line = &self.rest[start..start + length];
            start += length + 1;
            // A line that a crash cut short is no reason to withhold the others.
            if let Ok(line) = serde_json::from_slice::<Line>(line) {
                self.show(&line, sink)?;
            }
        }
        self.rest.drain(..start);
        Ok(())
    }

    fn show(&self, line: &Line, sink: Sink<'_>) -> io::Result<()> {
        let LogTime(time) = line.time;
        let early = self.options.since.is_some_and(|since| time < since);
        let late = self.options.until.is_some_and(|until| time > until);
        if early || late {
            return Ok(());
        }
        match self.options.timestamps {
            true => sink(line.stream, format!("{time:.9} {}", line.log).as_bytes()),
            false => sink(line.stream, line.log.as_bytes()),
        }
    }
}

/// Goes to where the last `lines` lines start, reading blocks from the end.
fn seek_to_tail(file: &mut File, lines: usize) -> io::Result<()> {
    const BLOCK: u64 = 64 << 10;
    let mut end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(());
    }
    let mut newlines = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        for (index, _) in block
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            newlines += 1;
            if newlines > lines {
                return file
                    .seek(SeekFrom::Start(start + index as u64 + 1))
                    .map(drop);
            }
        }
        end = start;
    }
    file.rewind()
}

/// What a [`Watch`] saw.
#[derive(PartialEq, Eq)]
enum Change {
    /// The log may have grown.
    More,
    /// The container has ended; nothing will be added.
    End,
}

/// Waits for a log to grow and for its container to end.
struct Watch {
    changes: OwnedFd,
    /// A connection to the monitor that ends with the container; none when it does not run.
    monitor: Option<UnixStream>,
}

impl Watch {
    fn new(containers: &Containers, id: &ContainerId, log: &Path) -> Result<Self, Error> {
        let monitor = crate::socket::connect(&containers.attach_socket(id))?;
        // A log that has no line yet must be there to be watched.
        File::options()
            .create(true)
            .append(true)
            .open(log)
            .at("open", log)?;
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let changes = inotify::init(flags).at("watch", log)?;
        inotify::add_watch(&changes, log, inotify::WatchFlags::MODIFY).at("watch", log)?;
        Ok(Self { changes, monitor })
    }

    fn wait(&mut self) -> io::Result<Change> {
        let Some(monitor) = &self.monitor else {
            return Ok(Change::End);
        };
        let mut waited = [
            PollFd::from_borrowed_fd(monitor.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.changes.as_fd(), PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut waited, None))?;
        // The connection says nothing before the exit code.
        if !waited[0].revents().is_empty() {
            return Ok(Change::End);
        }
        let mut events = [0; 4096];
        match rustix::io::read(&self.changes, &mut events) {
            Err(rustix::io::Errno::AGAIN) | Ok(_) => Ok(Change::More),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_starts_at_its_line() {
        let check = |content: &str, lines: usize, expected: &str| {
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, content.as_bytes()).unwrap();
            seek_to_tail(&mut file, lines).unwrap();
            let mut rest = String::new();
            file.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, expected, "{lines}");
        };
        check("a\nb\nc\n", 2, "b\nc\n");
        check("a\nb\nc\n", 3, "a\nb\nc\n");
        check("a\nb\nc\n", 9, "a\nb\nc\n");
        check("a\nb\nc\n", 0, "");
        check("", 5, "");
        let long = format!("first\n{}\n", "x".repeat(200_000));
        check(&long, 1, &long["first\n".len()..]);
    }
}

//! The client's side of a monitor's connection.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::str::FromStr;

use mica_isolation::WindowSize;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::containers::Containers;
use crate::error::At;
use crate::protocol::{self, CHUNK, Decoder, Event, Request};
use crate::{ContainerId, Error, OptionError, Streams, socket};

/// A connection to a running container's streams.
pub struct Attachment {
    containers: Containers,
    id: ContainerId,
    stream: UnixStream,
    decoder: Decoder,
    detach: (UnixStream, UnixStream),
}

/// Where the streams go on the client's side.
#[derive(Debug)]
pub struct AttachStdio {
    /// What is sent to the container's standard input.
    pub stdin: Option<OwnedFd>,
    /// Where its standard output goes, or all of its terminal's.
    pub stdout: OwnedFd,
    /// Where its standard error goes.
    pub stderr: OwnedFd,
}

impl AttachStdio {
    /// Takes the caller's own streams; standard input only if asked for.
    ///
    /// # Errors
    /// [`Error::Io`] when a stream is closed.
    pub fn inherit(streams: Streams) -> Result<Self, Error> {
        let own = |file: std::os::fd::BorrowedFd<'_>| {
            file.try_clone_to_owned()
                .at("duplicate", "a standard stream")
        };
        Ok(Self {
            stdin: streams
                .stdin
                .then(|| own(rustix::stdio::stdin()))
                .transpose()?,
            stdout: own(rustix::stdio::stdout())?,
            stderr: own(rustix::stdio::stderr())?,
        })
    }
}

/// How an attachment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachEnd {
    /// The container, or the command, ended with this code.
    Exited(u8),
    /// The client left; the container goes on.
    Detached,
}

/// The keys that end an attachment and leave the container running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    /// Docker's: `ctrl-p,ctrl-q`.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl FromStr for DetachKeys {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || OptionError::DetachKeys {
            text: text.to_owned(),
        };
        let key = |name: &str| match (name.strip_prefix("ctrl-"), name.as_bytes()) {
            (Some(control), _) => match control.as_bytes() {
                [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
                [symbol @ (b'@' | b'['..=b'_')] => Some(symbol - b'@'),
                _ => None,
            },
            (None, &[byte]) => Some(byte),
            _ => None,
        };
        text.split(',')
            .map(key)
            .collect::<Option<Vec<_>>>()
            .map(Self)
            .ok_or_else(error)
    }
}

/// Looks for the detach keys in what is typed, however it is cut.
pub(crate) struct KeyFilter {
    keys: Vec<u8>,
    seen: usize,
}

/// What passed a [`KeyFilter`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_detach: bool,
}

impl KeyFilter {
    pub(crate) fn new(keys: Option<DetachKeys>) -> Self {
        Self {
            keys: keys.map(|DetachKeys(keys)| keys).unwrap_or_default(),
            seen: 0,
        }
    }

    /// Lets bytes pass; the beginning of the keys is held back until it is known what it is.
    pub(crate) fn pass(&mut self, typed: &[u8]) -> Typed {
        let mut bytes = Vec::with_capacity(typed.len());
        for &byte in typed {
            if self.keys.get(self.seen) != Some(&byte) {
                bytes.extend_from_slice(&self.keys[..self.seen]);
                self.seen = 0;
            }
            match self.keys.get(self.seen) == Some(&byte) {
                true => self.seen += 1,
                false => bytes.push(byte),
            }
            if self.seen > 0 && self.seen == self.keys.len() {
                return Typed {
                    bytes,
                    is_detach: true,
                };
            }
        }
        Typed {
            bytes,
            is_detach: false,
        }
    }
}

/// Controls a running container beside an [`Attachment`], from any thread.
#[derive(Clone)]
pub struct Controller {
    containers: Containers,
    id: ContainerId,
    detach: std::sync::Arc<UnixStream>,
}

impl Controller {
    /// Tells the container's terminal the size of the client's.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn resize(&self, size: WindowSize) -> Result<(), Error> {
        self.containers.request(&self.id, &Request::Resize(size))
    }

    /// Sends a signal to the container's first process.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        self.containers.kill(&self.id, signal)
    }

    /// Ends the attachment; the container goes on.
    pub fn detach(&self) {
        // An attachment that has ended already has closed its side.
        let _ = self.detach.as_ref().write_all(&[0]);
    }
}

impl Containers {
    /// Connects to the streams of a running container.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Paused`].
    pub fn attach(&self, id: &ContainerId, streams: Streams) -> Result<Attachment, Error> {
        if self.state(id)?.status == crate::Status::Paused {
            return Err(Error::Paused {
                action: "attach to",
            });
        }
        let lost = |_| Error::MonitorLost { id: id.to_string() };
        let mut stream = self.connect(id)?;
        let mut decoder = Decoder::default();
        protocol::send(&mut stream, &Request::Attach(streams)).map_err(lost)?;
        match protocol::receive(&mut stream, &mut decoder).map_err(lost)? {
            Some(Event::Attached) => Attachment::new(self, id, stream, decoder),
            _ => Err(Error::MonitorLost { id: id.to_string() }),
        }
    }

    /// Connects to a container's monitor.
    pub(crate) fn connect(&self, id: &ContainerId) -> Result<UnixStream, Error> {
        let stream = socket::connect(&self.attach_socket(id))?;
        stream.ok_or_else(|| Error::NotRunning { id: id.to_string() })
    }
}

impl Attachment {
    pub(crate) fn new(
        containers: &Containers,
        id: &ContainerId,
        stream: UnixStream,
        decoder: Decoder,
    ) -> Result<Self, Error> {
        let detach = UnixStream::pair().at("create", "a socket pair")?;
        Ok(Self {
            containers: containers.clone(),
            id: id.clone(),
            stream,
            decoder,
            detach,
        })
    }

    /// Returns a way to control the container while [`Attachment::run`] is busy.
    ///
    /// # Errors
    /// [`Error::Io`] when there are no descriptors left.
    pub fn controller(&self) -> Result<Controller, Error> {
        let detach = self.detach.1.try_clone().at("duplicate", "a socket")?;
        Ok(Controller {
            containers: self.containers.clone(),
            id: self.id.clone(),
            detach: detach.into(),
        })
    }

    /// Moves the streams until the container ends or the client leaves.
    ///
    /// # Errors
    /// [`Error::MonitorLost`]; [`Error::Io`] when an output cannot be written.
    pub fn run(self, stdio: AttachStdio, keys: Option<DetachKeys>) -> Result<AttachEnd, Error> {
        let path = self.containers.attach_socket(&self.id);
        self.stream.set_nonblocking(true).at("set up", &path)?;
        let mut pump = Pump {
            attachment: self,
            stdio,
            keys: KeyFilter::new(keys),
            outgoing: Vec::new(),
        };
        // What came together with the monitor's first answer is in no socket any more.
        let mut end = pump.take_events()?;
        while end.is_none() {
            end = pump.turn()?;
        }
        Ok(end.unwrap_or(AttachEnd::Detached))
    }
}

/// An attachment at work.
struct Pump {
    attachment: Attachment,
    stdio: AttachStdio,
    keys: KeyFilter,
    outgoing: Vec<u8>,
}

impl Pump {
    fn turn(&mut self) -> Result<Option<AttachEnd>, Error> {
        let [stream, detach, stdin] = self.wait().at("wait for", "the container's streams")?;
        if !detach.is_empty() {
            return Ok(Some(AttachEnd::Detached));
        }
        if stream.contains(PollFlags::OUT) {
            self.flush();
        }
        if stream.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            && let Some(end) = self.receive()?
        {
            return Ok(Some(end));
        }
        match !stdin.is_empty() && self.type_in() {
            true => Ok(Some(AttachEnd::Detached)),
            false => Ok(None),
        }
    }

    /// Waits; input is not read while some of it waits to be sent.
    fn wait(&self) -> io::Result<[PollFlags; 3]> {
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, !self.outgoing.is_empty());
        let mut waited = vec![
            PollFd::from_borrowed_fd(self.attachment.stream.as_fd(), flags),
            PollFd::from_borrowed_fd(self.attachment.detach.0.as_fd(), PollFlags::IN),
        ];
        if let Some(stdin) = self
            .stdio
            .stdin
            .as_ref()
            .filter(|_| self.outgoing.is_empty())
        {
            waited.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut waited, None))?;
        let events = |index: usize| {
            waited
                .get(index)
                .map_or(PollFlags::empty(), PollFd::revents)
        };
        Ok([events(0), events(1), events(2)])
    }

    fn flush(&mut self) {
        match self.attachment.stream.write(&self.outgoing) {
            Ok(count) => drop(self.outgoing.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The monitor ends; what it said before is still to be read.
            Err(_) => {
                self.outgoing.clear();
                self.stdio.stdin = None;
            }
        }
    }

    /// Reads what was typed and sends it; `true` for the detach keys.
    fn type_in(&mut self) -> bool {
        let Some(stdin) = &self.stdio.stdin else {
            return false;
        };
        let mut buffer = [0; CHUNK];
        let typed = match rustix::io::read(stdin, &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => return false,
            Ok(count) if count > 0 => self.keys.pass(&buffer[..count]),
            _ => {
                self.stdio.stdin = None;
                self.outgoing.extend(protocol::encode(&Request::CloseStdin));
                self.flush();
                return false;
            }
        };
        if !typed.bytes.is_empty() {
            self.outgoing
                .extend(protocol::encode(&Request::Stdin(typed.bytes)));
            self.flush();
        }
        typed.is_detach
    }

    fn receive(&mut self) -> Result<Option<AttachEnd>, Error> {
        let mut buffer = [0; CHUNK];
        match self.attachment.stream.read(&mut buffer) {
            Ok(0) => return Err(self.lost()),
            Ok(count) => self.attachment.decoder.push(&buffer[..count]),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return Ok(None),
                _ => return Err(self.lost()),
            },
        }
        self.take_events()
    }

    fn take_events(&mut self) -> Result<Option<AttachEnd>, Error> {
        loop {
            let Some(event) = self.attachment.decoder.next().map_err(|_| self.lost())? else {
                return Ok(None);
            };
            match event {
                Event::Stdout(bytes) => write_all(&self.stdio.stdout, &bytes)?,
                Event::Stderr(bytes) => write_all(&self.stdio.stderr, &bytes)?,
                Event::Exited(code) => return Ok(Some(AttachEnd::Exited(code))),
                _ => {}
            }
        }
    }

    fn lost(&self) -> Error {
        Error::MonitorLost {
            id: self.attachment.id.to_string(),
        }
    }
}

/// Writes all, also to a terminal that somebody made non-blocking.
pub(crate) fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut waited = [PollFd::new(file, PollFlags::OUT)];
                let waited = rustix::io::retry_on_intr(|| rustix::event::poll(&mut waited, None));
                waited.at("write to", "standard output")?;
            }
            Err(error) => return Err(error).at("write to", "standard output"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_read() {
        let check = |text: &str, expected: Option<&[u8]>| {
            let read = text.parse::<DetachKeys>().ok().map(|DetachKeys(keys)| keys);
            assert_eq!(read.as_deref(), expected, "{text}");
        };
        check("ctrl-p,ctrl-q", Some(&[0x10, 0x11]));
        check("ctrl-a,x", Some(&[1, b'x']));
        check("ctrl-@", Some(&[0]));
        check("ctrl-]", Some(&[0x1d]));
        check("ctrl-pp", None);
        check("", None);
    }

    #[test]
    fn detach_keys_are_found_however_they_are_cut() {
        let check = |pieces: &[&[u8]], passed: &[u8], detached: bool| {
            let mut filter = KeyFilter::new(Some(DetachKeys::default()));
            let mut bytes = Vec::new();
            let mut is_detach = false;
            for piece in pieces {
                let typed = filter.pass(piece);
                bytes.extend(typed.bytes);
                is_detach |= typed.is_detach;
            }
            assert_eq!(
                (bytes.as_slice(), is_detach),
                (passed, detached),
                "{pieces:?}"
            );
        };
        check(&[b"abc"], b"abc", false);
        check(&[b"a\x10\x11b"], b"a", true);
        check(&[b"a\x10", b"\x11"], b"a", true);
        check(&[b"\x10", b"x"], b"\x10x", false);
        check(&[b"\x10\x10\x11"], b"\x10", true);
        let typed = KeyFilter::new(None).pass(b"\x10\x11");
        assert_eq!(
            typed,
            Typed {
                bytes: b"\x10\x11".to_vec(),
                is_detach: false
            }
        );
    }
}

//! One client of a monitor: a connection that never blocks the container for long.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use crate::protocol::{self, Decoder, Event, Request};
use crate::{LogStream, Streams};

/// How much may wait for a client before the container's output is not read any further.
const BACKLOG: usize = 1 << 20;

/// A connection to a client.
pub(super) struct Client {
    pub(super) stream: UnixStream,
    pub(super) streams: Streams,
    decoder: Decoder,
    outgoing: Vec<u8>,
    sent: usize,
    is_gone: bool,
}

impl Client {
    pub(super) fn new(stream: UnixStream, decoder: Decoder, streams: Streams) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            streams,
            decoder,
            outgoing: Vec::new(),
            sent: 0,
            is_gone: false,
        })
    }

    /// Queues a message and sends what the connection takes.
    pub(super) fn tell(&mut self, event: &Event) {
        self.outgoing.extend_from_slice(&protocol::encode(event));
        self.flush();
    }

    /// Queues output, if the client wants it.
    pub(super) fn show(&mut self, stream: LogStream, bytes: &[u8]) {
        match stream {
            LogStream::Stdout if self.streams.stdout => self.tell(&Event::Stdout(bytes.to_vec())),
            LogStream::Stderr if self.streams.stderr => self.tell(&Event::Stderr(bytes.to_vec())),
            _ => {}
        }
    }

    /// Sends what the connection takes.
    pub(super) fn flush(&mut self) {
        while self.has_outgoing() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.is_gone = true,
            }
        }
        self.outgoing.clear();
        self.sent = 0;
    }

    /// Takes what has arrived; the messages that are complete are returned.
    pub(super) fn receive(&mut self) -> Vec<Request> {
        let mut buffer = [0; protocol::CHUNK];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.is_gone = true,
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(error) => {
                use io::ErrorKind::{Interrupted, WouldBlock};
                self.is_gone |= !matches!(error.kind(), WouldBlock | Interrupted);
            }
        }
        self.requests()
    }

    /// Takes the messages that are complete.
    pub(super) fn requests(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        loop {
            match self.decoder.next() {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => return requests,
                // Not one of ours, or of another version.
                Err(_) => {
                    self.is_gone = true;
                    return requests;
                }
            }
        }
    }

    pub(super) fn has_outgoing(&self) -> bool {
        !self.is_gone && self.sent < self.outgoing.len()
    }

    pub(super) fn is_full(&self) -> bool {
        !self.is_gone && self.outgoing.len() - self.sent > BACKLOG
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Sends the exit code after all that waits, and waits until all is sent.
    pub(super) fn finish(mut self, code: u8) {
        self.outgoing
            .extend_from_slice(&protocol::encode(&Event::Exited(code)));
        // A client that is gone has no use for it.
        let _ = self.stream.set_nonblocking(false);
        let _ = self.stream.write_all(&self.outgoing[self.sent..]);
    }
}

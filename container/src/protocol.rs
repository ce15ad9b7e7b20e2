//! What a monitor and its clients say to each other over `attach.sock`.
//!
//! ```text
//! frame: kind (1 byte) | length (4 bytes, little-endian) | payload
//! ```
//!
//! Each connection starts with [`Request::Attach`] when the client wants streams. Every
//! connection is told [`Event::Exited`] last, when all output was sent. The connection that a
//! monitor inherits from the process that started it is told [`Event::Started`] or
//! [`Event::Failed`] before anything else.

use std::io::{self, Read, Write};

use mica_isolation::WindowSize;

/// The standard streams that a client wants to be connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Whether it sends standard input.
    pub stdin: bool,
    /// Whether it receives standard output.
    pub stdout: bool,
    /// Whether it receives standard error.
    pub stderr: bool,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Connect these streams.
    Attach(Streams),
    /// Bytes for standard input.
    Stdin(Vec<u8>),
    /// Standard input has ended.
    CloseStdin,
    /// The terminal has another size. Answered.
    Resize(WindowSize),
    /// Send a signal to the first process. Answered.
    Signal(i32),
    /// Freeze all processes. Answered.
    Pause,
    /// Let them run again. Answered.
    Unpause,
}

/// What a monitor tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The command runs.
    Started,
    /// It could not be started: docker's exit code and why.
    Failed { code: u8, message: String },
    /// The streams are connected.
    Attached,
    /// Bytes of standard output, or of the terminal.
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// What was asked for is done.
    Done,
    /// It is not, and why.
    Refused(String),
    /// The container has ended with this code.
    Exited(u8),
}

/// A message as one frame.
pub(crate) trait Message: Sized {
    /// Returns the frame's kind and payload.
    fn parts(&self) -> (u8, Vec<u8>);
    /// Understands a frame; `None` for what this version does not know.
    fn from_parts(kind: u8, payload: &[u8]) -> Option<Self>;
}

impl Message for Request {
    fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Attach(streams) => {
                let bits = [streams.stdin, streams.stdout, streams.stderr];
                (1, bits.map(u8::from).to_vec())
            }
            Self::Stdin(bytes) => (2, bytes.clone()),
            Self::CloseStdin => (3, Vec::new()),
            Self::Resize(size) => (
                4,
                [size.rows.to_le_bytes(), size.columns.to_le_bytes()].concat(),
            ),
            Self::Signal(signal) => (5, signal.to_le_bytes().to_vec()),
            Self::Pause => (6, Vec::new()),
            Self::Unpause => (7, Vec::new()),
        }
    }

    fn from_parts(kind: u8, payload: &[u8]) -> Option<Self> {
        Some(match (kind, payload) {
            (1, &[stdin, stdout, stderr]) => Self::Attach(Streams {
                stdin: stdin != 0,
                stdout: stdout != 0,
                stderr: stderr != 0,
            }),
            (2, bytes) => Self::Stdin(bytes.to_vec()),
            (3, []) => Self::CloseStdin,
            (4, &[r0, r1, c0, c1]) => Self::Resize(WindowSize {
                rows: u16::from_le_bytes([r0, r1]),
                columns: u16::from_le_bytes([c0, c1]),
            }),
            (5, bytes) => Self::Signal(i32::from_le_bytes(bytes.try_into().ok()?)),
            (6, []) => Self::Pause,
            (7, []) => Self::Unpause,
            _ => return None,
        })
    }
}

impl Message for Event {
    fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Started => (1, Vec::new()),
            Self::Failed { code, message } => (2, [&[*code], message.as_bytes()].concat()),
            Self::Attached => (3, Vec::new()),
            Self::Stdout(bytes) => (4, bytes.clone()),
            Self::Stderr(bytes) => (5, bytes.clone()),
            Self::Done => (6, Vec::new()),
            Self::Refused(message) => (7, message.clone().into_bytes()),
            Self::Exited(code) => (8, vec![*code]),
        }
    }

    fn from_parts(kind: u8, payload: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(match (kind, payload) {
            (1, []) => Self::Started,
            (2, [code, message @ ..]) => Self::Failed {
                code: *code,
                message: text(message),
            },
            (3, []) => Self::Attached,
            (4, bytes) => Self::Stdout(bytes.to_vec()),
            (5, bytes) => Self::Stderr(bytes.to_vec()),
            (6, []) => Self::Done,
            (7, message) => Self::Refused(text(message)),
            (8, [code]) => Self::Exited(*code),
            _ => return None,
        })
    }
}

const HEADER: usize = 5;
/// No message is longer: streams are sent in pieces of at most [`CHUNK`].
const LIMIT: usize = 1 << 20;
/// How much of a stream is sent at once.
pub(crate) const CHUNK: usize = 64 << 10;

/// Encodes a message.
pub(crate) fn encode(message: &impl Message) -> Vec<u8> {
    let (kind, payload) = message.parts();
    let length = u32::try_from(payload.len()).expect("messages are shorter than LIMIT");
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.push(kind);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&payload);
    frame
}

/// Bytes that arrived and are not understood yet.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Adds bytes that arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next message that is complete.
    pub(crate) fn next<M: Message>(&mut self) -> io::Result<Option<M>> {
        let Some(header) = self.bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [kind, length @ ..] = *header;
        let length = u32::from_le_bytes(length) as usize;
        if length > LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Some(payload) = self.bytes.get(HEADER..HEADER + length) else {
            return Ok(None);
        };
        let message = M::from_parts(kind, payload).ok_or(io::ErrorKind::InvalidData)?;
        self.bytes.drain(..HEADER + length);
        Ok(Some(message))
    }
}

/// Reads until a message is complete; `None` at the end of the connection.
pub(crate) fn receive<M: Message>(
    stream: &mut impl Read,
    decoder: &mut Decoder,
) -> io::Result<Option<M>> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(message) = decoder.next()? {
            return Ok(Some(message));
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => decoder.push(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Sends one message.
pub(crate) fn send(stream: &mut impl Write, message: &impl Message) -> io::Result<()> {
    stream.write_all(&encode(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<M: Message + PartialEq + std::fmt::Debug>(messages: &[M]) {
        let all: Vec<u8> = messages.iter().flat_map(encode).collect();
        let mut decoder = Decoder::default();
        let mut read = Vec::new();
        for byte in all {
            decoder.push(&[byte]);
            read.extend(decoder.next::<M>().unwrap());
        }
        assert_eq!(read, messages);
    }

    #[test]
    fn messages_survive_the_wire_byte_by_byte() {
        check(&[
            Request::Attach(Streams {
                stdin: true,
                stdout: false,
                stderr: true,
            }),
            Request::Stdin(b"hello".to_vec()),
            Request::CloseStdin,
            Request::Resize(WindowSize {
                rows: 24,
                columns: 300,
            }),
            Request::Signal(15),
            Request::Pause,
            Request::Unpause,
        ]);
        check(&[
            Event::Started,
            Event::Failed {
                code: 127,
                message: "no such file".to_owned(),
            },
            Event::Attached,
            Event::Stdout(vec![0; 70_000]),
            Event::Stderr(Vec::new()),
            Event::Done,
            Event::Refused("no".to_owned()),
            Event::Exited(3),
        ]);
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [
            &[99, 0, 0, 0, 0][..],
            &[1, 255, 255, 255, 255],
            &[5, 1, 0, 0, 0, 9],
        ] {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert!(decoder.next::<Request>().is_err(), "{bytes:?}");
        }
    }
}

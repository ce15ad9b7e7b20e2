//! Netlink: building requests, sending them, reading the answers (netlink(7)).

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Room for one datagram of answers: the kernel fills at most 32 KiB (`NLMSG_GOODSIZE`).
const ANSWER_SIZE: usize = 32 * 1024;

const HEADER_SIZE: usize = 16;
const ATTRIBUTE_HEADER_SIZE: usize = 4;

/// A netlink socket of one family.
pub(crate) struct Socket(OwnedFd);

/// A request under construction: header, the family's own header, attributes.
pub(crate) struct Request(Vec<u8>);

/// One message of an answer, without its header.
pub(crate) struct Answer {
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Starts a request, with the header that its family puts before attributes.
    pub(crate) fn new(kind: u16, flags: i32, family_header: &[u8]) -> Self {
        let mut buffer = vec![0; HEADER_SIZE];
        buffer[4..6].copy_from_slice(&kind.to_ne_bytes());
        buffer[6..8].copy_from_slice(&(flags as u16 | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        buffer.extend(family_header);
        Self(buffer).padded()
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (ATTRIBUTE_HEADER_SIZE + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.padded()
    }

    /// Adds a string attribute, which ends in NUL.
    pub(crate) fn with_string(self, kind: u16, value: &str) -> Self {
        self.with(kind, &[value.as_bytes(), b"\0"].concat())
    }

    /// Adds an attribute that holds attributes.
    pub(crate) fn nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self = fill(self.with(kind | libc::NLA_F_NESTED as u16, &[]));
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Adds raw bytes, such as a header inside an attribute.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.padded()
    }

    fn padded(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

impl Socket {
    /// Opens a socket of a netlink protocol; none is `NETLINK_ROUTE`.
    pub(crate) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let kind = SocketType::RAW;
        Ok(Self(socket_with(
            AddressFamily::NETLINK,
            kind,
            flags,
            protocol,
        )?))
    }

    /// Sends a request and waits until the kernel has carried it out.
    pub(crate) fn request(&self, request: Request) -> io::Result<()> {
        self.batch(vec![with_flags(request, libc::NLM_F_ACK)])
    }

    /// Sends requests in one datagram. Of each that asks for one (`NLM_F_ACK`) the answer is
    /// awaited; the first failure is returned.
    pub(crate) fn batch(&self, requests: Vec<Request>) -> io::Result<()> {
        let acknowledged = |request: &&Request| flags_of(request) & libc::NLM_F_ACK as u16 != 0;
        let mut awaited = requests.iter().filter(acknowledged).count();
        let numbered = requests.into_iter().zip(1_u32..);
        let datagram: Vec<u8> = numbered
            .flat_map(|(request, number)| request.finish(number))
            .collect();
        send(&self.0, &datagram, SendFlags::empty())?;
        while awaited > 0 {
            for answer in self.receive()? {
                if i32::from(answer.kind) == libc::NLMSG_ERROR {
                    check(&answer)?;
                    awaited = awaited.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Sends a request for a list and returns its messages.
    pub(crate) fn dump(&self, request: Request) -> io::Result<Vec<Answer>> {
        let request = with_flags(request, libc::NLM_F_DUMP);
        send(&self.0, &request.finish(1), SendFlags::empty())?;
        let mut all = Vec::new();
        loop {
            for answer in self.receive()? {
                match i32::from(answer.kind) {
                    libc::NLMSG_DONE => return Ok(all),
                    libc::NLMSG_ERROR => check(&answer)?,
                    _ => all.push(answer),
                }
            }
        }
    }

    fn receive(&self) -> io::Result<Vec<Answer>> {
        let mut buffer = vec![0; ANSWER_SIZE];
        let (count, _) =
            rustix::io::retry_on_intr(|| recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty()))?;
        Ok(split(&buffer[..count]))
    }
}

fn flags_of(request: &Request) -> u16 {
    u16::from_ne_bytes([request.0[6], request.0[7]])
}

fn with_flags(mut request: Request, flags: i32) -> Request {
    let flags = flags_of(&request) | flags as u16;
    request.0[6..8].copy_from_slice(&flags.to_ne_bytes());
    request
}

/// An error message holds a negative error number, or 0 for success.
fn check(answer: &Answer) -> io::Result<()> {
    match word(&answer.body, 0) as i32 {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(-number)),
    }
}

fn split(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while bytes.len() >= HEADER_SIZE {
        let length = (word(bytes, 0) as usize).clamp(HEADER_SIZE, bytes.len());
        let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
        answers.push(Answer {
            kind,
            body: bytes[HEADER_SIZE..length].to_vec(),
        });
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    answers
}

/// Returns the value of the first attribute of a kind after a family's header.
pub(crate) fn attribute(body: &[u8], header_size: usize, kind: u16) -> Option<&[u8]> {
    let mut rest = body.get(header_size..)?;
    while rest.len() >= ATTRIBUTE_HEADER_SIZE {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let found = u16::from_ne_bytes([rest[2], rest[3]]);
        let value = rest.get(ATTRIBUTE_HEADER_SIZE..length)?;
        if found & !(libc::NLA_F_NESTED as u16) == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// The 32-bit word at an offset, in the host's byte order.
pub(crate) fn word(bytes: &[u8], offset: usize) -> u32 {
    let four = bytes
        .get(offset..offset + 4)
        .and_then(|four| four.try_into().ok());
    u32::from_ne_bytes(four.unwrap_or_default())
}

//! A proxy before a registry that has bad days: it cuts, refuses, lies and corrupts, and counts
//! what passed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// The connection ends after this many bytes of the request's body.
    CutRequest(u64),
    /// The connection ends after this many bytes of the answer's body.
    CutAnswer(u64),
    /// The answer has this status, and the registry is not asked.
    Status(u16),
    /// One byte of the answer's body, at this place, is another.
    Corrupt(u64),
    /// The answer is announced shorter than it is.
    LieAboutLength,
    /// The answer is announced as another part of the content than was asked for.
    LieAboutRange,
    /// The answer is announced with another digest.
    LieAboutDigest,
    /// So many bytes of the answer's body come twice, and its last ones do not come.
    Repeat(u64),
    /// The answer waits so many milliseconds.
    Delay(u64),
    /// The answer's body comes with so many bytes a second.
    Throttle(u64),
}

/// Decides about requests: called with a method and a path.
type Script = dyn Fn(&str, &str) -> Option<NetworkFault> + Send + Sync;

/// A running proxy; ends when dropped.
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    own: String,
    script: Box<Script>,
    ended: AtomicBool,
    /// Bytes of bodies that reached the registry.
    sent: AtomicU64,
    /// Bytes of blobs that left the registry, by path.
    blobs: Mutex<HashMap<String, u64>>,
    faults: AtomicU64,
}

impl Proxy {
    /// Starts a proxy before a registry, `HOST:PORT`.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start(
        target: &str,
        script: impl Fn(&str, &str) -> Option<NetworkFault> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it listens").to_string();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            own: address.clone(),
            script: Box::new(script),
            ended: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            blobs: Mutex::default(),
            faults: AtomicU64::new(0),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::Relaxed) {
                    return;
                }
                let shared = accepting.clone();
                // A connection that breaks is what this is for.
                std::thread::spawn(move || drop(connection(stream, &shared)));
            }
        });
        Self { address, shared }
    }

    /// Returns how many bytes of requests' bodies passed.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of blobs passed to clients, by path.
    ///
    /// # Panics
    /// Never: nothing panics while the counts are locked.
    pub fn blobs(&self) -> HashMap<String, u64> {
        let blobs = self.shared.blobs.lock();
        blobs.expect("no panic under this lock").clone()
    }

    /// Returns how often something went wrong.
    pub fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::Relaxed)
    }

    /// Begins to count anew.
    ///
    /// # Panics
    /// Never: nothing panics while the counts are locked.
    pub fn reset(&self) {
        self.shared.sent.store(0, Ordering::Relaxed);
        let blobs = self.shared.blobs.lock();
        blobs.expect("no panic under this lock").clear();
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({} -> {})", self.address, self.shared.target)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(&self.address);
    }
}

/// The first line and the headers of a message.
struct Head {
    lines: Vec<String>,
    length: Option<u64>,
    is_chunked: bool,
}

fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<Head>> {
    let (mut lines, mut length, mut is_chunked) = (Vec::new(), None, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok();
        }
        is_chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
        lines.push(line);
    }
    Ok(Some(Head {
        lines,
        length,
        is_chunked,
    }))
}

fn connection(client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut from_client = BufReader::new(client.try_clone()?);
    let server = TcpStream::connect(&shared.target)?;
    let mut from_server = BufReader::new(server.try_clone()?);
    let ended = exchange_all(&mut from_client, &mut from_server, shared);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    ended
}

fn exchange_all(
    client: &mut BufReader<TcpStream>,
    server: &mut BufReader<TcpStream>,
    shared: &Shared,
) -> std::io::Result<()> {
    while let Some(request) = read_head(client)? {
        let first = request.lines.first().cloned().unwrap_or_default();
        let mut words = first.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        let fault = (shared.script)(&method, &path);
        shared
            .faults
            .fetch_add(u64::from(fault.is_some()), Ordering::Relaxed);
        let length = request.length.unwrap_or(0);
        if let Some(NetworkFault::Status(status)) = fault {
            // Closed with bytes unread, the connection would be reset and the answer lost.
            copy(client, &mut std::io::sink(), length, None)?;
            return refuse(client.get_mut(), status);
        }
        let head = request
            .lines
            .iter()
            .map(|line| line.replace(&shared.own, &shared.target));
        write_head(server.get_mut(), head)?;
        let cut = match fault {
            Some(NetworkFault::CutRequest(bytes)) => bytes,
            _ => u64::MAX,
        };
        let passed = copy(client, server.get_mut(), length.min(cut), None)?;
        shared.sent.fetch_add(passed, Ordering::Relaxed);
        if passed < length {
            return Ok(());
        }
        if !answer(client, server, shared, &method, &path, fault)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Passes an answer on; `false` when the connection ends with it.
fn answer(
    client: &mut BufReader<TcpStream>,
    server: &mut BufReader<TcpStream>,
    shared: &Shared,
    method: &str,
    path: &str,
    fault: Option<NetworkFault>,
) -> std::io::Result<bool> {
    let Some(answer) = read_head(server)? else {
        return Ok(false);
    };
    if let Some(NetworkFault::Delay(milliseconds)) = fault {
        pause(Duration::from_millis(milliseconds));
    }
    let length = answer.length.unwrap_or(0);
    let is_lie = fault == Some(NetworkFault::LieAboutLength) && length > 1;
    // One address in the place of another: locations must lead through the proxy.
    let head = answer.lines.iter().map(|line| {
        lie(line, fault, length).unwrap_or_else(|| line.replace(&shared.target, &shared.own))
    });
    write_head(client.get_mut(), head)?;
    if method == "HEAD" || is_lie {
        return Ok(!is_lie);
    }
    if answer.is_chunked {
        // The registry's own small answers; they are passed on to the connection's end.
        std::io::copy(server, client.get_mut())?;
        return Ok(false);
    }
    let passed = pass_body(server, client.get_mut(), length, fault)?;
    if path.contains("/blobs/sha256:") {
        let mut blobs = shared.blobs.lock().expect("no panic under this lock");
        *blobs.entry(path.to_owned()).or_default() += passed;
    }
    Ok(passed >= length)
}

/// Returns what a header says in place of the truth.
fn lie(line: &str, fault: Option<NetworkFault>, length: u64) -> Option<String> {
    let (name, value) = line.split_once(": ")?;
    match (fault?, name.to_ascii_lowercase().as_str()) {
        (NetworkFault::LieAboutLength, "content-length") => Some(format!("{name}: {}", length / 2)),
        (NetworkFault::LieAboutRange, "content-range") => {
            let total = value.rsplit('/').next()?;
            Some(format!(
                "{name}: bytes 0-{}/{total}",
                length.saturating_sub(1)
            ))
        }
        (NetworkFault::LieAboutDigest, "docker-content-digest") => {
            Some(format!("{name}: sha256:{}", "0".repeat(64)))
        }
        _ => None,
    }
}

/// Passes a body of so many bytes on, with what goes wrong with it.
fn pass_body(
    server: &mut BufReader<TcpStream>,
    client: &mut TcpStream,
    length: u64,
    fault: Option<NetworkFault>,
) -> std::io::Result<u64> {
    match fault {
        Some(NetworkFault::CutAnswer(bytes)) => copy(server, client, length.min(bytes), None),
        Some(NetworkFault::Corrupt(place)) => copy(server, client, length, Some(place)),
        Some(NetworkFault::Repeat(bytes)) => {
            let mut start = Vec::new();
            server.take(bytes.min(length / 2)).read_to_end(&mut start)?;
            let twice = start.len() as u64 * 2;
            client.write_all(&start)?;
            client.write_all(&start)?;
            Ok(twice + copy(server, client, length - twice, None)?)
        }
        Some(NetworkFault::Throttle(rate)) => {
            let piece = (rate / 20).max(1);
            let mut passed = 0;
            while passed < length {
                let count = copy(server, client, piece.min(length - passed), None)?;
                if count == 0 {
                    break;
                }
                passed += count;
                pause(Duration::from_millis(50));
            }
            Ok(passed)
        }
        _ => copy(server, client, length, None),
    }
}

/// Slowness is the fault here; nothing is waited for.
fn pause(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(start.elapsed()));
    }
}

fn write_head(out: &mut TcpStream, lines: impl Iterator<Item = String>) -> std::io::Result<()> {
    let mut text: String = lines.map(|line| line + "\r\n").collect();
    text.push_str("\r\n");
    out.write_all(text.as_bytes())
}

fn refuse(client: &mut TcpStream, status: u16) -> std::io::Result<()> {
    let body = format!("{{\"errors\":[{{\"code\":\"BAD_DAY\",\"message\":\"status {status}\"}}]}}");
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Bad Day\r\nContent-Type: application/json\r\nRetry-After: 0\r\n\
         Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    client.write_all(head.as_bytes())
}

/// Passes bytes on as they come; returns how many passed.
fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    length: u64,
    corrupt: Option<u64>,
) -> std::io::Result<u64> {
    let (mut passed, mut buffer) = (0, vec![0; 16 << 10]);
    while passed < length {
        let wanted = buffer
            .len()
            .min(usize::try_from(length - passed).unwrap_or(usize::MAX));
        let count = from.read(&mut buffer[..wanted])?;
        if count == 0 {
            break;
        }
        if let Some(place) = corrupt.filter(|&p| p >= passed && p < passed + count as u64) {
            let index = usize::try_from(place - passed).expect("it is in the buffer");
            buffer[index] ^= 1;
        }
        to.write_all(&buffer[..count])?;
        passed += count as u64;
    }
    Ok(passed)
}

//! A web server on loopback whose requests can be looked at.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What is at a path.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The content.
    pub content: Vec<u8>,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub modified: Option<String>,
}

impl Page {
    /// Makes a page with an ETag that follows from its content.
    pub fn new(content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        let sum = content.iter().fold(7_u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
        Self {
            content,
            etag: Some(format!("\"{sum:x}\"")),
            modified: None,
        }
    }
}

#[derive(Default)]
struct Shared {
    pages: BTreeMap<String, Page>,
    /// Method and path, and the `Authorization` header.
    requests: Vec<(String, Option<String>)>,
    ending: bool,
}

/// The server; it ends with the value.
pub struct WebServer {
    /// `127.0.0.1:PORT`.
    pub address: String,
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    /// Starts a server with these pages.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start(pages: impl IntoIterator<Item = (&'static str, Page)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let pages = pages.into_iter();
        let shared = Arc::new(Mutex::new(Shared {
            pages: pages.map(|(path, page)| (path.to_owned(), page)).collect(),
            ..Shared::default()
        }));
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.lock().expect("no panic under the lock").ending {
                    return;
                }
                // A client that goes away in between is its own affair.
                let _ = stream.and_then(|stream| answer(stream, &served));
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Returns a page's address.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts another page at a path.
    ///
    /// # Panics
    /// Never: the lock is not held over a panic.
    pub fn put(&self, path: &str, page: Page) {
        let mut shared = self.shared.lock().expect("no panic under the lock");
        shared.pages.insert(path.to_owned(), page);
    }

    /// Returns the requests so far, as `GET /path`, and forgets them.
    ///
    /// # Panics
    /// Never: the lock is not held over a panic.
    pub fn take_requests(&self) -> Vec<String> {
        let mut shared = self.shared.lock().expect("no panic under the lock");
        let requests = std::mem::take(&mut shared.requests);
        requests.into_iter().map(|(line, _)| line).collect()
    }

    /// Returns the `Authorization` header of the last request.
    ///
    /// # Panics
    /// Never: the lock is not held over a panic.
    pub fn last_authorization(&self) -> Option<String> {
        let shared = self.shared.lock().expect("no panic under the lock");
        shared.requests.last()?.1.clone()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.shared.lock().expect("no panic under the lock").ending = true;
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("serving does not panic");
        }
    }
}

/// Answers one request and closes the connection.
fn answer(stream: TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or_default().to_owned(),
    );
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    let page = {
        let mut shared = shared.lock().expect("no panic under the lock");
        let authorization = headers.get("authorization").cloned();
        shared
            .requests
            .push((format!("{method} {path}"), authorization));
        let name = path.split('?').next().unwrap_or(&path);
        shared.pages.get(name).cloned()
    };
    let mut stream = stream;
    let Some(page) = page else {
        return stream.write_all(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    };
    let same =
        |name: &str, own: &Option<String>| own.is_some() && headers.get(name) == own.as_ref();
    let unchanged = same("if-none-match", &page.etag) || same("if-modified-since", &page.modified);
    let status = if unchanged {
        "304 Not Modified"
    } else {
        "200 OK"
    };
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in [("ETag", &page.etag), ("Last-Modified", &page.modified)] {
        if let Some(value) = value {
            head += &format!("{name}: {value}\r\n");
        }
    }
    if unchanged {
        return stream.write_all(format!("{head}\r\n").as_bytes());
    }
    head += &format!("Content-Length: {}\r\n\r\n", page.content.len());
    stream.write_all(head.as_bytes())?;
    if method != "HEAD" {
        stream.write_all(&page.content)?;
    }
    Ok(())
}

//! A proxy as companies have one: clients ask it for other hosts.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A forward proxy that leads every name to one server, and wants a login.
#[derive(Debug)]
pub struct ForwardProxy {
    /// Where it listens.
    pub address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// Starts a proxy for `user:word`, as base64, that leads to `target`, `HOST:PORT`. It ends
    /// with the process.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start(target: &str, login: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it listens").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (target, noted) = (target.to_owned(), Arc::clone(&seen));
        let login = format!("Basic {login}").to_lowercase();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, login, noted) = (target.clone(), login.clone(), Arc::clone(&noted));
                // A client may go whenever it likes.
                thread::spawn(move || drop(serve(client, &target, &login, &noted)));
            }
        });
        Self { address, seen }
    }

    /// Returns method and target of all requests that were let through: `CONNECT host:443`.
    ///
    /// # Panics
    /// Never: nothing panics while they are locked.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic under this lock").clone()
    }
}

fn serve(
    mut client: TcpStream,
    target: &str,
    login: &str,
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let head = read_head(&mut client)?;
    let (first, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    let mut words = first.split(' ');
    let (method, place) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let is_welcome = headers.lines().any(|line| {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        name.eq_ignore_ascii_case("proxy-authorization") && value.to_lowercase() == login
    });
    if !is_welcome {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\n\
            Proxy-Authenticate: Basic realm=\"p\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return client.write_all(refusal.as_bytes());
    }
    let line = format!("{method} {place}");
    seen.lock().expect("no panic under this lock").push(line);
    let mut server = TcpStream::connect(target)?;
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    } else {
        // `GET http://host/path` becomes `GET /path`, the only one on its connection.
        let path = place.splitn(4, '/').nth(3).unwrap_or_default();
        let rest: Vec<_> = headers
            .lines()
            .filter(|line| {
                !line.is_empty() && !line.to_lowercase().starts_with("proxy-authorization")
            })
            .collect();
        let head = format!(
            "{method} /{path} HTTP/1.1\r\n{}\r\nConnection: close\r\n\r\n",
            rest.join("\r\n")
        );
        server.write_all(head.as_bytes())?;
    }
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || {
        let copied = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
        copied
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)?;
    let _ = up.join();
    Ok(())
}

fn read_head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

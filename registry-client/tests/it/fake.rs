//! A server that answers by a script and writes down what it was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mica_oci::Reference;
use mica_registry_client::{Actions, Registry, RegistryConfig, Repository, RetryPolicy};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// The number of requests with this method and path before this one.
    pub(crate) earlier: usize,
}

impl Request {
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// An answer, perhaps one that breaks off.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    sent: usize,
    taken: usize,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            sent: usize::MAX,
            taken: usize::MAX,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Cuts the connection after this many bytes of the body.
    pub(crate) fn cut_at(mut self, sent: usize) -> Self {
        self.sent = sent;
        self
    }

    /// Cuts the connection after this many bytes of the request's body, without an answer.
    pub(crate) fn hang_up_after(taken: usize) -> Self {
        Self {
            taken,
            ..Self::new(0)
        }
    }
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

/// A running server; stops when dropped.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Fake {
    /// Starts a server. `GET /v2/` is answered with 200 and not written down.
    pub(crate) async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (script, seen): (Arc<Script>, _) = (Arc::new(script), log.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (script.clone(), seen.clone());
                tokio::spawn(async move { serve(stream, &*script, &seen).await });
            }
        });
        Self { address, log, task }
    }

    pub(crate) fn log(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.log().iter().map(Request::line).collect()
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    pub(crate) fn repository(&self, actions: Actions) -> Repository {
        self.repository_with(quick(), actions)
    }

    pub(crate) fn repository_with(&self, config: RegistryConfig, actions: Actions) -> Repository {
        let registry = Registry::new(config).unwrap();
        registry.repository(&self.reference("app"), actions)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A configuration that does not wait long.
pub(crate) fn quick() -> RegistryConfig {
    RegistryConfig {
        retry: RetryPolicy {
            attempts: 4,
            first_wait: Duration::from_millis(2),
            longest_wait: Duration::from_secs(2),
            silence: Duration::from_secs(5),
        },
        ..RegistryConfig::default()
    }
}

async fn serve(stream: TcpStream, script: &Script, log: &Mutex<Vec<Request>>) {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read_head(&mut stream).await {
        if request.line() == "GET /v2/" {
            let reply = script_or(script, &request, Reply::new(200));
            if send(&mut stream, &request, &reply).await.is_none() {
                return;
            }
            continue;
        }
        request.earlier = {
            let log = log.lock().unwrap();
            log.iter()
                .filter(|earlier| earlier.line() == request.line())
                .count()
        };
        let reply = script(&request);
        let length: usize = request.header("content-length").parse().unwrap_or(0);
        request.body = vec![0; length.min(reply.taken)];
        let read = stream.read_exact(&mut request.body).await;
        log.lock().unwrap().push(request.clone());
        if read.is_err() || reply.taken < length || reply.status == 0 {
            return;
        }
        if send(&mut stream, &request, &reply).await.is_none() {
            return;
        }
    }
}

/// A script may answer the probe too, by a status other than 404.
fn script_or(script: &Script, request: &Request, usual: Reply) -> Reply {
    match script(request) {
        Reply { status: 404, .. } => usual,
        reply => reply,
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match stream.read_line(&mut line).await {
            Ok(0) => return None,
            Ok(_) => {}
            Err(_) => {
                // Not text, so perhaps TLS: answer as servers do.
                let refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
                let _ = stream.write_all(refusal).await;
                return None;
            }
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    Some(Request {
        method,
        path,
        headers: headers.collect(),
        body: Vec::new(),
        earlier: 0,
    })
}

/// Sends a reply; `None` when the connection ends with it.
async fn send(stream: &mut BufReader<TcpStream>, request: &Request, reply: &Reply) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} Script\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !head.to_ascii_lowercase().contains("content-length") {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    stream
        .write_all(format!("{head}\r\n").as_bytes())
        .await
        .ok()?;
    if request.method != "HEAD" {
        let sent = reply.sent.min(reply.body.len());
        stream.write_all(&reply.body[..sent]).await.ok()?;
    }
    stream.flush().await.ok()?;
    (reply.sent >= reply.body.len()).then_some(())
}

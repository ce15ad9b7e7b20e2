//! An S3 server on loopback: `moto`, from Python's packages.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command::run;
use crate::peers::needs;
use crate::python::python_environment;
use crate::runner::Skip;

/// The server without what its other services need.
const PACKAGES: &[&str] = &["moto[s3]==5.2.5", "flask", "flask-cors"];

/// How long the server may take to answer: it is loaded by Python.
const GRACE: Duration = Duration::from_secs(60);

/// A server with one bucket; it ends with the value.
#[derive(Debug)]
pub struct S3Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// The bucket.
    pub bucket: &'static str,
    log: PathBuf,
    _directory: TempDir,
    server: Child,
}

impl S3Server {
    /// Starts a server.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn start() -> Result<Self, Skip> {
        needs(&["curl"])?;
        let python = python_environment("moto", PACKAGES)?.join("python3");
        let directory = tempfile::Builder::new().prefix("mica-s3-").tempdir();
        let directory = directory.expect("a temporary directory can be made");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a port is free");
        let log = directory.path().join("log");
        let output = File::create(&log).expect("the directory is ours");
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p"]);
        command.arg(address.port().to_string());
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        let server = quiet.stderr(output).spawn().expect("python starts");
        let server = Self {
            url: format!("http://{address}"),
            bucket: "caches",
            log,
            _directory: directory,
            server,
        };
        let bucket = format!("{}/{}", server.url, server.bucket);
        let start = Instant::now();
        while run(Command::new("curl").args(["-sf", "-X", "PUT", &bucket])).code != 0 {
            assert!(start.elapsed() < GRACE, "moto does not answer");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Returns the requests so far, without their signatures: `GET /caches/…`.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).expect("the server writes it");
        let request = |line: &str| {
            let line = line.replace("\u{1b}[33m", "");
            let (request, _) = line.split('"').nth(1)?.rsplit_once(" HTTP/")?;
            let path = request.split('?').next().unwrap_or(request);
            Some(path.to_owned())
        };
        log.lines().filter_map(request).collect()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

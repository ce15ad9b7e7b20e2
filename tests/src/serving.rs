//! `mica serve` in the background.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::command::run;
use crate::machine::Machine;
use crate::peers::needs;
use crate::runner::Skip;

/// A running `mica serve`; ends when dropped.
#[derive(Debug)]
pub struct Serving {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Serving {
    /// Serves a machine's store on a free port.
    pub fn start(machine: &Machine, flags: &[&str]) -> Self {
        let mut command = machine.command(["serve", "--listen", "127.0.0.1:0"]);
        command.args(flags);
        Self::spawn(command)
    }

    /// Serves a machine's store with TLS; the machine's `cert.pem` is signed by itself.
    ///
    /// # Panics
    /// When no certificate can be made.
    pub fn with_tls(machine: &Machine, flags: &[&str]) -> Result<Self, Skip> {
        needs(&["openssl"])?;
        let (key, certificate) = (machine.path("key.pem"), machine.path("cert.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ]);
        openssl.args(["-subj", "/CN=localhost", "-addext"]);
        openssl.arg("subjectAltName=DNS:localhost,IP:127.0.0.1");
        openssl
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        run(&mut openssl).ok();
        let mut command = machine.command(["serve", "--listen", "127.0.0.1:0"]);
        command.arg("--tls-key").arg(key);
        command.arg("--tls-cert").arg(certificate).args(flags);
        Ok(Self::spawn(command))
    }

    /// Starts a prepared `serve` command.
    ///
    /// # Panics
    /// When it ends before it says where it listens.
    pub fn spawn(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("mica starts");
        let out = child.stdout.take().expect("standard output is a pipe");
        let mut line = String::new();
        let read = BufReader::new(out).read_line(&mut line);
        read.expect("a pipe can be read");
        let address = line
            .trim()
            .rsplit("//")
            .next()
            .unwrap_or_default()
            .to_owned();
        assert!(line.starts_with("Serving on "), "mica serve said: {line:?}");
        Self { child, address }
    }

    /// Ends the server as a user would, and returns its exit code.
    pub fn end(mut self) -> Option<i32> {
        self.terminate();
        self.child.wait().expect("the child is ours").code()
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).expect("PIDs fit");
        // SAFETY: kill(2) takes no pointers; the child is not reaped yet.
        #[expect(unsafe_code, reason = "kill(2)")]
        unsafe {
            libc::kill(pid, libc::SIGTERM);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            // The server ends by itself; there is nothing to be done about a failure to wait.
            let _ = self.child.wait();
        }
    }
}

//! `RUN --mount=type=ssh`: a socket that passes questions on to an agent.
//!
//! The step gets a socket of its own, with the owner and mode that it asked for. What reaches the
//! agent is what a client needs to log in: to list keys and to sign. Requests that would change the
//! agent (adding and removing keys, locking) are refused, as BuildKit does.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use mica_dockerfile::Mount as Declared;
use mica_oci::Access;
use tempfile::TempDir;

use crate::error::ErrorKind;
use crate::mounts::Prepared;
use crate::request::SshSource;
use crate::run::bind;
use crate::stage::StageBuild;

/// The id of a mount that names none.
const DEFAULT_ID: &str = "default";

/// The name of the socket in its directory.
const SOCKET: &str = "agent.sock";

/// The mode of a socket that asks for none, as BuildKit has it.
const DEFAULT_MODE: u32 = 0o600;

/// Requests that are passed on: identities, sign, extension
/// (draft-ietf-sshm-ssh-agent, "Message Numbers").
const PASSED_ON: [u8; 3] = [11, 13, 27];

/// `SSH_AGENT_FAILURE`, as a whole message.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// Longer messages are refused, as OpenSSH's agent does.
const LONGEST_MESSAGE: usize = 256 << 10;

impl StageBuild<'_, '_> {
    /// `type=ssh`: mounts a socket; without keys nothing is mounted unless they are required.
    pub(crate) fn ssh_mount(
        &self,
        mount: &Declared,
        target: &Path,
        prepared: &mut Prepared,
    ) -> Result<(), ErrorKind> {
        let id = mount.id.as_deref().unwrap_or(DEFAULT_ID);
        let Some(source) = self.engine.request.ssh.get(id) else {
            return match mount.required {
                true => Err(ErrorKind::SshMissing(id.to_owned())),
                false => Ok(()),
            };
        };
        let directory = self.scratch_directory("ssh-")?;
        let agent = Agent::start(id, source, directory.path())?;
        let socket = &agent.socket;
        let mode = Permissions::from_mode(mount.mode.unwrap_or(DEFAULT_MODE));
        fs::set_permissions(socket, mode).map_err(ErrorKind::io("change the mode of", socket))?;
        let (uid, gid) = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
        chown(socket, Some(uid), Some(gid))
            .map_err(ErrorKind::io("change the owner of", socket))?;
        prepared
            .mounts
            .push(bind(socket, target, Access::ReadWrite));
        prepared.agents.push(agent);
        prepared.directories.push(directory);
        Ok(())
    }
}

/// A socket that passes questions on, for as long as this lives.
pub(crate) struct Agent {
    socket: PathBuf,
    ending: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
    _keys: Option<KeyAgent>,
}

impl Agent {
    fn start(id: &str, source: &SshSource, directory: &Path) -> Result<Self, ErrorKind> {
        let (upstream, keys) = match source {
            SshSource::Agent(path) => (path.clone(), None),
            SshSource::Keys(files) => {
                let keys = KeyAgent::start(id, files)?;
                (keys.socket(), Some(keys))
            }
        };
        let socket = directory.join(SOCKET);
        let listener = listen(directory).map_err(ErrorKind::io("listen on", &socket))?;
        let ending = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ending);
        let listener = std::thread::spawn(move || {
            for client in listener.incoming() {
                if seen.load(Ordering::Acquire) {
                    return;
                }
                let Ok(client) = client else { continue };
                let upstream = upstream.clone();
                // Ends with its client: the step's processes are gone when the step is.
                std::thread::spawn(move || pass_on(client, &upstream));
            }
        });
        Ok(Self {
            socket,
            ending,
            listener: Some(listener),
            _keys: keys,
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // Wakes the listener up. One that cannot be reached any more ends with the program.
        let woken = UnixStream::connect(&self.socket).is_ok();
        if let Some(listener) = self.listener.take().filter(|_| woken) {
            let _ = listener.join();
        }
    }
}

/// Listens by way of the directory's descriptor: a socket's path may have 107 bytes only.
fn listen(directory: &Path) -> io::Result<UnixListener> {
    let handle = fs::File::open(directory)?;
    UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", handle.as_raw_fd()))
}

/// Answers one client. Errors end the connection: the client sees that.
fn pass_on(mut client: UnixStream, upstream: &Path) {
    let Ok(mut agent) = UnixStream::connect(upstream) else {
        return;
    };
    while let Ok(Some(question)) = message(&mut client) {
        let may_pass = question.get(4).is_some_and(|kind| PASSED_ON.contains(kind));
        let answer = match may_pass {
            false => Ok(Some(FAILURE.to_vec())),
            true => agent
                .write_all(&question)
                .and_then(|()| message(&mut agent)),
        };
        match answer {
            Ok(Some(answer)) if client.write_all(&answer).is_ok() => {}
            _ => return,
        }
    }
}

/// Reads a message with its length; `None` at the end.
fn message(from: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let size = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if size == 0 || size > LONGEST_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut whole = vec![0; 4 + size];
    whole[..4].copy_from_slice(&length);
    from.read_exact(&mut whole[4..])?;
    Ok(Some(whole))
}

/// An `ssh-agent` of the build's own, which holds the keys of files.
struct KeyAgent {
    directory: TempDir,
    process: Child,
}

impl KeyAgent {
    fn start(id: &str, files: &[PathBuf]) -> Result<Self, ErrorKind> {
        let failed = |action, problem: String| ErrorKind::Ssh {
            action,
            id: id.to_owned(),
            problem,
        };
        let cannot_start = |error: io::Error| failed("start ssh-agent", error.to_string());
        let directory = tempfile::Builder::new().prefix("mica-ssh-").tempdir();
        let directory = directory.map_err(cannot_start)?;
        let mut command = Command::new("ssh-agent");
        command
            .arg("-D")
            .arg("-a")
            .arg(directory.path().join(SOCKET));
        let nowhere = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let process = nowhere
            .stderr(Stdio::null())
            .spawn()
            .map_err(cannot_start)?;
        let mut agent = Self { directory, process };
        agent.wait().map_err(cannot_start)?;
        for file in files {
            let mut command = Command::new("ssh-add");
            command
                .arg("-q")
                .arg("--")
                .arg(file)
                .env("SSH_AUTH_SOCK", agent.socket());
            // Nobody is there to be asked for a passphrase.
            command
                .env("SSH_ASKPASS_REQUIRE", "never")
                .stdin(Stdio::null());
            let added = command
                .output()
                .map_err(|e| failed("run ssh-add", e.to_string()))?;
            if !added.status.success() {
                let said = String::from_utf8_lossy(&added.stderr).trim().to_owned();
                return Err(failed("take the key", said));
            }
        }
        Ok(agent)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }

    /// Waits for the first line that the agent prints: it listens by then.
    fn wait(&mut self) -> io::Result<()> {
        let mut byte = [0];
        let output = self.process.stdout.as_mut();
        let count = output.map_or(Ok(0), |output| output.read(&mut byte))?;
        let listens = fs::metadata(self.socket()).is_ok_and(|it| it.file_type().is_socket());
        match count > 0 && listens {
            true => Ok(()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to be done.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that answers every question with its own bytes.
    fn echo(directory: &Path) -> PathBuf {
        let path = directory.join("upstream");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            while let Ok(Some(question)) = message(&mut client) {
                client.write_all(&question).unwrap();
            }
        });
        path
    }

    #[test]
    fn an_agent_is_asked_but_not_changed() {
        let directory = tempfile::tempdir().unwrap();
        let upstream = echo(directory.path());
        let source = SshSource::Agent(upstream);
        let agent = Agent::start(DEFAULT_ID, &source, directory.path()).unwrap();
        let mut client = UnixStream::connect(&agent.socket).unwrap();
        let ask = |client: &mut UnixStream, kind: u8| {
            client.write_all(&[0, 0, 0, 2, kind, 7]).unwrap();
            message(client).unwrap().unwrap()
        };
        assert_eq!(ask(&mut client, 11), [0, 0, 0, 2, 11, 7]);
        // SSH_AGENTC_ADD_IDENTITY and SSH_AGENTC_REMOVE_ALL_IDENTITIES.
        assert_eq!(ask(&mut client, 17), FAILURE);
        assert_eq!(ask(&mut client, 19), FAILURE);
        assert_eq!(ask(&mut client, 13), [0, 0, 0, 2, 13, 7]);
    }
}

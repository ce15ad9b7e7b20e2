//! The monitor: one process for each running container.
//!
//! ```text
//! starter ─ exec /proc/self/exe ─▶ monitor: lock, network, ports ─▶ sandbox
//!    ▲                               │ ▲ stdout, stderr / terminal      │
//!    └── Started | Failed ───────────┤ └────────────────────────────────┘
//! clients ◀── attach.sock ──────────▶│──▶ <id>-json.log, state.json
//! ```
//!
//! It is single-threaded but for the port proxies, holds `monitor.lock` as long as it lives, and
//! takes the container along when it dies.

mod begin;
mod client;
mod end;
mod log;
mod serve;

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use mica_store::{Store, StoreOptions};
use rustix::fs::{Mode, OFlags};

use crate::containers::Containers;
use crate::protocol::{self, Decoder, Event, Request};
use crate::{ContainerId, Error, Streams, exec_detached};

/// The name under which this program starts itself as a monitor.
pub(crate) const MONITOR_NAME: &str = "mica-monitor";

/// Becomes a container's monitor and never returns, if that is what this process was started as.
///
/// Must be called early in `main`, after [`mica_isolation::run_child_if_requested`] and before any
/// thread is started, by every program that starts containers: monitors are this program started
/// again.
pub fn run_monitor_if_requested() {
    let mut arguments = std::env::args_os();
    match arguments.next().as_deref().and_then(|name| name.to_str()) {
        Some(MONITOR_NAME) => {
            let arguments: Vec<OsString> = arguments.collect();
            std::process::exit(i32::from(run(&arguments).is_err()));
        }
        Some(exec_detached::NAME) => {
            let ended = exec_detached::run();
            std::process::exit(i32::from(ended.is_err()));
        }
        _ => {}
    }
}

/// The process that started the monitor, and its client.
struct Starter {
    stream: UnixStream,
    decoder: Decoder,
    streams: Streams,
}

fn run(arguments: &[OsString]) -> Result<(), Error> {
    let lost = |_| Error::MonitorLost { id: String::new() };
    let mut starter = meet_starter().map_err(lost)?;
    match begin(arguments, &mut starter) {
        Ok(server) => server.run(),
        Err(error) => {
            let failed = Event::Failed {
                code: error.exit_code(),
                message: describe(&error),
            };
            protocol::send(&mut starter.stream, &failed).map_err(lost)
        }
    }
}

fn begin(arguments: &[OsString], starter: &mut Starter) -> Result<serve::Server, Error> {
    let [root, runroot, id, additional @ ..] = arguments else {
        return Err(Error::NoSuchContainer {
            name: String::new(),
        });
    };
    let none = || Error::NoSuchContainer {
        name: id.to_string_lossy().into_owned(),
    };
    let id = id
        .to_str()
        .and_then(ContainerId::from_text)
        .ok_or_else(none)?;
    let options = StoreOptions {
        additional: additional.iter().map(PathBuf::from).collect(),
        ..StoreOptions::default()
    };
    let store = Store::open_with(Path::new(root), options)?;
    let containers = Containers::open(store, Path::new(runroot))?;
    begin::begin(containers, &id, starter)
}

/// Leaves the starter's session, and takes the connection to it from standard input's place.
fn meet_starter() -> io::Result<Starter> {
    // Fails for a process group's leader only, which a child is not.
    let _ = rustix::process::setsid();
    rustix::process::chdir("/")?;
    let mut stream = UnixStream::from(take_standard_input()?);
    let mut decoder = Decoder::default();
    match protocol::receive(&mut stream, &mut decoder)? {
        Some(Request::Attach(streams)) => Ok(Starter {
            stream,
            decoder,
            streams,
        }),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Moves standard input to another descriptor, and `/dev/null` to its place.
pub(crate) fn take_standard_input() -> io::Result<std::os::fd::OwnedFd> {
    let taken = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(taken)
}

/// Returns an error with its causes in one line.
pub(crate) fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

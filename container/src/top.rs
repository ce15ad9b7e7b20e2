//! The processes of a running container, as the host sees them.

use std::path::Path;

use jiff::Timestamp;
use mica_isolation::Cgroup;

use crate::containers::{Containers, cgroup_path};
use crate::error::At;
use crate::{ContainerId, Error};

/// One process of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// The user's number on the host.
    pub uid: u32,
    /// The PID on the host.
    pub pid: i32,
    /// The parent's PID on the host.
    pub parent: i32,
    /// When it started.
    pub started: Timestamp,
    /// CPU time, in seconds.
    pub cpu_seconds: u64,
    /// The terminal as `ps` names it; `?` for none.
    pub terminal: String,
    /// The command line.
    pub command: String,
}

/// The kernel's clock of `/proc/<pid>/stat`, in Hertz: 100 on every architecture (proc(5)).
const TICKS: u64 = 100;

impl Containers {
    /// Returns the processes of a running container, by PID.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn top(&self, id: &ContainerId) -> Result<Vec<ProcessInfo>, Error> {
        if !self.state(id)?.is_running() {
            return Err(Error::NotRunning { id: id.to_string() });
        }
        let mut pids = Cgroup::open(&cgroup_path(id))?.processes()?;
        pids.sort_unstable();
        let boot = boot_time()?;
        // A process that has ended meanwhile is none.
        Ok(pids
            .into_iter()
            .filter_map(|pid| process(pid, boot))
            .collect())
    }

    /// Returns what the processes of a running container use.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn stats(&self, id: &ContainerId) -> Result<mica_isolation::cgroup::Statistics, Error> {
        match self.state(id)?.is_running() {
            true => Ok(Cgroup::open(&cgroup_path(id))?.stats()?),
            false => Err(Error::NotRunning { id: id.to_string() }),
        }
    }
}

/// The second that the host started in.
fn boot_time() -> Result<i64, Error> {
    let text = std::fs::read_to_string("/proc/stat").at("read", "/proc/stat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    Ok(line
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0))
}

fn process(pid: i32, boot: i64) -> Option<ProcessInfo> {
    let directory = Path::new("/proc").join(pid.to_string());
    let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it are numbers.
    let (name, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let started = boot + i64::try_from(number(19)? / TICKS).ok()?;
    let arguments = std::fs::read(directory.join("cmdline")).ok()?;
    let command = match arguments.is_empty() {
        true => format!("[{}]", name.split_once('(')?.1),
        false => String::from_utf8_lossy(&arguments)
            .trim_end_matches('\0')
            .replace('\0', " "),
    };
    Some(ProcessInfo {
        uid: std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&directory).ok()?),
        pid,
        parent: fields.get(1)?.parse().ok()?,
        started: Timestamp::from_second(started).ok()?,
        cpu_seconds: (number(11)? + number(12)?) / TICKS,
        terminal: terminal(number(4)?),
        command,
    })
}

/// Names a terminal by its device number: pseudo terminals are 136 to 143 (devices.txt).
fn terminal(device: u64) -> String {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => "?".to_owned(),
    }
}

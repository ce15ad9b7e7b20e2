//! Control groups, version 1, version 2 and hosts with some of each.
//!
//! A [`Cgroup`] is one directory of the same path in each hierarchy that it needs:
//!
//! ```text
//! v1      /sys/fs/cgroup/{memory,cpu,cpuacct,pids,devices,…}/<path>
//! hybrid  the same, and /sys/fs/cgroup/unified/<path>: kill and freeze
//! v2      /sys/fs/cgroup/<path>
//! ```

mod devices;
mod hierarchy;
mod limits;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal};

use crate::error::{At, Error, Step};
use crate::spec::CgroupSpec;
use hierarchy::{Hierarchy, Version};

/// A control group: the same path in every hierarchy it needs.
#[derive(Clone, Debug)]
pub struct Cgroup {
    directories: Vec<Directory>,
}

/// What the processes of a cgroup use and used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Memory in use, in bytes, page cache included.
    pub memory: u64,
    /// The most memory that was in use at once, in bytes; 0 where the kernel does not say.
    pub peak_memory: u64,
    /// The part of `memory` that is page cache the kernel would drop first, in bytes.
    pub inactive_file: u64,
    /// CPU time of all processes, ended ones included.
    pub cpu: Duration,
    /// The number of processes and threads.
    pub pids: u64,
}

#[derive(Clone, Debug)]
struct Directory {
    hierarchy: Hierarchy,
    path: PathBuf,
}

/// How often, a millisecond apart, the kernel is asked again for what it does behind: freezing,
/// and letting go of processes that were killed.
const ATTEMPTS: u32 = 2000;

impl Cgroup {
    /// Creates a cgroup and sets its limits. One that exists is taken over.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with the file concerned, also when a limit is asked for that no mounted
    /// hierarchy can set.
    pub fn create(spec: &CgroupSpec) -> Result<Self, Error> {
        let cgroup = Self::at(&spec.path)?;
        let created = cgroup
            .create_directories()
            .and_then(|()| cgroup.set_limits(&spec.limits));
        match created {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                // What was made of it must go; the reason to report is the first failure.
                let _ = cgroup.remove();
                Err(error)
            }
        }
    }

    /// Opens a cgroup that exists, by its path below each hierarchy's root.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with [`Step::ReadCgroup`] when no hierarchy has it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut cgroup = Self::at(path)?;
        cgroup
            .directories
            .retain(|directory| directory.path.is_dir());
        if cgroup.directories.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOENT)).at_path(Step::ReadCgroup, path);
        }
        Ok(cgroup)
    }

    fn at(path: &Path) -> Result<Self, Error> {
        let below = path.strip_prefix("/").unwrap_or(path);
        let directories = hierarchy::find()?
            .into_iter()
            .map(|hierarchy| Directory {
                path: hierarchy.mount.join(below),
                hierarchy,
            })
            .collect();
        Ok(Self { directories })
    }

    fn create_directories(&self) -> Result<(), Error> {
        for directory in &self.directories {
            directory
                .create()
                .at_path(Step::CreateCgroup, &directory.path)?;
            limits::inherit(&directory.hierarchy, &directory.path)?;
        }
        Ok(())
    }

    /// Moves a process, by its PID in this PID namespace, into the cgroup.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with the directory that refused it.
    pub fn add(&self, pid: i32) -> Result<(), Error> {
        for directory in &self.directories {
            let path = directory.path.join("cgroup.procs");
            std::fs::write(&path, pid.to_string()).at_path(Step::JoinCgroup, path)?;
        }
        Ok(())
    }

    /// Lists the processes in the cgroup, by their PIDs in this PID namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with the file that could not be read.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        let Some(directory) = self.directories.first() else {
            return Ok(Vec::new());
        };
        let text = read(&directory.path.join("cgroup.procs"))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Kills all processes of the cgroup and waits until none is left.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with the file concerned; [`io::ErrorKind::TimedOut`] when a process does
    /// not die.
    pub fn kill_all(&self) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let processes = match self.processes() {
                // Removed by its owner meanwhile; a file opened before says ENODEV.
                Err(error) if is_gone(&error) => return Ok(()),
                processes => processes?,
            };
            if processes.is_empty() {
                return Ok(());
            }
            if !self.kill_by_kernel() {
                for pid in processes.into_iter().filter_map(Pid::from_raw) {
                    // It may have ended meanwhile, which is what is wanted.
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::from(io::ErrorKind::TimedOut)).at(Step::WriteCgroup)
    }

    /// Kills by `cgroup.kill` (v2, Linux 5.14), which no new process escapes.
    fn kill_by_kernel(&self) -> bool {
        self.unified()
            .is_some_and(|path| std::fs::write(path.join("cgroup.kill"), "1").is_ok())
    }

    /// Stops all processes of the cgroup where they are, and waits until they have stopped.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with the file concerned.
    pub fn freeze(&self) -> Result<(), Error> {
        self.set_frozen("1", "FROZEN")
    }

    /// Lets the processes of the cgroup go on.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with the file concerned.
    pub fn thaw(&self) -> Result<(), Error> {
        self.set_frozen("0", "THAWED")
    }

    fn set_frozen(&self, unified: &str, freezer: &str) -> Result<(), Error> {
        if let Some(directory) = self.unified()
            && directory.join("cgroup.freeze").exists()
        {
            write(&directory.join("cgroup.freeze"), unified)?;
            return wait_for_event(&directory.join("cgroup.events"), "frozen", unified);
        }
        let path = self.file("freezer", "freezer.state")?;
        for _ in 0..ATTEMPTS {
            // Written again each time: a process forked meanwhile would otherwise be missed.
            write(&path, freezer)?;
            if read(&path)?.trim() == freezer {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::from(io::ErrorKind::TimedOut)).at_path(Step::WriteCgroup, path)
    }

    /// Reads what the cgroup uses. What no mounted hierarchy accounts for is 0.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with [`Step::ReadCgroup`] when the cgroup is gone.
    pub fn stats(&self) -> Result<Statistics, Error> {
        for directory in &self.directories {
            std::fs::metadata(&directory.path).at_path(Step::ReadCgroup, &directory.path)?;
        }
        let mut statistics = Statistics::default();
        if let Some(directory) = self.with("memory") {
            let (current, peak, inactive) = match directory.hierarchy.version {
                Version::One => (
                    "memory.usage_in_bytes",
                    "memory.max_usage_in_bytes",
                    "total_inactive_file",
                ),
                Version::Two => ("memory.current", "memory.peak", "inactive_file"),
            };
            statistics.memory = number(&directory.path.join(current));
            statistics.peak_memory = number(&directory.path.join(peak));
            statistics.inactive_file = keyed(&directory.path.join("memory.stat"), inactive);
        }
        if let Some(directory) = self.with("pids") {
            statistics.pids = number(&directory.path.join("pids.current"));
        }
        statistics.cpu = self.cpu_time();
        Ok(statistics)
    }

    fn cpu_time(&self) -> Duration {
        match (self.with("cpuacct"), self.unified()) {
            (Some(directory), _) => {
                Duration::from_nanos(number(&directory.path.join("cpuacct.usage")))
            }
            (None, Some(path)) => {
                Duration::from_micros(keyed(&path.join("cpu.stat"), "usage_usec"))
            }
            (None, None) => Duration::ZERO,
        }
    }

    /// Returns how many processes the kernel killed for the memory limit; 0 where no hierarchy
    /// accounts for memory.
    pub fn oom_kills(&self) -> u64 {
        let Some(directory) = self.with("memory") else {
            return 0;
        };
        let file = match directory.hierarchy.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        keyed(&directory.path.join(file), "oom_kill")
    }

    /// Removes the cgroup with its sub-groups, and those of its parents that are empty then.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with the directory; `EBUSY` when processes are still in it.
    pub fn remove(&self) -> Result<(), Error> {
        for directory in &self.directories {
            remove_tree(&directory.path).at_path(Step::RemoveCgroup, &directory.path)?;
            let parents = directory.path.ancestors().skip(1);
            for parent in parents.take_while(|parent| *parent != directory.hierarchy.mount) {
                if std::fs::remove_dir(parent).is_err() {
                    break; // in use by others
                }
            }
        }
        Ok(())
    }

    /// Returns the inodes of its directories: what tells it from a later one of the same path.
    pub(crate) fn inodes(&self) -> Vec<u64> {
        use std::os::unix::fs::MetadataExt;
        let metadata = self.directories().map(|(_, path)| std::fs::metadata(path));
        metadata
            .filter_map(|metadata| Some(metadata.ok()?.ino()))
            .collect()
    }

    /// The directories with their names below `/sys/fs/cgroup`.
    pub(crate) fn directories(&self) -> impl Iterator<Item = (String, &Path)> {
        self.directories
            .iter()
            .map(|directory| (directory.hierarchy.name(), directory.path.as_path()))
    }

    /// The one directory on a host that has version 2 alone.
    pub(crate) fn unified_only(&self) -> Option<&Path> {
        match self.directories.as_slice() {
            [only] if only.hierarchy.version == Version::Two => Some(&only.path),
            _ => None,
        }
    }

    fn unified(&self) -> Option<&Path> {
        let unified = |directory: &&Directory| directory.hierarchy.version == Version::Two;
        self.directories
            .iter()
            .find(unified)
            .map(|directory| directory.path.as_path())
    }

    fn with(&self, controller: &str) -> Option<&Directory> {
        self.directories
            .iter()
            .find(|directory| directory.hierarchy.has(controller))
    }

    /// A file of the directory that has a controller; ENOTSUP when none has.
    fn file(&self, controller: &str, file: &str) -> Result<PathBuf, Error> {
        self.with(controller)
            .map(|directory| directory.path.join(file))
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTSUP))
            .at_path(Step::WriteCgroup, file)
    }
}

/// Says which hierarchies are mounted and what they can limit.
pub(crate) fn report() -> crate::probe::CgroupReport {
    let mut report = crate::probe::CgroupReport::default();
    for hierarchy in hierarchy::find().unwrap_or_default() {
        report.versions.push(match hierarchy.version {
            Version::One => 1,
            Version::Two => 2,
        });
        report.controllers.extend(hierarchy.controllers);
    }
    report.versions.sort_unstable();
    report.versions.dedup();
    report.controllers.sort_unstable();
    report
}

impl Directory {
    /// Creates the directory with its parents. Another sandbox that ends may remove an empty
    /// parent in between, so a vanished one is made again.
    fn create(&self) -> io::Result<()> {
        let mut attempts = 0..10;
        loop {
            let created = std::fs::create_dir_all(&self.path);
            match created {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && attempts.next().is_some() => {}
                created => return created,
            }
        }
    }
}

/// Removes a cgroup bottom up. `EBUSY` is given a moment: a process that ended may not have left
/// yet.
fn remove_tree(path: &Path) -> io::Result<()> {
    for attempt in 1.. {
        match std::fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && attempt < ATTEMPTS => {
                remove_children(path)?;
                if attempt > 1 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            removed => return removed,
        }
    }
    Ok(())
}

fn remove_children(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Waits until a line `key value` stands in a file that the kernel signals changes of (POLLPRI).
fn wait_for_event(path: &Path, key: &str, value: &str) -> Result<(), Error> {
    let file = File::open(path).at_path(Step::ReadCgroup, path)?;
    let expected = value.parse().unwrap_or(0);
    while keyed(path, key) != expected {
        let mut descriptors = [PollFd::new(&file, PollFlags::PRI)];
        // The file is looked at again after a second in any case: a change between the look and
        // the wait is signalled only to who has read through this descriptor.
        let limit = rustix::event::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut descriptors, Some(&limit)).at_path(Step::ReadCgroup, path)?;
    }
    Ok(())
}

fn is_gone(error: &Error) -> bool {
    let Error::Setup { source, .. } = error else {
        return false;
    };
    matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).at_path(Step::ReadCgroup, path)
}

fn write(path: &Path, value: &str) -> Result<(), Error> {
    // Opened without creating: a missing file means a missing feature, and must say so.
    let mut file = File::options()
        .write(true)
        .open(path)
        .at_path(Step::WriteCgroup, path)?;
    file.write_all(value.as_bytes())
        .at_path(Step::WriteCgroup, path)
}

fn number(path: &Path) -> u64 {
    std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// The number after a key in a file of `key value` lines.
fn keyed(path: &Path, key: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let value = |line: &str| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    };
    text.lines().find_map(value).unwrap_or(0)
}

//! Limits in the words of each version.

use std::io;
use std::path::Path;

use super::hierarchy::{Hierarchy, Version};
use super::{Cgroup, read, write};
use crate::error::Error;
use crate::spec::CgroupLimits;

/// The period that CPU quotas are a share of, in microseconds: the kernel's default.
const CPU_PERIOD: f64 = 100_000.0;

/// The smallest CPU quota the kernel takes, in microseconds.
const LEAST_CPU_QUOTA: u64 = 1000;

/// The version 2 controllers that sandboxes use.
const ENABLED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

impl Cgroup {
    pub(super) fn set_limits(&self, limits: &CgroupLimits) -> Result<(), Error> {
        if let Some(memory) = limits.memory {
            self.limit_memory(memory, limits.memory_swap)?;
        }
        if let Some(cpus) = limits.cpus {
            self.limit_cpus(cpus)?;
        }
        if let Some(shares) = limits.cpu_shares {
            self.weigh_cpu(shares)?;
        }
        if let Some(set) = &limits.cpuset {
            write(&self.file("cpuset", "cpuset.cpus")?, set)?;
        }
        if let Some(pids) = limits.pids {
            write(&self.file("pids", "pids.max")?, &pids.to_string())?;
        }
        Ok(())
    }

    fn version_of(&self, controller: &str) -> Version {
        self.with(controller)
            .map_or(Version::Two, |directory| directory.hierarchy.version)
    }

    /// Version 1 limits memory, and memory and swap together; version 2 limits each alone.
    fn limit_memory(&self, memory: u64, with_swap: Option<i64>) -> Result<(), Error> {
        match self.version_of("memory") {
            Version::One => {
                let total = with_swap.map_or(memory.to_string(), |bytes| bytes.to_string());
                write(
                    &self.file("memory", "memory.limit_in_bytes")?,
                    &memory.to_string(),
                )?;
                if_present(write(
                    &self.file("memory", "memory.memsw.limit_in_bytes")?,
                    &total,
                ))
            }
            Version::Two => {
                let swap = match with_swap {
                    None => "0".to_string(),
                    Some(total) => u64::try_from(total).map_or("max".to_string(), |total| {
                        total.saturating_sub(memory).to_string()
                    }),
                };
                write(&self.file("memory", "memory.max")?, &memory.to_string())?;
                if_present(write(&self.file("memory", "memory.swap.max")?, &swap))
            }
        }
    }

    fn limit_cpus(&self, cpus: f64) -> Result<(), Error> {
        let quota = ((cpus * CPU_PERIOD) as u64).max(LEAST_CPU_QUOTA);
        match self.version_of("cpu") {
            Version::One => {
                write(
                    &self.file("cpu", "cpu.cfs_period_us")?,
                    &CPU_PERIOD.to_string(),
                )?;
                write(&self.file("cpu", "cpu.cfs_quota_us")?, &quota.to_string())
            }
            Version::Two => write(
                &self.file("cpu", "cpu.max")?,
                &format!("{quota} {CPU_PERIOD}"),
            ),
        }
    }

    fn weigh_cpu(&self, shares: u64) -> Result<(), Error> {
        let shares = shares.clamp(2, 262_144);
        match self.version_of("cpu") {
            Version::One => write(&self.file("cpu", "cpu.shares")?, &shares.to_string()),
            Version::Two => write(
                &self.file("cpu", "cpu.weight")?,
                &weight(shares).to_string(),
            ),
        }
    }
}

/// Maps version 1's shares (2 to 262144) onto version 2's weight (1 to 10000), as runc does.
fn weight(shares: u64) -> u64 {
    1 + (shares - 2) * 9999 / 262_142
}

/// A kernel that does not account for swap has no file for it: the limit then holds for memory.
fn if_present(written: Result<(), Error>) -> Result<(), Error> {
    match written {
        Err(Error::Setup { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

/// Makes the controllers of a hierarchy usable in a new directory: version 2 hands them down
/// level by level, a version 1 cpuset starts out empty on every level.
pub(super) fn inherit(hierarchy: &Hierarchy, path: &Path) -> Result<(), Error> {
    let mut levels: Vec<&Path> = path
        .ancestors()
        .take_while(|level| *level != hierarchy.mount)
        .collect();
    levels.push(&hierarchy.mount);
    levels.reverse();
    match hierarchy.version {
        Version::One if hierarchy.has("cpuset") => levels
            .windows(2)
            .try_for_each(|pair| copy_cpuset(pair[0], pair[1])),
        Version::One => Ok(()),
        Version::Two => {
            let parents = &levels[..levels.len() - 1];
            parents.iter().for_each(|parent| enable(hierarchy, parent));
            Ok(())
        }
    }
}

fn copy_cpuset(parent: &Path, child: &Path) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if read(&child.join(file))?.trim().is_empty() {
            write(&child.join(file), read(&parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

/// Each alone: one that is refused (a real-time process forbids `cpu`, a process in the parent
/// all of them) leaves the others. A limit that needs it then fails on the missing file.
fn enable(hierarchy: &Hierarchy, parent: &Path) {
    let control = parent.join("cgroup.subtree_control");
    let present = std::fs::read_to_string(&control).unwrap_or_default();
    for name in ENABLED.iter().filter(|name| hierarchy.has(name)) {
        if !present.split_whitespace().any(|enabled| enabled == *name) {
            let _ = write(&control, &format!("+{name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_map_onto_the_whole_range_of_weights() {
        for (shares, expected) in [(2, 1), (1024, 39), (262_144, 10_000)] {
            assert_eq!(weight(shares), expected, "{shares} shares");
        }
    }
}

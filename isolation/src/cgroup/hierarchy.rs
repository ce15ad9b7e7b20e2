//! The cgroup hierarchies that the host has mounted: v1, v2, or some of each.

use std::path::{Path, PathBuf};

use crate::error::{At, Error, Step};

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// The controllers it can limit with.
    pub(super) controllers: Vec<String>,
}

/// Which interface a hierarchy has (cgroups(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

impl Hierarchy {
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// The name of its directory below `/sys/fs/cgroup`.
    pub(super) fn name(&self) -> String {
        match self.mount.file_name() {
            Some(name) => name.to_string_lossy().into_owned(),
            None => "unified".to_string(),
        }
    }
}

/// Finds the hierarchies in this process' mount namespace.
pub(super) fn find() -> Result<Vec<Hierarchy>, Error> {
    let path = "/proc/self/mountinfo";
    let mounts = std::fs::read_to_string(path).at_path(Step::FindCgroups, path)?;
    let mut found: Vec<Hierarchy> = Vec::new();
    for mut hierarchy in mounts.lines().filter_map(parse) {
        // The same hierarchy can be mounted at several places.
        if found.iter().any(|known| is_same(known, &hierarchy)) {
            continue;
        }
        if hierarchy.version == Version::Two {
            hierarchy.controllers = available(&hierarchy.mount);
        }
        found.push(hierarchy);
    }
    Ok(found)
}

fn is_same(one: &Hierarchy, other: &Hierarchy) -> bool {
    one.version == other.version
        && (one.version == Version::Two || one.controllers == other.controllers)
}

fn available(mount: &Path) -> Vec<String> {
    let names = std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    names.split_whitespace().map(str::to_string).collect()
}

/// Reads a line of mountinfo (proc_pid_mountinfo(5)); `None` for all but hierarchies with
/// controllers and the unified one.
fn parse(line: &str) -> Option<Hierarchy> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mount = PathBuf::from(unescape(mount.split(' ').nth(4)?));
    let mut fields = file_system.split(' ');
    match fields.next()? {
        "cgroup2" => Some(Hierarchy {
            version: Version::Two,
            mount,
            controllers: Vec::new(),
        }),
        "cgroup" => {
            let known = |option: &&str| CONTROLLERS.contains(option);
            let options = fields.nth(1)?.split(',');
            let controllers: Vec<String> = options.filter(known).map(str::to_string).collect();
            let hierarchy = Hierarchy {
                version: Version::One,
                mount,
                controllers,
            };
            (!hierarchy.controllers.is_empty()).then_some(hierarchy)
        }
        _ => None,
    }
}

/// The v1 controllers that a sandbox is put under.
const CONTROLLERS: [&str; 7] = [
    "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids",
];

/// Undoes mountinfo's octal escapes of space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    field
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(Version, &str, &[&str])>) {
        let found = parse(line);
        let found = found.as_ref().map(|hierarchy| {
            let controllers: Vec<&str> = hierarchy.controllers.iter().map(String::as_str).collect();
            (
                hierarchy.version,
                hierarchy.mount.to_str().expect("UTF-8"),
                controllers,
            )
        });
        let expected = expected.map(|(version, mount, names)| (version, mount, names.to_vec()));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn hierarchies_are_found_in_mountinfo() {
        check(
            "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory",
            Some((Version::One, "/sys/fs/cgroup/memory", &["memory"])),
        );
        check(
            "36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
            Some((
                Version::One,
                "/sys/fs/cgroup/cpu,cpuacct",
                &["cpu", "cpuacct"],
            )),
        );
        check(
            "41 31 0:38 / /sys/fs/cgroup\\040x rw,relatime - cgroup2 cgroup2 rw,nsdelegate",
            Some((Version::Two, "/sys/fs/cgroup x", &[])),
        );
        check(
            "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd",
            None,
        );
        check(
            "39 31 0:36 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio",
            None,
        );
        check("27 1 254:0 / / rw,relatime - ext4 /dev/vda rw", None);
    }
}

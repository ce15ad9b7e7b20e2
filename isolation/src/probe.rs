//! What the host allows, rung by rung of the isolation ladder, and what would lift each refusal.

use std::path::Path;

use rustix::thread::CapabilitySet;

use crate::cgroup;
use crate::sys;

/// What the host offers to sandboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    /// The kernel's release, such as `6.1.0-28-amd64`.
    pub kernel: String,
    /// The rungs, the strongest isolation first. This version uses [`Rung::Root`] alone.
    pub rungs: Vec<RungReport>,
    /// How resources can be limited.
    pub cgroups: CgroupReport,
    /// Whether overlayfs is there, on which layers are stacked.
    pub overlay: bool,
    /// Whether seccomp filters are there.
    pub seccomp: bool,
    /// Whether nftables can be spoken to, which translates the addresses of bridged sandboxes.
    pub nftables: bool,
}

/// One way to isolate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// As root.
    Root,
    /// As a plain user with subordinate user and group IDs.
    SubordinateIds,
    /// As a plain user whose own ID is the only one inside.
    SingleId,
    /// Without namespaces: a changed root directory at most.
    ChangedRoot,
}

/// Whether the host allows one way to isolate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RungReport {
    /// The way.
    pub rung: Rung,
    /// `None` if it is allowed, or why not.
    pub obstacle: Option<Obstacle>,
}

/// Why the host does not allow something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What is in the way.
    pub reason: String,
    /// The one setting or command that would lift it.
    pub remedy: String,
}

/// The cgroup hierarchies and what they can limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupReport {
    /// The mounted versions: 1, 2, or both.
    pub versions: Vec<u8>,
    /// The controllers, sorted.
    pub controllers: Vec<String>,
}

/// Finds out what the host allows. Nothing is changed.
pub fn probe() -> HostReport {
    let user_namespaces = user_namespace_obstacle();
    let rungs = vec![
        report(Rung::Root, root_obstacle()),
        report(
            Rung::SubordinateIds,
            user_namespaces.clone().or_else(subordinate_ids_obstacle),
        ),
        report(Rung::SingleId, user_namespaces),
        report(Rung::ChangedRoot, None),
    ];
    HostReport {
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        rungs,
        cgroups: cgroup::report(),
        overlay: lists("/proc/filesystems", "overlay"),
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        nftables: crate::network::has_nftables(),
    }
}

fn report(rung: Rung, obstacle: Option<Obstacle>) -> RungReport {
    RungReport { rung, obstacle }
}

fn obstacle(reason: impl Into<String>, remedy: impl Into<String>) -> Obstacle {
    Obstacle {
        reason: reason.into(),
        remedy: remedy.into(),
    }
}

fn root_obstacle() -> Option<Obstacle> {
    if !rustix::process::geteuid().is_root() {
        return Some(obstacle("not running as root", "run as root"));
    }
    let held = rustix::thread::capabilities(None).ok()?;
    let missing = !held.effective.contains(CapabilitySet::SYS_ADMIN);
    missing.then(|| {
        obstacle(
            "root lacks CAP_SYS_ADMIN",
            "start the outer container with --privileged",
        )
    })
}

/// Tries it out; the settings only say why it failed.
fn user_namespace_obstacle() -> Option<Obstacle> {
    let error = sys::try_user_namespace().err()?;
    let settings = [
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user/max_user_namespaces", "0", "15000"),
    ];
    for (setting, refusing, allowing) in settings {
        let value = std::fs::read_to_string(Path::new("/proc/sys").join(setting));
        if value.is_ok_and(|value| value.trim() == refusing) {
            let name = setting.replace('/', ".");
            return Some(obstacle(
                format!("{name} is {refusing}"),
                format!("sysctl -w {name}={allowing}"),
            ));
        }
    }
    Some(obstacle(
        format!("user namespaces are refused: {error}"),
        "start the outer container with a seccomp profile that allows user namespaces",
    ))
}

fn subordinate_ids_obstacle() -> Option<Obstacle> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let name = user_name(&uid).unwrap_or_else(|| uid.clone());
    for file in ["/etc/subuid", "/etc/subgid"] {
        if !has_range(file, &name, &uid) {
            return Some(obstacle(
                format!("{file} has no range for {name}"),
                format!("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"),
            ));
        }
    }
    let helpers = ["/usr/bin/newuidmap", "/usr/bin/newgidmap"];
    let missing = helpers.iter().find(|path| !Path::new(path).exists())?;
    Some(obstacle(
        format!("{missing} is missing"),
        "install the package uidmap (shadow-utils)",
    ))
}

fn user_name(uid: &str) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let has_uid = |line: &&str| line.split(':').nth(2) == Some(uid);
    passwd
        .lines()
        .find(has_uid)?
        .split(':')
        .next()
        .map(str::to_string)
}

fn has_range(file: &str, name: &str, uid: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| {
        line.split(':')
            .next()
            .is_some_and(|who| who == name || who == uid)
    })
}

fn lists(file: &str, word: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().any(|found| found == word)
}

//! From a container's record to the plain data that a sandbox is made of.

use std::path::{Path, PathBuf};

use mica_isolation::{
    Capabilities, CgroupSpec, Namespaces, Network, PathPolicy, Process, SandboxSpec, Seccomp,
    Share, WindowSize,
};
use mica_oci::{Access, Mount, MountKind};

use crate::containers::cgroup_path;
use crate::record::ContainerRecord;
use crate::{Error, OptionError, etc_files};

/// The search path where an image has none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The size of a terminal before a client tells its own.
const WINDOW: WindowSize = WindowSize {
    rows: 24,
    columns: 80,
};

/// What a sandbox needs besides the record.
pub(crate) struct Surroundings<'a> {
    /// The root file system.
    pub(crate) root: MountKind,
    /// Where it is attached.
    pub(crate) mount_point: &'a Path,
    /// The network.
    pub(crate) network: Network,
    /// The directory with `hosts`, `hostname` and `resolv.conf`.
    pub(crate) files: &'a Path,
}

/// Returns the specification of a container's sandbox.
pub(crate) fn specification(
    record: &ContainerRecord,
    surroundings: Surroundings<'_>,
) -> Result<SandboxSpec, Error> {
    let host = &record.host;
    let terminal = record.tty.then_some(WINDOW);
    let process = process(record, record.command.clone(), terminal)?;
    Ok(SandboxSpec {
        mounts: mounts(record, surroundings.files),
        root: surroundings.root,
        mount_point: surroundings.mount_point.to_owned(),
        root_access: if host.read_only {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        },
        shm_size: host.shm_size,
        namespaces: Namespaces {
            network: surroundings.network,
            pid: Share::Private,
            ipc: Share::Private,
            uts: Share::Private,
        },
        hostname: Some(record.hostname.clone()),
        cgroup: Some(CgroupSpec {
            path: cgroup_path(&record.id),
            limits: host.limits.clone(),
        }),
        paths: match host.privileged {
            true => PathPolicy::default(),
            false => PathPolicy::default_profile(),
        },
        process,
    })
}

/// Returns a process with a container's rights: its first one, or one that joins it.
pub(crate) fn process(
    record: &ContainerRecord,
    args: Vec<String>,
    terminal: Option<WindowSize>,
) -> Result<Process, Error> {
    let host = &record.host;
    let security = security(&host.security_options)?;
    let directory = match record.config.working_dir.as_str() {
        "" => "/",
        directory => directory,
    };
    Ok(Process {
        args,
        env: environment(record, terminal.is_some()),
        working_directory: PathBuf::from(directory),
        user: record.config.user.clone(),
        additional_groups: host.group_add.clone(),
        capabilities: capabilities(record)?,
        seccomp: if host.privileged {
            Seccomp::Unconfined
        } else {
            security.seccomp
        },
        no_new_privileges: security.no_new_privileges,
        resource_limits: host.resource_limits.clone(),
        terminal,
    })
}

/// What every process is told, then what image and command line say.
fn environment(record: &ContainerRecord, terminal: bool) -> Vec<String> {
    let mut config = mica_oci::ContainerConfig::default();
    config.env.push(PATH.to_owned());
    config.env.push(format!("HOSTNAME={}", record.hostname));
    if terminal {
        config.env.push("TERM=xterm".to_owned());
    }
    for entry in &record.config.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        config.set_env(name, value);
    }
    config.env
}

fn capabilities(record: &ContainerRecord) -> Result<Capabilities, Error> {
    let host = &record.host;
    if host.privileged {
        return Ok(Capabilities::ALL);
    }
    let is_all = |name: &String| name.eq_ignore_ascii_case("all");
    // As docker: `--cap-drop ALL --cap-add X` leaves X, `--cap-add ALL --cap-drop X` all but X.
    let mut set = match (
        host.cap_add.iter().any(is_all),
        host.cap_drop.iter().any(is_all),
    ) {
        (true, _) => Capabilities::ALL,
        (false, true) => Capabilities::NONE,
        (false, false) => Capabilities::DEFAULT,
    };
    for name in host.cap_drop.iter().filter(|name| !is_all(name)) {
        set = set.without(name)?;
    }
    for name in host.cap_add.iter().filter(|name| !is_all(name)) {
        set = set.with(name)?;
    }
    Ok(set)
}

/// What the security options ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Security {
    pub(crate) seccomp: Seccomp,
    pub(crate) no_new_privileges: bool,
}

/// Reads docker's `--security-opt`s.
pub(crate) fn security(options: &[String]) -> Result<Security, OptionError> {
    let mut security = Security {
        seccomp: Seccomp::Default,
        no_new_privileges: false,
    };
    for option in options {
        // Docker took a colon before it took the equals sign.
        match option.replacen(':', "=", 1).as_str() {
            "no-new-privileges" | "no-new-privileges=true" => security.no_new_privileges = true,
            "no-new-privileges=false" => security.no_new_privileges = false,
            "seccomp=unconfined" => security.seccomp = Seccomp::Unconfined,
            "seccomp=builtin" => security.seccomp = Seccomp::Default,
            // Neither of the two confines anything here.
            "apparmor=unconfined" | "label=disable" => {}
            _ => {
                return Err(OptionError::Security {
                    text: option.clone(),
                });
            }
        }
    }
    Ok(security)
}

/// All mounts, parents before what is mounted below them.
fn mounts(record: &ContainerRecord, files: &Path) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = etc_files::binds(files)
        .map(|(source, target)| bind(source, target, Access::ReadWrite))
        .collect();
    mounts.extend(record.host.tmpfs.iter().map(|tmpfs| Mount {
        kind: MountKind::Tmpfs {
            size: tmpfs.size,
            mode: tmpfs.mode,
        },
        target: tmpfs.target.clone(),
        access: tmpfs.access,
    }));
    mounts.extend(
        record
            .mounts
            .iter()
            .map(|m| bind(m.source.clone(), m.target.clone(), m.access)),
    );
    mounts.sort_by_key(|mount| mount.target.components().count());
    // What the user mounts takes the place of what every container has.
    let taken: Vec<&Path> = record
        .mounts
        .iter()
        .map(|mount| mount.target.as_path())
        .collect();
    let own = |mount: &Mount| matches!(&mount.kind, MountKind::Bind { source } if source.starts_with(files));
    mounts.retain(|mount| !(own(mount) && taken.contains(&mount.target.as_path())));
    mounts
}

fn bind(source: PathBuf, target: PathBuf, access: Access) -> Mount {
    Mount {
        kind: MountKind::Bind { source },
        target,
        access,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_options_are_read() {
        let check = |options: &[&str], expected: Option<(Seccomp, bool)>| {
            let options: Vec<String> = options.iter().map(|&text| text.to_owned()).collect();
            let read = security(&options)
                .ok()
                .map(|s| (s.seccomp, s.no_new_privileges));
            assert_eq!(read, expected, "{options:?}");
        };
        check(&[], Some((Seccomp::Default, false)));
        check(&["no-new-privileges"], Some((Seccomp::Default, true)));
        check(&["seccomp:unconfined"], Some((Seccomp::Unconfined, false)));
        check(&["seccomp=/a/profile.json"], None);
    }
}

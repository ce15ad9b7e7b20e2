//! Which devices a sandbox may open: docker's list. Making device nodes is allowed (the default
//! capabilities have `MKNOD`), opening others than these is not.

use super::hierarchy::Version;
use super::{Cgroup, write};
use crate::error::Error;

/// Version 1's words for the allowed devices: null, zero, full, random, urandom, tty, console,
/// ptmx, the terminals of devpts, and tun.
const ALLOWED: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

impl Cgroup {
    /// Refuses all devices but docker's list.
    pub(crate) fn restrict_devices(&self) -> Result<(), Error> {
        match self.with("devices") {
            Some(directory) if directory.hierarchy.version == Version::One => {
                write(&directory.path.join("devices.deny"), "a")?;
                let allow = directory.path.join("devices.allow");
                ALLOWED.iter().try_for_each(|device| write(&allow, device))
            }
            _ => Ok(()),
        }
    }
}

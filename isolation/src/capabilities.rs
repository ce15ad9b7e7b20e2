//! Capabilities by name, docker's default set, and giving up all others.

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{At, Error, Step};
use crate::spec::Capabilities;
use crate::sys;

/// The names of the capabilities, each at its number (capabilities(7)).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What docker gives a container.
const DEFAULT_NAMES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

impl Capabilities {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// All that this version knows; those the caller lacks are left out when they are set.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);
    /// Docker's default: 14 capabilities that stay within the sandbox.
    pub const DEFAULT: Self = Self(default_bits());

    /// Returns the set with one more capability, named as `NET_ADMIN` or `CAP_NET_ADMIN` in any
    /// case; `ALL` stands for all.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownCapability`] for any other name.
    pub fn with(self, name: &str) -> Result<Self, Error> {
        Ok(Self(self.0 | bits(name)?))
    }

    /// Returns the set with one capability less, named as for [`Self::with`].
    ///
    /// # Errors
    ///
    /// [`Error::UnknownCapability`] for any other name.
    pub fn without(self, name: &str) -> Result<Self, Error> {
        Ok(Self(self.0 & !bits(name)?))
    }

    /// Returns whether the capability of this number is in the set.
    pub(crate) fn contains(self, number: usize) -> bool {
        self.0 >> number & 1 == 1
    }
}

fn bits(name: &str) -> Result<u64, Error> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if short == "ALL" {
        return Ok(Capabilities::ALL.0);
    }
    match NAMES.iter().position(|known| *known == short) {
        Some(number) => Ok(1 << number),
        None => Err(Error::UnknownCapability {
            name: name.to_string(),
        }),
    }
}

/// Returns the number of a capability whose name is known to be right.
pub(crate) const fn number(name: &str) -> usize {
    let mut number = 0;
    while number < NAMES.len() {
        if same(NAMES[number], name) {
            return number;
        }
        number += 1;
    }
    panic!("no capability has this name")
}

const fn default_bits() -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < DEFAULT_NAMES.len() {
        bits |= 1 << number(DEFAULT_NAMES[index]);
        index += 1;
    }
    bits
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut index = 0;
    while index < one.len() && index < other.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    one.len() == other.len()
}

/// Removes all but the kept capabilities from the bounding set, so that no `execve` regains them.
pub(crate) fn bound(kept: Capabilities) -> Result<(), Error> {
    for number in 0..64 {
        if kept.contains(number) {
            continue;
        }
        match sys::drop_bounding_capability(number as u32) {
            // The kernel knows no capability of this number, nor any above it.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            dropped => dropped.at(Step::SetCapabilities)?,
        }
    }
    Ok(())
}

/// Gives up all but the kept capabilities: of root's, as many as are kept; of another user's, all.
///
/// None is inheritable or ambient: a program run by another user gains only what its file grants.
pub(crate) fn limit(kept: Capabilities, uid: u32) -> Result<(), Error> {
    let held = rustix::thread::capabilities(None).at(Step::SetCapabilities)?;
    let kept = if uid == 0 { kept } else { Capabilities::NONE };
    let kept = CapabilitySet::from_bits_retain(kept.0) & held.permitted;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).at(Step::SetCapabilities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_dockers() {
        assert_eq!(Capabilities::DEFAULT.0, 0xa804_25fb);
    }

    #[test]
    fn names_are_added_and_removed() {
        let check = |set: Result<Capabilities, Error>, expected: u64| {
            assert_eq!(set.expect("known name").0, expected);
        };
        check(Capabilities::NONE.with("NET_ADMIN"), 1 << 12);
        check(Capabilities::NONE.with("cap_net_admin"), 1 << 12);
        check(Capabilities::DEFAULT.without("ALL"), 0);
        check(Capabilities::NONE.with("ALL"), 0x1ff_ffff_ffff);
        check(Capabilities::DEFAULT.without("CAP_CHOWN"), 0xa804_25fa);
        let unknown = Capabilities::NONE.with("FLYING").expect_err("unknown name");
        assert_eq!(unknown.to_string(), "unknown capability \"FLYING\"");
    }
}

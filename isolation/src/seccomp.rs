//! Docker's default profile as a filter, installed.

use std::io;

use libc::c_long;

use crate::capabilities;
use crate::seccomp_filter::{self, Argument, Verdict};
use crate::seccomp_profile::{ALLOWED, ALLOWED_HERE, ALLOWED_NEW, CONDITIONAL, NEWEST};
use crate::spec::Capabilities;
use crate::sys;

const SYS_ADMIN: usize = capabilities::number("SYS_ADMIN");

/// The clone(2) flags that make namespaces.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u32;

/// The execution domains a program may choose (personality(2)): Linux, Linux without address
/// randomisation's exceptions, 32-bit `uname`, and the query.
const PERSONALITIES: &[u32] = &[0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The socket families that reach past the sandbox (`AF_VSOCK`) or into rarely tested kernel
/// code that containers do not need (`AF_ALG`).
const REFUSED_FAMILIES: &[u32] = &[libc::AF_VSOCK as u32, libc::AF_ALG as u32];

/// What is not in the profile.
const REFUSED: Verdict = Verdict::Refuse(libc::EPERM as u16);

/// What the profile does not know yet: programs fall back to what they used before.
const MISSING: Verdict = Verdict::Refuse(libc::ENOSYS as u16);

/// Installs the filter for a process that keeps these capabilities.
pub(crate) fn install(capabilities: Capabilities) -> io::Result<()> {
    sys::install_filter(&seccomp_filter::compile(&verdicts(capabilities), MISSING))
}

/// Returns the verdict of each call up to the newest that the profile knows.
fn verdicts(capabilities: Capabilities) -> Vec<Verdict> {
    let mut verdicts = vec![REFUSED; NEWEST as usize + 1];
    let mut set = |calls: &[c_long], verdict| {
        for call in calls {
            verdicts[*call as usize] = verdict;
        }
    };
    for calls in [ALLOWED, ALLOWED_HERE, ALLOWED_NEW] {
        set(calls, Verdict::Allow);
    }
    let condition = |argument| Verdict::When(argument);
    set(
        &[libc::SYS_personality],
        condition(Argument::OneOf(PERSONALITIES)),
    );
    set(
        &[libc::SYS_socket],
        condition(Argument::NoneOf(REFUSED_FAMILIES)),
    );
    set(
        &[libc::SYS_clone],
        condition(Argument::NoBits(NEW_NAMESPACES)),
    );
    if !capabilities.contains(SYS_ADMIN) {
        // Its flags lie in memory where no filter sees them: C libraries then use clone.
        set(&[libc::SYS_clone3], MISSING);
    }
    for conditional in CONDITIONAL {
        if capabilities.contains(capabilities::number(conditional.capability)) {
            set(conditional.calls, Verdict::Allow);
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp_filter::tests::check;

    #[test]
    fn a_capability_brings_its_calls() {
        let check = |set: Capabilities, call: c_long, expected: Verdict| {
            let verdict = verdicts(set)[call as usize];
            assert_eq!(verdict, expected, "call {call} with {set:?}");
        };
        let admin = Capabilities::NONE.with("SYS_ADMIN").expect("known name");
        let without_namespaces = Verdict::When(Argument::NoBits(NEW_NAMESPACES));
        check(Capabilities::DEFAULT, libc::SYS_mount, REFUSED);
        check(admin, libc::SYS_mount, Verdict::Allow);
        check(Capabilities::DEFAULT, libc::SYS_clone, without_namespaces);
        check(admin, libc::SYS_clone, Verdict::Allow);
        check(Capabilities::DEFAULT, libc::SYS_clone3, MISSING);
        check(admin, libc::SYS_clone3, Verdict::Allow);
        check(Capabilities::DEFAULT, libc::SYS_chroot, Verdict::Allow);
        check(Capabilities::NONE, libc::SYS_chroot, REFUSED);
        check(Capabilities::ALL, libc::SYS_kexec_load, REFUSED);
    }

    #[test]
    fn the_filter_says_what_the_profile_says() {
        for set in [Capabilities::DEFAULT, Capabilities::NONE, Capabilities::ALL] {
            let steps = check(&verdicts(set), MISSING);
            assert!(steps < 24, "{steps} steps");
            let program = seccomp_filter::compile(&verdicts(set), MISSING);
            assert!(program.len() < 500, "{} instructions", program.len());
        }
    }
}

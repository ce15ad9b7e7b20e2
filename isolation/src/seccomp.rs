//! Compiles docker's default profile to filters and installs them.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use crate::capabilities;
use crate::seccomp_profile::{ALLOWED, ALLOWED_HERE, ALLOWED_NEW, CONDITIONAL, NEWEST};
use crate::spec::Capabilities;
use crate::sys;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

const SYS_ADMIN: usize = capabilities::number("SYS_ADMIN");

/// The clone(2) flags that make namespaces.
const NEW_NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u64;

/// The execution domains a program may choose (personality(2)): Linux, Linux without address
/// randomisation's exceptions, 32-bit `uname`, and the query.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The socket families that reach past the sandbox (`AF_VSOCK`) or into rarely tested kernel
/// code that containers do not need (`AF_ALG`).
const REFUSED_FAMILIES: [u64; 2] = [libc::AF_VSOCK as u64, libc::AF_ALG as u64];

/// Installs the filters for a process that keeps these capabilities.
pub(crate) fn install(capabilities: Capabilities) -> io::Result<()> {
    // The first one installed must not refuse what installs the second: neither does.
    sys::install_filter(&missing_calls(capabilities))?;
    sys::install_filter(&compile(capabilities)?)
}

/// Makes the filter that refuses all but the profile's calls with EPERM.
fn compile(capabilities: Capabilities) -> io::Result<BpfProgram> {
    rules(capabilities)
        .and_then(|rules| {
            let refuse = SeccompAction::Errno(libc::EPERM as u32);
            SeccompFilter::new(rules, refuse, SeccompAction::Allow, ARCHITECTURE)
        })
        .and_then(BpfProgram::try_from)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Lists the allowed calls, each with the alternatives of conditions on its arguments; none means
/// always.
fn rules(capabilities: Capabilities) -> Result<Rules, seccompiler::BackendError> {
    let always = ALLOWED.iter().chain(ALLOWED_HERE).chain(ALLOWED_NEW);
    let mut rules: Rules = always.map(|call| (*call, Vec::new())).collect();
    let mut personalities = Vec::new();
    for value in PERSONALITIES {
        personalities.push(SeccompRule::new(vec![condition(SeccompCmpOp::Eq, value)?])?);
    }
    rules.insert(libc::SYS_personality, personalities);
    let families = REFUSED_FAMILIES
        .into_iter()
        .map(|family| condition(SeccompCmpOp::Ne, family));
    let families = families.collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(families)?]);
    let no_namespaces = condition(SeccompCmpOp::MaskedEq(NEW_NAMESPACES), 0)?;
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![no_namespaces])?],
    );
    for conditional in CONDITIONAL {
        if capabilities.contains(capabilities::number(conditional.capability)) {
            rules.extend(conditional.calls.iter().map(|call| (*call, Vec::new())));
        }
    }
    Ok(rules)
}

/// A condition on the first argument, which all calls with conditions take as a 32-bit integer.
fn condition(
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)
}

/// Makes the filter that answers ENOSYS to calls newer than the profile and, without
/// `CAP_SYS_ADMIN`, to clone3, whose flags lie in memory where no filter sees them: C libraries
/// then use clone.
fn missing_calls(capabilities: Capabilities) -> [sock_filter; 5] {
    let instruction = |code: u32, jt, jf, k| sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let refused = match capabilities.contains(SYS_ADMIN) {
        true => NEWEST + 1,
        false => libc::SYS_clone3 as u32,
    };
    let compare = libc::BPF_JMP | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    [
        // The number of the call is the first word of seccomp_data.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(compare | libc::BPF_JEQ, 2, 0, refused),
        instruction(compare | libc::BPF_JGT, 1, 0, NEWEST),
        instruction(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
        instruction(answer, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_brings_its_calls() {
        let check = |set: Capabilities, call: c_long, expected: Option<usize>| {
            let rules = rules(set).expect("valid conditions");
            assert_eq!(
                rules.get(&call).map(Vec::len),
                expected,
                "call {call} with {set:?}"
            );
        };
        let admin = Capabilities::NONE.with("SYS_ADMIN").expect("known name");
        check(Capabilities::DEFAULT, libc::SYS_mount, None);
        check(admin, libc::SYS_mount, Some(0));
        check(Capabilities::DEFAULT, libc::SYS_clone, Some(1));
        check(admin, libc::SYS_clone, Some(0));
        check(Capabilities::DEFAULT, libc::SYS_chroot, Some(0));
        check(Capabilities::NONE, libc::SYS_chroot, None);
        check(Capabilities::ALL, libc::SYS_kexec_load, None);
        check(Capabilities::NONE, libc::SYS_personality, Some(5));
    }

    #[test]
    fn the_program_fits_the_kernels_limit() {
        let program = compile(Capabilities::ALL).expect("valid profile");
        assert!(program.len() < 4096, "{} instructions", program.len()); // BPF_MAXINSNS
    }
}

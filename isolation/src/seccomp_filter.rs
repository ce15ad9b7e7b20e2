//! A filter program (classic BPF over `struct seccomp_data`, seccomp(2)) from a verdict per call.
//!
//! ```text
//! architecture? ─▶ number of the call ─▶ binary search over ranges of calls with one verdict
//!                                            ─▶ return, or a look at the first argument
//! ```
//!
//! When a filter is installed, the kernel runs it once for every number to learn which calls are
//! always allowed. A search over some sixty ranges takes a hundredth of what a comparison per call
//! takes there, and as much less at every call that it did not learn.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W,
    SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, sock_filter,
};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is made.
    Allow,
    /// It fails with this error number.
    Refuse(u16),
    /// It is made if its first argument, taken as 32 bits, fits; else it fails with EPERM.
    When(Argument),
}

/// A condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    /// It is one of these.
    OneOf(&'static [u32]),
    /// It is none of these.
    NoneOf(&'static [u32]),
    /// It has none of these bits.
    NoBits(u32),
}

impl Argument {
    /// Tells whether a value fits.
    #[cfg(test)]
    fn fits(self, value: u32) -> bool {
        match self {
            Self::OneOf(values) => values.contains(&value),
            Self::NoneOf(values) => !values.contains(&value),
            Self::NoBits(bits) => value & bits == 0,
        }
    }
}

/// Offsets in `struct seccomp_data`: the number, the architecture, the lower half of the first
/// argument on a little-endian machine.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// `AUDIT_ARCH_*` of this machine (linux/audit.h): the ELF machine number with the marks of a
/// 64-bit and of a little-endian architecture.
#[cfg(target_arch = "x86_64")]
const THIS_ARCHITECTURE: u32 = 62 | 0xc000_0000;
#[cfg(target_arch = "aarch64")]
const THIS_ARCHITECTURE: u32 = 183 | 0xc000_0000;

/// Calls with one verdict: from this number on, to the next range.
type Range = (u32, Verdict);

/// Compiles the verdict of each call, by number, and that of all higher numbers. A call by another
/// architecture's numbers kills the process.
pub(crate) fn compile(verdicts: &[Verdict], beyond: Verdict) -> Vec<sock_filter> {
    let mut ranges: Vec<Range> = Vec::new();
    for (number, verdict) in (0..).zip(verdicts.iter().chain([&beyond])) {
        if ranges.last().is_none_or(|(_, last)| last != verdict) {
            ranges.push((number, *verdict));
        }
    }
    let mut program = vec![
        load(ARCHITECTURE),
        jump(BPF_JEQ, THIS_ARCHITECTURE, 1, 0),
        answer(SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    program.extend(search(&ranges));
    program
}

/// Finds the range of the loaded number: the lower half follows its comparison, the upper half
/// comes after that.
fn search(ranges: &[Range]) -> Vec<sock_filter> {
    let middle = ranges.len() / 2;
    if middle == 0 {
        return ranges
            .first()
            .map_or_else(Vec::new, |(_, verdict)| leaf(*verdict));
    }
    let (lower, upper) = (search(&ranges[..middle]), search(&ranges[middle..]));
    let from = ranges[middle].0;
    let mut program = match u8::try_from(lower.len()) {
        Ok(length) => vec![jump(BPF_JGE, from, length, 0)],
        // Conditional jumps reach 255 instructions.
        Err(_) => vec![
            jump(BPF_JGE, from, 0, 1),
            instruction(BPF_JMP | BPF_JA, 0, 0, lower.len() as u32),
        ],
    };
    program.extend(lower);
    program.extend(upper);
    program
}

fn leaf(verdict: Verdict) -> Vec<sock_filter> {
    match verdict {
        Verdict::Allow => vec![answer(SECCOMP_RET_ALLOW)],
        Verdict::Refuse(error) => vec![refuse(error)],
        Verdict::When(argument) => {
            let mut program = vec![load(FIRST_ARGUMENT)];
            program.extend(test(argument));
            program
        }
    }
}

/// Tests the loaded argument.
fn test(argument: Argument) -> Vec<sock_filter> {
    let (found, missed) = (answer(SECCOMP_RET_ALLOW), refuse(libc::EPERM as u16));
    match argument {
        Argument::OneOf(values) => one_of(values, found, missed),
        Argument::NoneOf(values) => one_of(values, missed, found),
        Argument::NoBits(bits) => {
            let mut program = vec![instruction(BPF_ALU | BPF_AND | BPF_K, 0, 0, bits)];
            program.extend(one_of(&[0], found, missed));
            program
        }
    }
}

/// Compares with each value in turn: `found` comes last, `missed` right before it.
fn one_of(values: &[u32], found: sock_filter, missed: sock_filter) -> Vec<sock_filter> {
    let comparisons = (1..=values.len())
        .rev()
        .zip(values)
        .map(|(distance, value)| jump(BPF_JEQ, *value, distance as u8, 0));
    comparisons.chain([missed, found]).collect()
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

fn jump(kind: u32, value: u32, if_true: u8, if_false: u8) -> sock_filter {
    instruction(BPF_JMP | kind | BPF_K, if_true, if_false, value)
}

fn answer(value: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, value)
}

fn refuse(error: u16) -> sock_filter {
    answer(SECCOMP_RET_ERRNO | u32::from(error))
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs a program as the kernel does; returns the action and its number of steps.
    fn run(program: &[sock_filter], architecture: u32, number: u32, argument: u32) -> (u32, usize) {
        let (mut at, mut value) = (0, 0);
        for steps in 1.. {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let branch = |taken: bool| usize::from(if taken { jt } else { jf });
            match u32::from(code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    value = match k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        FIRST_ARGUMENT => argument,
                        other => panic!("no field at {other}"),
                    };
                }
                code if code == BPF_JMP | BPF_JEQ | BPF_K => at += branch(value == k),
                code if code == BPF_JMP | BPF_JGE | BPF_K => at += branch(value >= k),
                code if code == BPF_JMP | BPF_JA => at += k as usize,
                code if code == BPF_ALU | BPF_AND | BPF_K => value &= k,
                code if code == BPF_RET | BPF_K => return (k, steps),
                other => panic!("no instruction {other:#x}"),
            }
        }
        unreachable!("a program ends")
    }

    /// Checks the program of some verdicts at every number, with every argument that a condition
    /// names and its neighbours; returns the most steps that a call took.
    pub(crate) fn check(verdicts: &[Verdict], beyond: Verdict) -> usize {
        let program = compile(verdicts, beyond);
        let mut longest = 0;
        let numbers = (0..).zip(verdicts.iter().chain([&beyond; 3]));
        for (number, verdict) in numbers.chain([(u32::MAX, &beyond)]) {
            for argument in arguments(*verdict) {
                let expected = match verdict {
                    Verdict::Allow => SECCOMP_RET_ALLOW,
                    Verdict::Refuse(error) => SECCOMP_RET_ERRNO | u32::from(*error),
                    Verdict::When(condition) if condition.fits(argument) => SECCOMP_RET_ALLOW,
                    Verdict::When(_) => SECCOMP_RET_ERRNO | libc::EPERM as u32,
                };
                let (action, steps) = run(&program, THIS_ARCHITECTURE, number, argument);
                assert_eq!(action, expected, "call {number} with {argument:#x}");
                longest = longest.max(steps);
            }
        }
        let foreign = run(&program, 40, 0, 0).0;
        assert_eq!(foreign, SECCOMP_RET_KILL_PROCESS);
        longest
    }

    fn arguments(verdict: Verdict) -> Vec<u32> {
        let around = |value: u32| [value.wrapping_sub(1), value, value.wrapping_add(1)];
        match verdict {
            Verdict::When(Argument::OneOf(values) | Argument::NoneOf(values)) => {
                values.iter().flat_map(|value| around(*value)).collect()
            }
            Verdict::When(Argument::NoBits(bits)) => {
                let one = (0..32).map(|bit| 1 << bit);
                one.chain([0, bits, !bits]).collect()
            }
            _ => vec![0, u32::MAX],
        }
    }

    #[test]
    fn every_call_gets_its_verdict() {
        let conditional = Verdict::When(Argument::OneOf(&[0, 8, 0xffff_ffff]));
        let shapes = [
            vec![],
            vec![Verdict::Allow],
            vec![Verdict::Allow, Verdict::Refuse(1), conditional],
            vec![
                conditional,
                Verdict::When(Argument::NoneOf(&[3, 4])),
                Verdict::Allow,
            ],
            vec![Verdict::When(Argument::NoBits(0x60)), Verdict::Refuse(38)],
        ];
        for shape in shapes {
            check(&shape, Verdict::Refuse(38));
        }
    }

    #[test]
    fn jumps_reach_over_long_halves() {
        // Each call differs from its neighbours: as many ranges as calls.
        let verdicts: Vec<_> = (0..1000)
            .map(|number| Verdict::Refuse(number % 7))
            .collect();
        let steps = check(&verdicts, Verdict::Allow);
        assert!(steps < 30, "{steps} steps");
    }
}

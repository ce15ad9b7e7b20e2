//! Sandboxes on the real kernel. Needs root and a static busybox; says so where they are missing.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a test program"
)]

mod death;
mod filesystem;
mod fixture;
mod lane;
mod lifecycle;
mod network;
mod resources;
mod rights;
mod terminal;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// A test: returns why it was skipped, or panics when it fails.
type Test = (&'static str, fn() -> Result<(), Skip>);

/// Why a test cannot run here.
struct Skip(String);

fn main() -> ExitCode {
    mica_isolation::run_child_if_requested();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, directory] = arguments.as_slice()
        && mode == death::HOLD
    {
        death::hold(directory.as_ref());
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let tests = [
        lifecycle::TESTS,
        filesystem::TESTS,
        rights::TESTS,
        resources::TESTS,
        terminal::TESTS,
        network::TESTS,
        lane::TESTS,
        death::TESTS,
    ];
    let mut counts = [0; 3];
    for (name, test) in tests.into_iter().flatten() {
        if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            counts[run(name, *test)] += 1;
        }
    }
    let [passed, failed, skipped] = counts;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs a test and returns the index of its outcome: passed, failed, skipped.
fn run(name: &str, test: fn() -> Result<(), Skip>) -> usize {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        fixture::require().and_then(|()| test())
    }));
    match outcome {
        Ok(Ok(())) => {
            println!("test {name} ... ok");
            0
        }
        Err(_) => {
            println!("test {name} ... FAILED");
            1
        }
        Ok(Err(Skip(reason))) => {
            eprintln!("skipped: {name}: {reason}");
            println!("test {name} ... skipped");
            2
        }
    }
}

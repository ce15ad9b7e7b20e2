//! A small test runner that can say "skipped" with a reason.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// One test.
#[derive(Debug)]
pub struct Test {
    /// `module::name`.
    pub name: &'static str,
    /// The body; it panics to fail.
    pub body: fn() -> Outcome,
}

/// How a test that did not fail ended.
pub type Outcome = Result<(), Skip>;

/// Why a test cannot run on this machine.
#[derive(Debug)]
pub struct Skip(pub String);

enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// Runs the tests whose name holds one of the words of the command line, two at a time, prints
/// the counts, and returns the exit code.
#[expect(clippy::print_stdout, reason = "a test runner's output is its purpose")]
pub fn run_tests(tests: &[Test]) -> i32 {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted =
        |test: &&Test| words.is_empty() || words.iter().any(|w| test.name.contains(w.as_str()));
    let chosen: Vec<&Test> = tests.iter().filter(wanted).collect();
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(test) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = run_test(test);
                    verdicts
                        .lock()
                        .expect("no test panics while it is locked")
                        .push(verdict);
                }
            });
        }
    });
    let verdicts = verdicts
        .into_inner()
        .expect("no test panics while it is locked");
    let count = |f: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| f(verdict)).count();
    let failed = count(|verdict| matches!(verdict, Verdict::Failed));
    println!(
        "{} passed, {failed} failed, {} skipped",
        count(|verdict| matches!(verdict, Verdict::Passed)),
        count(|verdict| matches!(verdict, Verdict::Skipped)),
    );
    i32::from(failed > 0)
}

#[expect(clippy::print_stdout, reason = "a test runner's output is its purpose")]
fn run_test(test: &Test) -> Verdict {
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(test.body));
    let seconds = start.elapsed().as_secs_f64();
    match result {
        Ok(Ok(())) => {
            println!("test {} ... ok ({seconds:.1} s)", test.name);
            Verdict::Passed
        }
        Ok(Err(Skip(reason))) => {
            println!("skipped: {}: {reason}", test.name);
            Verdict::Skipped
        }
        Err(_) => {
            println!("test {} ... FAILED ({seconds:.1} s)", test.name);
            Verdict::Failed
        }
    }
}

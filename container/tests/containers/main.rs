//! Containers of a busybox image on the real kernel. Needs root and a static busybox.

mod begin_and_end;
mod crash;
mod images;
mod limits;
mod networks;
mod processes;
mod streams;
mod volumes;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

/// One test: its name and what it does in a world of its own store and run root.
type Test = (&'static str, fn(&World));

fn main() {
    networks::serve_echo_if_requested();
    mica_isolation::run_child_if_requested();
    mica_container::run_monitor_if_requested();
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    if let Some(reason) = world::missing() {
        report(&format!("skipped: containers: {reason}"));
        return;
    }
    let tests = [
        begin_and_end::TESTS,
        streams::TESTS,
        processes::TESTS,
        images::TESTS,
        volumes::TESTS,
        networks::TESTS,
        limits::TESTS,
        crash::TESTS,
    ];
    let tests = tests.into_iter().flatten().filter(|(name, _)| {
        wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()))
    });
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests {
        match run(*test) {
            Ok(()) => {
                report(&format!("test {name} ... ok"));
                passed += 1;
            }
            Err(()) => {
                report(&format!("test {name} ... FAILED"));
                failed += 1;
            }
        }
    }
    report(&format!("test result: {passed} passed; {failed} failed"));
    std::process::exit(i32::from(failed > 0));
}

fn run(test: fn(&World)) -> Result<(), ()> {
    catch_unwind(AssertUnwindSafe(|| {
        let world = World::new();
        test(&world);
        world.close();
    }))
    .map_err(drop)
}

#[expect(
    clippy::print_stderr,
    reason = "a test binary without the standard harness"
)]
fn report(line: &str) {
    eprintln!("{line}");
}

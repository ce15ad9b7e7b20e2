//! Eight processes at a time on one store: they build, load, pull, tag, remove, prune and check.
//! `MICA_TEST_SOAK_SECONDS` makes it longer.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mica_tests::{Machine, Outcome, Registry};

/// How long it goes on when nothing is said.
const SECONDS: u64 = 5;

/// What one of the processes does in a round.
type Work = fn(&Shared<'_>, usize, usize);

/// What all of them work on.
struct Shared<'m> {
    machine: &'m Machine,
    pulled: String,
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

pub(crate) fn eight_at_once() -> Outcome {
    let registry = Registry::open()?;
    let seconds = std::env::var("MICA_TEST_SOAK_SECONDS").ok();
    let seconds = seconds
        .and_then(|text| text.parse().ok())
        .unwrap_or(SECONDS);
    let machine = Machine::new();
    let dockerfile = "FROM scratch\nCOPY a /a\nCOPY b /b\n";
    machine.build("kept:1", dockerfile, &[("a", "first"), ("b", "second")]);
    let pulled = format!("{}/pulled:1", registry.address);
    machine.ok(["tag", "kept:1", &pulled]);
    machine.ok(["push", "-q", &pulled]);
    for worker in [3, 4] {
        let name = format!("loaded{worker}:1");
        machine.build(
            &name,
            "FROM scratch\nCOPY c /c\n",
            &[("c", &format!("{worker}"))],
        );
        machine.ok([
            "save",
            "-o",
            text(&machine.path(&format!("{worker}.tar"))),
            &name,
        ]);
    }
    let shared = Shared {
        machine: &machine,
        pulled,
    };
    let works: [Work; 8] = [build, build, build, load, load, pull, tag, clean];
    let end = Instant::now() + Duration::from_secs(seconds);
    let rounds = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (worker, work) in works.into_iter().enumerate() {
            let (shared, rounds) = (&shared, &rounds);
            scope.spawn(move || {
                for round in 0.. {
                    if Instant::now() > end {
                        return;
                    }
                    work(shared, worker, round);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(rounds.load(Ordering::Relaxed) >= 8, "everybody came round");
    machine.ok(["system", "prune", "-f"]);
    let checked = machine.ok(["system", "check", "--full"]);
    assert!(checked.ends_with("the store is whole"), "{checked}");
    holds(&machine, "kept:1", "b", "second");
    Ok(())
}

/// The image has a file with that content.
fn holds(machine: &Machine, image: &str, file: &str, content: &str) {
    let out = machine.path(&format!("out-{}", image.replace([':', '/', '.'], "-")));
    machine.ok(["image", "unpack", image, text(&out)]);
    let found = fs::read_to_string(out.join(file)).expect("it was unpacked");
    assert_eq!(found, content, "{image}");
    fs::remove_dir_all(out).expect("the directory is ours");
}

fn build(shared: &Shared<'_>, worker: usize, round: usize) {
    let (name, content) = (format!("built{worker}:1"), format!("{worker} {round}"));
    let dockerfile = "FROM kept:1\nCOPY c /c\nCOPY d /d\n";
    shared
        .machine
        .build(&name, dockerfile, &[("c", &content), ("d", "same")]);
    holds(shared.machine, &name, "c", &content);
    if round % 2 == 1 {
        shared.machine.ok(["rmi", &name]);
    }
}

fn load(shared: &Shared<'_>, worker: usize, _round: usize) {
    let (name, archive) = (format!("loaded{worker}:1"), format!("{worker}.tar"));
    shared
        .machine
        .ok(["load", "-q", "-i", text(&shared.machine.path(&archive))]);
    holds(shared.machine, &name, "c", &worker.to_string());
    shared.machine.ok(["rmi", &name]);
}

fn pull(shared: &Shared<'_>, _worker: usize, _round: usize) {
    shared.machine.ok(["pull", "-q", &shared.pulled]);
    holds(shared.machine, &shared.pulled, "a", "first");
    shared.machine.ok(["rmi", &shared.pulled]);
}

fn tag(shared: &Shared<'_>, _worker: usize, round: usize) {
    let name = format!("tagged:{}", round % 3);
    shared.machine.ok(["tag", "kept:1", &name]);
    holds(shared.machine, &name, "a", "first");
    shared.machine.ok(["rmi", &name]);
}

fn clean(shared: &Shared<'_>, _worker: usize, round: usize) {
    let arguments: &[&str] = match round % 4 {
        0 => &["system", "prune", "-f"],
        1 => &["system", "check"],
        2 => &["image", "prune", "-f"],
        _ => &["system", "df", "-v"],
    };
    shared.machine.ok(arguments);
}

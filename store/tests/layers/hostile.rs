//! The pack of hostile and odd layers, where it lies beside the checkout.

use std::env;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use mica_store::{Limits, apply_onto};

use crate::{is_root, skipped};

const RUNNER: &str = "../../shared/conformance/run_tar.py";

#[test]
fn the_pack_of_hostile_layers_passes() {
    let test = "the_pack_of_hostile_layers_passes";
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join(RUNNER);
    if !is_root(test) {
        return;
    }
    let python = Command::new("python3")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !runner.exists() || !python.is_ok_and(|status| status.success()) {
        skipped(
            test,
            "needs python3 and shared/conformance beside the checkout",
        );
        return;
    }
    // The runner makes and removes files at fixed places: one at a time.
    let lock = File::open(&runner).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let program = env::current_exe().unwrap();
    let command = format!(
        "BASE={{base}} LAYER={{layer}} OUT={{outdir}} '{}' --ignored --exact hostile::as_a_command",
        program.display()
    );
    let output = Command::new("python3")
        .arg(runner)
        .arg("--apply")
        .arg(command)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains(" 0 failed"), "{text}");
}

/// What the runner starts: it applies two layers and ends.
#[test]
#[ignore = "not a test of its own"]
fn as_a_command() {
    let (Some(base), Some(layer), Some(out)) = (
        env::var_os("BASE"),
        env::var_os("LAYER"),
        env::var_os("OUT"),
    ) else {
        return; // started by --include-ignored
    };
    let limits = Limits::default();
    let apply = |tar| apply_onto(Path::new(&out), File::open(tar).unwrap(), &limits);
    let applied = apply(base).and_then(|_| apply(layer));
    // A failed test's own exit status would be taken for a crash.
    std::process::exit(i32::from(applied.is_err()));
}

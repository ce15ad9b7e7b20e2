//! The conformance packs, where they are beside the checkout.

use std::path::{Path, PathBuf};
use std::process::Command;

use mica_tests::{Machine, Outcome, Skip, mica, needs, repository, run};

fn pack() -> Result<PathBuf, Skip> {
    needs(&["python3", "busybox"])?;
    let path = repository().join("../shared/conformance");
    if path.is_dir() {
        Ok(path)
    } else {
        Err(Skip("../shared/conformance is not there".into()))
    }
}

/// Makes the packs' base images and loads them; returns where they are.
fn load_bases(machine: &Machine, pack: &Path) -> PathBuf {
    let bases = machine.path("bases");
    run(Command::new("python3")
        .arg(pack.join("base/mkbase.py"))
        .arg(&bases))
    .ok();
    for base in ["busybox.tar", "alpine.tar"] {
        machine.ok([
            "load",
            "-q",
            "-i",
            bases.join(base).to_str().expect("UTF-8"),
        ]);
    }
    machine.ok(["tag", "busybox:latest", "busybox:stable-musl"]);
    bases
}

/// BuildKit's lint suite, recorded: rules, messages, places, errors and exit codes.
pub(crate) fn lint() -> Outcome {
    let pack = pack()?;
    let machine = Machine::new();
    load_bases(&machine, &pack);
    let check = format!(
        "{} --root {} --runroot {} build --call=check,format=json -f {{dockerfile}} {{flags}} {{context}}",
        mica().display(),
        machine.root().display(),
        machine.path("run").display(),
    );
    let mut runner = Command::new("python3");
    runner
        .arg(pack.join("run_lint.py"))
        .args(["--strict", "--check", &check])
        .env("HOME", machine.path("home"));
    let finished = run(&mut runner);
    #[expect(clippy::print_stdout, reason = "the pack's own counts")]
    {
        let counts = finished.stdout.lines().last().unwrap_or_default();
        println!("conformance lint: {counts}");
    }
    finished.ok();
    Ok(())
}

/// BuildKit's integration suite, recorded. `tests/conformance-exceptions.txt` names the cases that are
/// held to be wrong; every other case has to pass.
pub(crate) fn dockerfile() -> Outcome {
    let pack = pack()?;
    let machine = Machine::new();
    let bases = load_bases(&machine, &pack);
    let left_out = repository().join("tests/conformance-exceptions.txt");
    let build = format!(
        "{} --root {} --runroot {} build -q -f {{dockerfile}} {{flags}} --output type=oci,dest={{oci}} {{context}}",
        mica().display(),
        machine.root().display(),
        machine.path("run").display(),
    );
    let mut runner = Command::new("python3");
    runner
        .arg(pack.join("run_dockerfile.py"))
        .args(["--build", &build, "--jobs", "2"]);
    runner
        .arg("--bases")
        .arg(&bases)
        .arg("--exceptions")
        .arg(&left_out);
    let finished = run(runner.env("HOME", machine.path("home")));
    #[expect(clippy::print_stdout, reason = "the pack's own counts")]
    {
        println!(
            "conformance dockerfile: {}",
            finished.stdout.lines().last().unwrap_or_default()
        );
    }
    finished.ok();
    Ok(())
}

/// 150 hostile and odd layers, and the big ones that a script makes; without exceptions.
pub(crate) fn tar() -> Outcome {
    let pack = pack()?;
    let machine = Machine::new();
    let big = machine.path("big");
    let make = |script: &str| {
        let mut command = Command::new("python3");
        command.arg(pack.join(script));
        command
    };
    run(make("gen_big.py").arg(&big)).ok();
    let unpack = format!(
        "{} --root {} image unpack --layer {{base}} --layer {{layer}} {{outdir}}",
        mica().display(),
        machine.root().display(),
    );
    // The runner makes and removes files at fixed places: one run at a time on a machine.
    let lock = std::fs::File::open(pack.join("run_tar.py")).expect("the pack has it");
    lock.lock().expect("a file can be locked");
    for cases in [None, Some(&big)] {
        let mut runner = make("run_tar.py");
        runner
            .args(["--apply", &unpack])
            .env("HOME", machine.path("home"));
        if let Some(cases) = cases {
            runner.arg("--cases").arg(cases);
        }
        let finished = run(&mut runner);
        #[expect(clippy::print_stdout, reason = "the pack's own counts")]
        {
            let name = if cases.is_some() { "tar, big" } else { "tar" };
            let counts = finished.stdout.lines().last().unwrap_or_default();
            println!("conformance {name}: {counts}");
        }
        finished.ok();
    }
    Ok(())
}

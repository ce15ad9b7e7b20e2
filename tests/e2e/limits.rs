//! Limits that hold.

use mica_tests::{Machine, Outcome};

pub(crate) fn memory() -> Outcome {
    let machine = Machine::with_busybox();
    let eat = "x=a; while :; do x=$x$x; done";
    let id = machine.mica([
        "run", "-m", "32m", "--name", "eater", "busybox", "sh", "-c", eat,
    ]);
    id.fails(137, &[]);
    assert_eq!(
        machine.ok([
            "inspect",
            "--format",
            "{{.State.OOMKilled}} {{.State.ExitCode}} {{.HostConfig.Memory}}",
            "eater"
        ]),
        "true 137 33554432"
    );
    Ok(())
}

pub(crate) fn processes() -> Outcome {
    let machine = Machine::with_busybox();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done; wait";
    let run = machine.mica([
        "run",
        "--rm",
        "--pids-limit",
        "8",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    assert_ne!(run.code, 0, "{run}");
    assert!(run.stderr.contains("fork"), "{run}");
    Ok(())
}

/// Half a CPU: half a second of work takes at least 0.8 s, whatever else the machine does.
pub(crate) fn cpu() -> Outcome {
    let machine = Machine::with_busybox();
    let script = "t0=$(cut -d' ' -f1 /proc/uptime); i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; \
        read u s _ < /proc/self/stat; cut -d' ' -f14,15 /proc/$$/stat; echo $t0 $(cut -d' ' -f1 /proc/uptime)";
    let out = machine.ok([
        "run", "--rm", "--cpus", "0.5", "busybox", "sh", "-c", script,
    ]);
    let numbers: Vec<f64> = out
        .split_whitespace()
        .map(|word| word.parse().expect("a number"))
        .collect();
    let (cpu, wall) = ((numbers[0] + numbers[1]) / 100.0, numbers[3] - numbers[2]);
    assert!(wall >= cpu * 1.6 - 0.2, "{cpu} s of CPU in {wall} s");
    Ok(())
}

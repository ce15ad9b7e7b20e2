//! Killed in the middle: the store stays whole and the next try succeeds.

use std::process::{Child, Stdio};
use std::time::Duration;

use mica_tests::{Machine, Outcome, Registry};

/// A small generator of delays: the same sequence in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Kills a process after a random time; returns whether it was still running.
fn kill_after(mut child: Child, random: &mut Random, limit: Duration) -> bool {
    let delay =
        Duration::from_micros(random.below(u64::try_from(limit.as_micros()).expect("short")));
    std::thread::park_timeout(delay);
    let running = child.try_wait().expect("it is ours").is_none();
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    running
}

/// Every tag resolves to complete content: each image can be exported whole.
fn check(machine: &Machine) {
    for name in machine.ok(["images", "-aq", "--no-trunc"]).lines() {
        machine.ok(["save", "-o", "/dev/null", name]);
    }
    let left = machine.settled_leftovers();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

pub(crate) fn builds() -> Outcome {
    let machine = Machine::with_busybox();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let dockerfile = "FROM busybox\nARG N\nCOPY data /data\nRUN for i in 1 2 3 4 5; do cp /data /copy$i; done; echo $N > /n\nRUN sleep 0.02; rm /copy1\n";
    let data = "x".repeat(1 << 20);
    let context = machine.context("c", &[("Dockerfile", dockerfile), ("data", &data)]);
    let context = context.to_str().expect("UTF-8");
    let build = |round: u32| {
        let argument = format!("N={round}");
        let mut command = machine.command([
            "build",
            "-q",
            "-t",
            "victim",
            "--build-arg",
            &argument,
            context,
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let mut killed = 0;
    for round in 0..40 {
        let child = build(round).spawn().expect("it starts");
        killed += u32::from(kill_after(child, &mut random, Duration::from_millis(120)));
        check(&machine);
        if round % 10 == 9 {
            assert!(build(round).status().expect("it starts").success());
            assert_eq!(
                machine.ok(["run", "--rm", "victim", "cat", "/n"]),
                round.to_string()
            );
        }
    }
    assert!(
        killed >= 20,
        "only {killed} of 40 builds were killed while they ran"
    );
    Ok(())
}

pub(crate) fn pulls_and_pushes() -> Outcome {
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let name = format!("{}/victim:v1", registry.address);
    machine.build(&name, "FROM busybox\nRUN head -c 8000000 /dev/urandom > /a\nRUN head -c 8000000 /dev/urandom > /b\n", &[]);
    let quietly = |machine: &Machine, verb: &str| {
        let mut command = machine.command([verb, "-q", &name]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    for _ in 0..15 {
        kill_after(
            quietly(&machine, "push").spawn().expect("it starts"),
            &mut random,
            Duration::from_millis(400),
        );
        check(&machine);
    }
    machine.ok(["push", "-q", &name]);
    let other = Machine::new();
    for round in 0..15 {
        kill_after(
            quietly(&other, "pull").spawn().expect("it starts"),
            &mut random,
            Duration::from_millis(250),
        );
        check(&other);
        if round % 5 == 4 {
            other.ok(["pull", "-q", &name]);
            assert_eq!(other.ok(["run", "--rm", &name, "ls", "/a", "/b"]), "/a\n/b");
            other.ok(["rmi", &name]);
        }
    }
    Ok(())
}

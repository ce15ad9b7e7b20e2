//! Killed in the middle: the store stays whole and the next try succeeds.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mica_tests::{Machine, Outcome, Registry};

/// How many commands must have been killed while they ran: builds, pushes and pulls.
const BUILDS: u32 = 30;
const PUSHES: u32 = 12;
const PULLS: u32 = 12;

/// How many commands may end before their signal comes, for each that is killed.
const PATIENCE: u32 = 6;

/// A small generator of delays: the same sequence in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: Duration) -> Duration {
        let limit = u64::try_from(limit.as_nanos()).expect("commands take no centuries");
        Duration::from_nanos(self.next() % limit.max(1))
    }
}

pub(crate) fn quiet(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Runs a command to its end; returns how long that takes.
fn whole(mut command: Command) -> Duration {
    let start = Instant::now();
    assert!(
        command.status().expect("it starts").success(),
        "{command:?}"
    );
    start.elapsed()
}

/// Kills a command at a random moment of its life; returns whether it was still running.
pub(crate) fn killed(mut command: Command, random: &mut Random, life: Duration) -> bool {
    let mut child = command.spawn().expect("it starts");
    let (start, delay) = (Instant::now(), random.below(life));
    while start.elapsed() < delay {
        std::thread::park_timeout(delay.saturating_sub(start.elapsed()));
    }
    let running = child.try_wait().expect("it is ours").is_none();
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    running
}

/// Makes and kills commands until `wanted` of them died; `after` looks at what each left.
fn kill_until(
    wanted: u32,
    life: Duration,
    random: &mut Random,
    make: impl Fn(u32) -> Command,
    mut after: impl FnMut(u32),
) {
    let mut dead = 0;
    for round in 0..wanted * PATIENCE {
        dead += u32::from(killed(quiet(make(round)), random, life));
        after(round);
        if dead == wanted {
            return;
        }
    }
    panic!(
        "only {dead} of {} commands were killed while they ran",
        wanted * PATIENCE
    );
}

/// Every tag resolves to complete content: each image can be exported whole. Nothing else is left.
fn check(machine: &Machine) {
    for id in machine.ok(["images", "-aq", "--no-trunc"]).lines() {
        machine.ok(["save", "-o", "/dev/null", id]);
    }
    let left = machine.settled_leftovers();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

pub(crate) fn builds() -> Outcome {
    let machine = Machine::with_busybox();
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let dockerfile = "FROM busybox\nARG N\nCOPY data /data\n\
        RUN for i in 1 2 3 4 5; do cp /data /copy$i; done; echo $N > /n\nRUN rm /copy1\n";
    let data = "x".repeat(1 << 20);
    let context = machine.context("c", &[("Dockerfile", dockerfile), ("data", &data)]);
    let context = context.to_str().expect("UTF-8");
    let build = |round: u32| {
        let argument = format!("N={round}");
        machine.command([
            "build",
            "-q",
            "-t",
            "victim",
            "--build-arg",
            &argument,
            context,
        ])
    };
    let life = whole(quiet(build(1_000_000)));
    kill_until(BUILDS, life, &mut random, build, |round| {
        check(&machine);
        if round % 10 == 9 {
            whole(quiet(build(round)));
            assert_eq!(
                machine.ok(["run", "--rm", "victim", "cat", "/n"]),
                round.to_string()
            );
        }
    });
    Ok(())
}

pub(crate) fn pulls_and_pushes() -> Outcome {
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let mut random = Random::new(0x2545_f491_4f6c_dd1d);
    let name = format!("{}/victim:v1", registry.address);
    let random_layer = |file: &str| format!("RUN head -c 6000000 /dev/urandom > /{file}\n");
    let dockerfile = format!("FROM busybox\n{}{}", random_layer("a"), random_layer("b"));
    machine.build(&name, &dockerfile, &[]);
    // Each push goes to a repository of its own, so that none finds the blobs of the one before;
    // all but the first mount them from there.
    let target = |round: u32| format!("{}/victim{round}:v1", registry.address);
    let push = |round: u32| {
        machine.ok(["tag", &name, &target(round)]);
        machine.command(["push", "-q", &target(round)])
    };
    whole(quiet(push(1_000_000)));
    let life = whole(quiet(push(1_000_001)));
    kill_until(PUSHES, life, &mut random, push, |round| {
        check(&machine);
        whole(quiet(push(round)));
    });
    machine.ok(["push", "-q", &name]);
    let other = Machine::new();
    let pull = |_| other.command(["pull", "-q", &name]);
    let life = whole(quiet(pull(0)));
    other.ok(["rmi", &name]);
    kill_until(PULLS, life, &mut random, pull, |_| {
        check(&other);
        whole(quiet(pull(0)));
        assert_eq!(other.ok(["run", "--rm", &name, "ls", "/a", "/b"]), "/a\n/b");
        other.ok(["rmi", &name]);
    });
    Ok(())
}

//! Builds that are killed or run out of space at random moments: the next one is as if nothing was.
//!
//! `MICA_FAULTS` is how many times as many faults there are; 1 by default.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use mica_tests::{Finished, Machine, Outcome, run};

use crate::kill::{Random, killed, quiet};

/// Builds that are killed while they run.
const KILLS: u32 = 70;

/// Builds that find the disk full.
const FULL_DISKS: u32 = 30;

/// How many builds may end before their fault, for each that does not.
const PATIENCE: u32 = 6;

/// Four stages side by side. Everything in them has a time of its own, so that the image is the
/// same wherever and whenever it is built.
fn dockerfile() -> String {
    let stage = |name: &str| {
        format!(
            "FROM busybox AS {name}\nCOPY data /data\n\
             RUN --mount=type=secret,id=token set -e; test -s /run/secrets/token; \
             mkdir /{name}; for i in 1 2 3; do cat /data /data > /{name}/$i; done; rm -r /{name}/2; \
             find /{name} -exec touch -d @1000 {{}} +\n\
             RUN set -e; cat /{name}/1 /data > /{name}/sum; touch -d @1000 /{name}/sum /{name}\n"
        )
    };
    let names = ["a", "b", "c"];
    let copies = names.map(|name| {
        format!(
            "COPY --from={name} /{name}/3 /{name}\nCOPY --from={name} /{name}/sum /{name}-sum\n"
        )
    });
    format!(
        "{}FROM busybox\n{}RUN set -e; cat /a /b-sum > /all; touch -d @1000 /all; rm /c\n",
        names.map(stage).concat(),
        copies.concat()
    )
}

/// A context, a secret that nobody may find, and the image that a build of it gives.
struct Victim {
    machine: Machine,
    token: String,
    image: String,
}

impl Victim {
    fn new() -> Self {
        let machine = Machine::with_busybox();
        let data = "0123456789abcdef".repeat(1 << 13);
        let context = machine.context("c", &[("Dockerfile", &dockerfile()), ("data", &data)]);
        let epoch = Command::new("touch")
            .args(["-d", "@1000"])
            .arg(context.join("data"))
            .status();
        assert!(epoch.expect("touch is there").success());
        let token = random_token();
        fs::write(machine.path("token"), &token).expect("the directory is ours");
        let mut victim = Self {
            machine,
            token,
            image: String::new(),
        };
        // What a store that never saw a fault gives.
        let other = Machine::with_busybox();
        run(&mut victim.build(&other)).ok();
        victim.image = layers(&other);
        victim
    }

    /// A build of the victim's context on some machine.
    fn build(&self, machine: &Machine) -> Command {
        let secret = format!("id=token,src={}", self.machine.path("token").display());
        let mut command = machine.command(["build", "--progress", "plain", "-t", "victim"]);
        command
            .arg("--secret")
            .arg(secret)
            .arg(self.machine.path("c"))
            .env("SOURCE_DATE_EPOCH", "1000");
        command
    }

    /// Builds to the end, which must give what a clean build gives.
    fn recover(&self, machine: &Machine, what: &str) {
        let built = run(&mut self.build(machine));
        assert_eq!(built.code, 0, "{what}: {built}");
        assert_eq!(layers(machine), self.image, "{what}");
        assert!(!said(&built, &self.token));
    }
}

/// Forgets all that was built.
fn forget(machine: &Machine) {
    machine.ok(["rmi", "victim"]);
    machine.ok(["builder", "prune", "-af"]);
}

fn layers(machine: &Machine) -> String {
    machine.ok(["inspect", "-f", "{{.Id}} {{json .RootFS.Layers}}", "victim"])
}

fn said(finished: &Finished, token: &str) -> bool {
    finished.stdout.contains(token) || finished.stderr.contains(token)
}

fn random_token() -> String {
    let bytes = fs::read("/proc/sys/kernel/random/uuid").expect("the kernel has one");
    format!("token-{}", String::from_utf8_lossy(&bytes).trim())
}

fn times(count: u32) -> u32 {
    let factor = std::env::var("MICA_FAULTS").ok();
    count * factor.and_then(|text| text.parse().ok()).unwrap_or(1)
}

pub(crate) fn killed_builds() -> Outcome {
    let victim = Victim::new();
    let machine = &victim.machine;
    let mut random = Random::new(0x51_7c_c1_b7_27_22_0a_95);
    let start = Instant::now();
    victim.recover(machine, "the first build");
    let life = start.elapsed();
    let wanted = times(KILLS);
    let mut dead = 0;
    for round in 0..wanted * PATIENCE {
        forget(machine);
        dead += u32::from(killed(quiet(victim.build(machine)), &mut random, life));
        victim.recover(machine, &format!("after kill {round}"));
        if dead == wanted {
            machine.ok(["save", "-o", "/dev/null", "victim"]);
            assert_eq!(found(&victim.token, &machine.root()), [""; 0]);
            return Ok(());
        }
    }
    panic!("only {dead} builds were killed while they ran");
}

/// A memory file system on a machine's store; its size can be changed.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf) -> Self {
        fs::create_dir_all(&path).expect("the directory is ours");
        let mut mount = Command::new("mount");
        run(mount
            .args(["-t", "tmpfs", "-o", "size=1g", "mica-faults"])
            .arg(&path))
        .ok();
        Self(path)
    }

    fn resize(&self, kibibytes: u64) {
        let size = format!("remount,size={kibibytes}k");
        run(Command::new("mount").args(["-o", &size]).arg(&self.0)).ok();
    }

    fn used_kibibytes(&self) -> u64 {
        let df = run(Command::new("df")
            .args(["-k", "--output=used"])
            .arg(&self.0));
        let line = df
            .ok()
            .lines()
            .nth(1)
            .expect("a line of numbers")
            .trim()
            .to_owned();
        line.parse().expect("a number")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.0));
    }
}

pub(crate) fn full_disks() -> Outcome {
    const PLENTY: u64 = 1 << 20;
    let victim = Victim::new();
    let mut random = Random::new(0x2d_35_8d_cc_aa_6c_78_a5);
    // A store on a disk whose size is ours to choose.
    let machine = Machine::new();
    let disk = Disk::mount(machine.root());
    let layout = mica_tests::base_images();
    machine.ok(["load", "-q", "-i", layout.to_str().expect("UTF-8")]);
    let empty = disk.used_kibibytes();
    victim.recover(&machine, "the first build");
    let need = disk.used_kibibytes() - empty;
    let wanted = times(FULL_DISKS);
    let mut full = 0;
    for round in 0..wanted * PATIENCE {
        forget(&machine);
        disk.resize(disk.used_kibibytes() + 1 + random.next() % need);
        let built = run(&mut victim.build(&machine));
        assert!(built.code == 0 || built.code == 1, "round {round}: {built}");
        full += u32::from(built.code == 1);
        disk.resize(PLENTY);
        victim.recover(&machine, &format!("after full disk {round}"));
        if full == wanted {
            machine.ok(["save", "-o", "/dev/null", "victim"]);
            assert_eq!(found(&victim.token, &machine.root()), [""; 0]);
            return Ok(());
        }
    }
    panic!("only {full} builds found the disk full");
}

/// No byte of a store or an output has a secret, compressed or not.
pub(crate) fn secrets_are_nowhere() -> Outcome {
    let victim = Victim::new();
    let out = victim.machine.path("out");
    fs::create_dir(&out).expect("the directory is ours");
    let path = |name: &str| out.join(name).display().to_string();
    let mut build = victim.build(&victim.machine);
    build.args([
        "--cache-to",
        &format!("type=local,mode=max,dest={}", path("cache")),
        "--output",
        &format!("type=oci,dest={}", path("image.tar")),
    ]);
    let built = run(&mut build);
    built.ok();
    assert!(!said(&built, &victim.token), "{built}");
    let mut unpack = Command::new("tar");
    unpack.args(["-xf", &path("image.tar"), "-C", &path("")]);
    run(&mut unpack).ok();
    assert_eq!(found(&victim.token, &victim.machine.root()), [""; 0]);
    assert_eq!(found(&victim.token, &victim.machine.path("run")), [""; 0]);
    assert_eq!(found(&victim.token, &out), [""; 0]);
    // The search would find it.
    fs::write(out.join("x"), format!("a{}b", victim.token)).expect("the directory is ours");
    run(Command::new("gzip").arg(out.join("x"))).ok();
    assert_eq!(found(&victim.token, &out).len(), 1);
    Ok(())
}

/// The files below a directory that hold a text, in gzip too.
fn found(text: &str, directory: &Path) -> Vec<String> {
    let script = "grep -rlaF \"$2\" \"$1\"; find \"$1\" -type f -path '*/blobs/*' -o -name '*.gz' | \
        while read -r f; do gzip -dc \"$f\" 2>/dev/null | grep -qaF \"$2\" && echo \"$f\"; done; true";
    let mut search = Command::new("sh");
    search
        .args(["-c", script, "search"])
        .arg(directory)
        .arg(text);
    let list = run(&mut search);
    list.ok().lines().map(str::to_owned).collect()
}

//! Sandboxes one after another in a lane.

use std::io::Read as _;
use std::os::fd::OwnedFd;

use mica_isolation::network::Bridge;
use mica_isolation::{Error, ExitStatus, Lane, Namespaces, Network, SandboxSpec, WhenIdle};
use tempfile::TempDir;

use crate::fixture::{Image, Output};
use crate::network::{bridge_name, exists, require_nftables};
use crate::{Skip, Test};

pub(crate) const TESTS: &[Test] = &[
    ("a_lane_starts_one_after_another", one_after_another),
    ("a_lane_outlives_what_cannot_start", cannot_start),
    ("a_lane_kills_a_dropped_sandbox", dropped),
    ("a_lane_is_on_a_bridge", on_a_bridge),
];

/// A sandbox of the image for a lane: the network is the lane's.
fn spec(image: &Image, script: &str) -> SandboxSpec {
    let mut spec = image.spec(&["sh", "-c", script]);
    spec.namespaces = Namespaces::private(Network::Host);
    spec
}

fn run(lane: &mut Lane, spec: &SandboxSpec) -> Result<Output, Error> {
    let (mut stdout, stdout_write) = std::io::pipe().expect("a pipe");
    let (mut stderr, stderr_write) = std::io::pipe().expect("a pipe");
    let writers = (OwnedFd::from(stdout_write), OwnedFd::from(stderr_write));
    let sandbox = lane.spawn(spec, &writers.0, &writers.1)?;
    drop(writers);
    let (mut out, mut err) = (String::new(), String::new());
    stdout.read_to_string(&mut out).expect("output");
    stderr.read_to_string(&mut err).expect("errors");
    let exit = sandbox.wait()?;
    Ok(Output {
        stdout: out,
        stderr: err,
        exit,
    })
}

fn one_after_another() -> Result<(), Skip> {
    let image = Image::new();
    let mut lane = Lane::open(&Network::None).expect("a lane");
    let script = "echo $$; readlink /proc/self/ns/net; readlink /proc/self/ns/pid; \
                  ip -o link show up | wc -l; echo error >&2";
    let spec = spec(&image, script);
    let outputs: Vec<Output> = (0..3)
        .map(|_| run(&mut lane, &spec).expect("an exit"))
        .collect();
    let host = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
    let lines: Vec<Vec<&str>> = outputs
        .iter()
        .map(|output| output.success().lines().collect())
        .collect();
    for (line, output) in lines.iter().zip(&outputs) {
        assert_eq!(output.stderr, "error\n");
        assert_eq!((line[0], line[3]), ("1", "1"), "PID 1, and only loopback");
        assert_ne!(line[1], host.to_string_lossy(), "not the host's network");
        assert_eq!(line[1], lines[0][1], "the lane's network");
    }
    Ok(())
}

fn cannot_start() -> Result<(), Skip> {
    let image = Image::new();
    let mut lane = Lane::open(&Network::None).expect("a lane");
    let mut missing = spec(&image, "");
    missing.process.args = vec!["nothing-of-this-name".into()];
    let error = run(&mut lane, &missing).expect_err("no such command");
    assert_eq!(error.exit_code(), 127, "{error:?}");
    let failing = run(&mut lane, &spec(&image, "exit 7")).expect("an exit");
    assert_eq!(failing.exit.status, ExitStatus::Exited(7));
    let next = run(&mut lane, &spec(&image, "echo next")).expect("an exit");
    assert_eq!(next.success(), "next");
    Ok(())
}

fn dropped() -> Result<(), Skip> {
    let image = Image::new();
    let mut lane = Lane::open(&Network::None).expect("a lane");
    let (mut stdout, stdout_write) = std::io::pipe().expect("a pipe");
    let writer = OwnedFd::from(stdout_write);
    let endless = spec(&image, "sleep 1000");
    drop(lane.spawn(&endless, &writer, &writer).expect("a sandbox"));
    drop(writer);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("its end");
    let next = run(&mut lane, &spec(&image, "echo next")).expect("an exit");
    assert_eq!(next.success(), "next");
    Ok(())
}

fn on_a_bridge() -> Result<(), Skip> {
    require_nftables()?;
    let (image, state) = (Image::new(), TempDir::new().expect("a directory"));
    let name = bridge_name("l");
    let bridge = Bridge::ensure(&name, state.path(), WhenIdle::Remove).expect("a bridge");
    let lease = bridge.lease().expect("an address");
    let mut lane = Lane::open(&Network::Bridge(lease.attachment())).expect("a lane");
    let script = format!(
        "ip -o -4 addr show eth0 | grep -c ' {}/' && ping -c 1 -w 5 {} > /dev/null",
        lease.address(),
        bridge.gateway()
    );
    for _ in 0..2 {
        let output = run(&mut lane, &spec(&image, &script)).expect("an exit");
        assert_eq!(output.success(), "1");
    }
    drop(lane);
    lease.close().expect("a freed address");
    bridge.close().expect("a closed bridge");
    assert!(!exists(&name), "the bridge is removed");
    let kept = bridge_name("m");
    let bridge = Bridge::ensure(&kept, state.path(), WhenIdle::Keep).expect("a bridge");
    bridge.close().expect("a closed bridge");
    assert!(exists(&kept), "this one is to stay");
    Bridge::release_if_idle(&kept, state.path()).expect("a removed bridge");
    assert!(!exists(&kept));
    Ok(())
}

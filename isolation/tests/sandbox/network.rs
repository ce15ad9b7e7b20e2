//! Networks: none, the host's, another sandbox's, a bridge.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use mica_isolation::network::Bridge;
use mica_isolation::{Namespaces, Network, WhenIdle};
use tempfile::TempDir;

use crate::fixture::{Image, finish, run, start};
use crate::{Skip, Test};

pub(crate) const TESTS: &[Test] = &[
    (
        "without_a_network_only_loopback_is_up",
        without_a_network_only_loopback_is_up,
    ),
    (
        "the_host_s_network_is_the_host_s",
        the_host_s_network_is_the_host_s,
    ),
    ("a_bridge_reaches_its_gateway", a_bridge_reaches_its_gateway),
    ("sandboxes_reach_each_other", sandboxes_reach_each_other),
    (
        "the_bridge_is_shared_and_removed",
        the_bridge_is_shared_and_removed,
    ),
];

/// A bridge name that no other run of the tests has.
pub(crate) fn bridge_name(kind: &str) -> String {
    format!("mt{kind}{}", std::process::id())
}

pub(crate) fn exists(interface: &str) -> bool {
    Path::new("/sys/class/net").join(interface).exists()
}

pub(crate) fn require_nftables() -> Result<(), Skip> {
    match mica_isolation::probe().nftables {
        true => Ok(()),
        false => Err(Skip("the kernel does not speak nftables".to_string())),
    }
}

fn without_a_network_only_loopback_is_up() -> Result<(), Skip> {
    let image = Image::new();
    let output = image.shell("ip -o link | grep -c UP; ip route | wc -l; ping -c 1 -W 1 127.0.0.1 > /dev/null && echo up");
    assert_eq!(output.success(), "1\n0\nup");
    Ok(())
}

fn the_host_s_network_is_the_host_s() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["ls", "/sys/class/net"]);
    spec.namespaces = Namespaces::private(Network::Host);
    let before = interfaces();
    let output = run(&spec);
    let inside: Vec<&str> = output.success().lines().collect();
    // Others may come and go meanwhile.
    let after = interfaces();
    for name in before.iter().filter(|name| after.contains(name)) {
        assert!(
            inside.contains(&name.as_str()),
            "{name} is not among {inside:?}"
        );
    }
    Ok(())
}

fn interfaces() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/net").expect("interfaces");
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries
        .map(|entry| name(entry.expect("an interface")))
        .collect()
}

fn a_bridge_reaches_its_gateway() -> Result<(), Skip> {
    require_nftables()?;
    let (image, state) = (Image::new(), TempDir::new().expect("a directory"));
    let bridge =
        Bridge::ensure(&bridge_name("g"), state.path(), WhenIdle::Remove).expect("a bridge");
    let lease = bridge.lease().expect("an address");
    let listener = TcpListener::bind((bridge.gateway(), 0)).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let script = format!(
        "ip -o -4 addr show eth0 | grep -c ' {}/'; cat /sys/class/net/eth0/mtu; \
         echo question | nc {} {port}",
        lease.address(),
        bridge.gateway(),
    );
    let mut spec = image.spec(&["sh", "-c", &script]);
    spec.namespaces = Namespaces::private(Network::Bridge(lease.attachment()));
    let (sandbox, stdout, stderr) = start(&spec);
    let (mut stream, peer) = listener.accept().expect("a connection");
    assert_eq!(peer.ip(), lease.address());
    let mut question = [0; 9];
    stream.read_exact(&mut question).expect("a question");
    assert_eq!(&question, b"question\n");
    stream.write_all(b"answer\n").expect("an answer");
    drop(stream);
    let output = finish(sandbox, stdout, stderr);
    let expected = format!("1\n{}\nanswer", lease.attachment().mtu);
    assert_eq!(output.success(), expected);
    lease.close().expect("a freed address");
    bridge.close().expect("a removed bridge");
    Ok(())
}

fn sandboxes_reach_each_other() -> Result<(), Skip> {
    require_nftables()?;
    let state = TempDir::new().expect("a directory");
    let bridge =
        Bridge::ensure(&bridge_name("s"), state.path(), WhenIdle::Remove).expect("a bridge");
    let (one, other) = (
        bridge.lease().expect("an address"),
        bridge.lease().expect("an address"),
    );
    assert_ne!(one.address(), other.address());
    let server_image = Image::new();
    let mut server = server_image.spec(&["nc", "-l", "-p", "7777", "-e", "echo", "hello"]);
    server.namespaces = Namespaces::private(Network::Bridge(one.attachment()));
    let (server, server_stdout, server_stderr) = start(&server);
    // The listener may not be up yet.
    let script = format!("until nc {} 7777 2> /dev/null; do :; done", one.address());
    let client_image = Image::new();
    let mut client = client_image.spec(&["sh", "-c", &script]);
    client.namespaces = Namespaces::private(Network::Bridge(other.attachment()));
    assert_eq!(run(&client).success(), "hello");
    finish(server, server_stdout, server_stderr).success();
    Ok(())
}

fn the_bridge_is_shared_and_removed() -> Result<(), Skip> {
    require_nftables()?;
    let state = TempDir::new().expect("a directory");
    let name = bridge_name("r");
    let one = Bridge::ensure(&name, state.path(), WhenIdle::Remove).expect("a bridge");
    let other = Bridge::ensure(&name, state.path(), WhenIdle::Remove).expect("the same bridge");
    assert_eq!(one.gateway(), other.gateway());
    let lease = one.lease().expect("an address");
    let second = other.lease().expect("an address");
    assert_ne!(lease.address(), second.address());
    let address = lease.address();
    drop(lease);
    assert_eq!(one.lease().expect("an address").address(), address);
    one.close().expect("a closed bridge");
    other.close().expect("a closed bridge");
    assert!(exists(&name), "a lease holds it");
    second.close().expect("a freed address");
    assert!(!exists(&name));
    assert!(!state.path().join("bridge.json").exists());
    let leases = state.path().join("leases");
    assert_eq!(std::fs::read_dir(leases).expect("leases").count(), 0);
    Bridge::release_if_idle(&name, state.path()).expect("nothing to do");
    Ok(())
}

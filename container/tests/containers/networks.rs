//! Networks, names and published ports.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};

use mica_container::{Containers, CreateOptions, Error, NetworkMode, PortMapping};
use mica_store::Store;

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("only_loopback_without_a_network", none),
    ("the_host_s_network_is_the_host_s", host),
    ("a_bridge_gives_an_address_and_names", bridge),
    ("another_container_s_network_is_shared", shared),
    ("a_published_tcp_port_reaches_the_container", tcp),
    ("a_published_udp_port_reaches_the_container", udp),
    ("a_port_in_use_is_an_error_of_the_start", in_use),
    ("two_run_roots_never_meet", two_run_roots),
    ("many_begin_and_end_at_once", many),
];

fn on_network(world: &World, script: &str, network: NetworkMode) -> CreateOptions {
    let mut options = world.script(script);
    options.host.network = network;
    options
}

/// The interfaces of a container, sorted.
const INTERFACES: &str = "ls /sys/class/net | sort | tr '\\n' ' '";

fn none(world: &World) {
    assert_eq!(
        world
            .run(on_network(world, INTERFACES, NetworkMode::None))
            .stdout,
        "lo "
    );
}

fn host(world: &World) {
    let namespace = std::fs::read_link("/proc/self/ns/net").unwrap();
    let ran = world.run(on_network(
        world,
        "readlink /proc/self/ns/net; hostname",
        NetworkMode::Host,
    ));
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(ran.stdout, format!("{}\n{hostname}", namespace.display()));
}

fn bridge(world: &World) {
    let script = "ip -4 -o addr show eth0 | awk '{print $4}'; ip route | awk '/default/ {print $3}'; \
        grep -c nameserver /etc/resolv.conf; cat /etc/hosts /etc/hostname; sleep 1000";
    let mut options = on_network(world, script, NetworkMode::Bridge);
    options.host.extra_hosts.push("extra:10.1.2.3".to_owned());
    options.host.dns.push("10.9.9.9".to_owned());
    let id = world.start(options);
    world.wait_for_line(&id, id.short());
    let address = world.state(&id).address.unwrap();
    let log = world.log(&id, &Default::default());
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], format!("{}/{}", address.address, address.prefix));
    assert_eq!(
        (lines[1], lines[2]),
        (address.gateway.to_string().as_str(), "1")
    );
    assert!(lines.contains(&"10.1.2.3\textra"), "{log}");
    assert!(
        lines.contains(&format!("{}\t{}", address.address, id.short()).as_str()),
        "{log}"
    );
    let object = world
        .containers
        .inspect(&id, mica_container::Size::Omit)
        .unwrap();
    let network = &object["NetworkSettings"]["Networks"]["bridge"];
    assert_eq!(network["IPAddress"], address.address.to_string());
    let mac = world
        .exec(&id, &["cat", "/sys/class/net/eth0/address"])
        .stdout;
    assert_eq!(network["MacAddress"], mac.trim());
}

fn shared(world: &World) {
    let id = world.start(on_network(world, "sleep 1000", NetworkMode::Bridge));
    let namespace = |id| world.exec(id, &["readlink", "/proc/self/ns/net"]).stdout;
    let mode = || NetworkMode::Container(id.short().to_owned());
    let script = "readlink /proc/self/ns/net; hostname; cat /etc/hosts | tail -n 1";
    let ran = world.run(on_network(world, script, mode()));
    let address = world.state(&id).address.unwrap().address;
    let expected = format!(
        "{}{short}\n{address}\t{short}\n",
        namespace(&id),
        short = id.short()
    );
    assert_eq!(ran.stdout, expected);
    let mut options = on_network(world, "true", mode());
    options.host.ports = PortMapping::parse("80").unwrap();
    let error = world
        .containers
        .create(options)
        .expect_err("ports are the other's");
    let words = "conflicting options: port publishing and the container type network mode";
    assert_eq!(error.to_string(), words);
    let late = world
        .containers
        .create(on_network(world, "true", mode()))
        .unwrap();
    world.containers.kill(&id, libc::SIGKILL).unwrap();
    world.containers.wait(&id).unwrap();
    let error = world
        .containers
        .start(&late, None)
        .err()
        .expect("the other has ended");
    assert_eq!(
        error.to_string(),
        format!("cannot join network of a non running container: {id}")
    );
}

/// A container that runs an echo server of this very program, which is static.
fn echo_server(world: &World, protocol: &str, ports: &str) -> CreateOptions {
    let mut options = world.command(&["/echo", protocol]);
    options.host.network = NetworkMode::Bridge;
    options.host.ports = PortMapping::parse(ports).unwrap();
    let program = std::env::current_exe().unwrap();
    options
        .volumes
        .push(format!("{}:/echo:ro", program.display()).parse().unwrap());
    options
}

/// Is an echo server in a container, if that is what this process was started as.
pub(crate) fn serve_echo_if_requested() {
    let mut arguments = std::env::args();
    if arguments.next().as_deref() != Some("/echo") {
        return;
    }
    match arguments.next().as_deref() {
        Some("tcp") => serve_tcp(),
        _ => serve_udp(),
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the test waits for this line in the log"
)]
fn say_ready() {
    println!("ready");
}

fn serve_tcp() {
    let listener = TcpListener::bind("0.0.0.0:80").unwrap();
    say_ready();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut back = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut back).unwrap();
    }
}

fn serve_udp() {
    let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
    say_ready();
    let mut datagram = [0; 2048];
    loop {
        let (count, from) = socket.recv_from(&mut datagram).unwrap();
        socket.send_to(&datagram[..count], from).unwrap();
    }
}

fn tcp(world: &World) {
    let id = world.start(echo_server(world, "tcp", "127.0.0.1::80"));
    world.wait_for_line(&id, "ready");
    let ports = world.containers.ports(&id).unwrap();
    let address = ports[0].to_string();
    let summary = world.containers.summary(&id).unwrap();
    assert_eq!(summary.ports, format!("{address}->80/tcp"));
    for content in [vec![b'x'; 3 << 20], b"short".to_vec()] {
        let mut stream = TcpStream::connect(&address).unwrap();
        let mut back = stream.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            back.read_to_end(&mut all).map(|_| all)
        });
        stream.write_all(&content).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(reader.join().unwrap().unwrap() == content);
    }
    world.containers.kill(&id, libc::SIGKILL).unwrap();
    world.containers.wait(&id).unwrap();
    assert!(
        TcpStream::connect(&address).is_err(),
        "the port is still served"
    );
}

fn udp(world: &World) {
    let id = world.start(echo_server(world, "udp", "127.0.0.1::53/udp"));
    world.wait_for_line(&id, "ready");
    let address = world.containers.ports(&id).unwrap()[0].to_string();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client
        .set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .unwrap();
    for word in ["ping", "pong"] {
        client.send_to(word.as_bytes(), &address).unwrap();
        let mut answer = [0; 16];
        let count = client.recv(&mut answer).unwrap();
        assert_eq!(&answer[..count], word.as_bytes());
    }
}

fn in_use(world: &World) {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let mut options = on_network(world, "true", NetworkMode::Bridge);
    options.host.ports = PortMapping::parse(&format!("127.0.0.1:{port}:80")).unwrap();
    let id = world.containers.create(options).unwrap();
    let error = world
        .containers
        .start(&id, None)
        .err()
        .expect("the port is taken");
    assert_eq!(error.exit_code(), 125);
    let words = format!("Bind for 127.0.0.1:{port} failed: port is already allocated");
    assert_eq!(error.to_string(), words);
    drop(holder);
    world.containers.start(&id, None).unwrap();
    assert_eq!(world.containers.wait(&id).unwrap(), 0);
}

fn two_run_roots(world: &World) {
    let store = Store::open(&world.path().join("other-store")).unwrap();
    let other = Containers::open(store, &world.path().join("other-run")).unwrap();
    let id = world.start(on_network(world, "sleep 1000", NetworkMode::Bridge));
    assert!(other.ids().unwrap().is_empty());
    assert!(matches!(
        other.find(id.as_str()),
        Err(Error::NoSuchContainer { .. })
    ));
    let image = crate::world::busybox_image(other.store());
    let mut options = CreateOptions::new(image, "busybox");
    options.args = vec!["sleep".to_owned(), "1000".to_owned()];
    let theirs = other.create(options).unwrap();
    other.start(&theirs, None).unwrap();
    let (our, their) = (
        world.state(&id).address.unwrap(),
        other.state(&theirs).unwrap().address.unwrap(),
    );
    assert_ne!(our.gateway, their.gateway, "they are on one bridge");
    other
        .remove(
            &theirs,
            mica_container::RemoveOptions {
                force: true,
                volumes: true,
            },
        )
        .unwrap();
}

fn many(world: &World) {
    let container = || {
        let options = on_network(world, "echo $HOSTNAME; exit 3", NetworkMode::Bridge);
        let ran = world.run(options);
        assert_eq!((ran.code, ran.stdout.len()), (3, 13), "{ran:?}");
    };
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| (0..3).for_each(|_| container()));
        }
    });
    let ids: Vec<_> = (0..4)
        .map(|_| world.start(on_network(world, "sleep 1000", NetworkMode::Bridge)))
        .collect();
    let mut addresses: Vec<_> = ids
        .iter()
        .map(|id| world.state(id).address.unwrap().address)
        .collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), ids.len());
}

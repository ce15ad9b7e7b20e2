//! Networks and published ports.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use mica_tests::{Machine, Outcome};

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}

/// Fetches `/` from a port of loopback; the server may need a moment to listen.
fn fetch(port: u16) -> String {
    for _ in 0..600 {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            continue;
        };
        let request = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
        let mut answer = String::new();
        let sent = stream
            .write_all(request)
            .and_then(|()| stream.read_to_string(&mut answer));
        if sent.is_ok() && answer.contains("200 OK") {
            return answer;
        }
    }
    panic!("no answer on port {port}");
}

const SERVE: &str = "mkdir /www && hostname > /www/index.html && exec httpd -f -p 80 -h /www";

pub(crate) fn published_port() -> Outcome {
    let machine = Machine::with_busybox();
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:80");
    let id = machine.ok(["run", "-d", "-p", &publish, "busybox", "sh", "-c", SERVE]);
    let answer = fetch(port);
    assert!(answer.ends_with(&format!("{}\n", &id[..12])), "{answer}");
    assert_eq!(
        machine.ok(["port", &id]),
        format!("80/tcp -> 127.0.0.1:{port}")
    );
    assert!(
        machine
            .ok(["ps"])
            .contains(&format!("127.0.0.1:{port}->80/tcp"))
    );
    let taken = machine.mica(["run", "--rm", "-p", &publish, "busybox", "true"]);
    taken.fails(125, &[&port.to_string(), "already"]);
    machine.ok(["rm", "-f", &id]);
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "the port is free again"
    );
    Ok(())
}

pub(crate) fn shared_with_container() -> Outcome {
    let machine = Machine::with_busybox();
    let id = machine.ok(["run", "-d", "--name", "web", "busybox", "sh", "-c", SERVE]);
    let script = "until wget -q -O - http://127.0.0.1/ 2>/dev/null; do :; done";
    assert_eq!(
        machine.ok([
            "run",
            "--rm",
            "--net",
            "container:web",
            "busybox",
            "sh",
            "-c",
            script
        ]),
        id[..12]
    );
    Ok(())
}

pub(crate) fn host_and_none() -> Outcome {
    let machine = Machine::with_busybox();
    let own = std::fs::read_link("/proc/self/ns/net").expect("there is one");
    let host = machine.ok([
        "run",
        "--rm",
        "--net",
        "host",
        "busybox",
        "readlink",
        "/proc/self/ns/net",
    ]);
    assert_eq!(host, own.to_str().expect("UTF-8"));
    let none = machine.ok([
        "run",
        "--rm",
        "--net",
        "none",
        "busybox",
        "sh",
        "-c",
        "ls /sys/class/net; ip -o addr show lo | grep -c 127.0.0.1",
    ]);
    assert_eq!(none, "lo\n1");
    Ok(())
}

pub(crate) fn reaches_another_container() -> Outcome {
    let machine = Machine::with_busybox();
    let id = machine.ok(["run", "-d", "busybox", "sh", "-c", SERVE]);
    let address = machine.ok(["inspect", "--format", "{{.NetworkSettings.IPAddress}}", &id]);
    let script = format!("until wget -q -O - http://{address}/ 2>/dev/null; do :; done");
    assert_eq!(
        machine.ok(["run", "--rm", "busybox", "sh", "-c", &script]),
        id[..12]
    );
    Ok(())
}

//! The `resolv.conf` of a sandbox, made from the host's by docker's rules.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Docker's servers for a host whose own cannot be reached from a sandbox.
const FALLBACK: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// Returns the text of a `resolv.conf` for a network namespace of its own.
///
/// Name servers on loopback addresses are the host's alone, and IPv6 ones cannot be reached over
/// an IPv4 bridge: both are left out. If none is left, public ones take their place. All else
/// (`search`, `options`, comments) stays.
pub fn host_resolv_conf(text: &str) -> String {
    let mut result = String::new();
    let mut servers = 0;
    for line in text.lines() {
        match name_server(line) {
            Some(address) if !is_reachable(address) => continue,
            Some(_) => servers += 1,
            None => {}
        }
        result.push_str(line);
        result.push('\n');
    }
    if servers == 0 {
        for server in FALLBACK {
            let _ = writeln!(result, "nameserver {server}"); // writing to a String cannot fail
        }
    }
    result
}

fn name_server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next()? == "nameserver").then(|| words.next())?
}

/// An address with a zone (`fe80::1%eth0`) does not parse: it is IPv6, too.
fn is_reachable(address: &str) -> bool {
    matches!(address.parse(), Ok(IpAddr::V4(address)) if !address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, expected: &str) {
        assert_eq!(host_resolv_conf(host), expected, "{host:?}");
    }

    #[test]
    fn unreachable_servers_are_left_out() {
        let fallback = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
        check("", fallback);
        check("nameserver 127.0.0.53\n", fallback);
        check(
            "nameserver ::1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\n",
            fallback,
        );
        check("nameserver 192.0.2.1", "nameserver 192.0.2.1\n");
        check(
            "# by hand\nsearch example.org\nnameserver\t127.0.0.1\nnameserver 192.0.2.1 # a\noptions edns0\n",
            "# by hand\nsearch example.org\nnameserver 192.0.2.1 # a\noptions edns0\n",
        );
        check(
            "search example.org\n",
            "search example.org\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n",
        );
    }
}

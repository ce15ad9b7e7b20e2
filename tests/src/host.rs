//! What containers and builds could leave behind on the host itself.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

/// How long the kernel may take to let go of interfaces and cgroups of processes that have ended.
const GRACE: Duration = Duration::from_secs(10);

/// Lists network interfaces, cgroups and run state that mica makes outside of what a test gives it.
pub fn host_leftovers() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in names("/sys/class/net") {
        if name.starts_with("mica") || name.starts_with("veth") {
            found.insert(format!("interface {name}"));
        }
    }
    for hierarchy in names("/sys/fs/cgroup") {
        for name in names(&format!("/sys/fs/cgroup/{hierarchy}/mica")) {
            if name.len() == 64 || name.starts_with("build-") {
                found.insert(format!("cgroup {hierarchy}/mica/{name}"));
            }
        }
    }
    for name in names("/tmp") {
        // The run state of a user without a session of their own.
        let user = name.strip_prefix("mica-");
        if user.is_some_and(|user| user.bytes().all(|byte| byte.is_ascii_digit())) {
            found.insert(format!("directory /tmp/{name}"));
        }
    }
    found
}

/// Waits until there is nothing that was not there `before`; says what stays.
#[expect(clippy::print_stdout, reason = "a test runner's output is its purpose")]
pub fn settles_to(before: &BTreeSet<String>) -> bool {
    let start = Instant::now();
    loop {
        let now = host_leftovers();
        let left: Vec<_> = now.difference(before).collect();
        if left.is_empty() {
            return true;
        }
        if start.elapsed() > GRACE {
            println!("left behind on the host: {left:#?}");
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

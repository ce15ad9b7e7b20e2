//! `RUN` with mounts, keys, devices, networks and limits.

use std::fs;
use std::process::{Child, Command, Stdio};

use mica_tests::{Finished, Machine, Outcome, needs, run};

/// Builds a Dockerfile with some files in a context of its own.
fn build(machine: &Machine, dockerfile: &str, files: &[(&str, &str)], extra: &[&str]) -> Finished {
    let context = machine.context("context", files);
    fs::write(context.join("Dockerfile"), dockerfile).expect("the context is ours");
    let context = context.to_str().expect("UTF-8").to_owned();
    let mut arguments = vec!["build", "--progress", "plain", "-t", "built"];
    arguments.extend(extra);
    arguments.push(&context);
    machine.mica(arguments)
}

/// A bind mount shows the source as it is, less what is ignored; what is written is dropped.
pub(crate) fn bind_mounts() -> Outcome {
    let machine = Machine::with_busybox();
    let files = [
        (".dockerignore", "secret\npart/*\n!part/2\n"),
        ("secret", "s"),
        ("a", "a\n"),
        ("part/1", ""),
        ("part/2", ""),
        ("deep/file", "deep\n"),
    ];
    let dockerfile = "FROM busybox AS src\nRUN mkdir -p /data/in && echo one > /data/in/f && ln -s in /data/l\n\
        FROM busybox\n\
        RUN --mount=target=/c set -e; test ! -e /c/secret; test ! -e /c/part/1; test -e /c/part/2; ! touch /c/new 2>/dev/null\n\
        RUN --mount=target=/c,rw echo w > /c/a && rm /c/deep/file && test ! -e /c/deep/file\n\
        RUN --mount=target=/c test \"$(cat /c/a)\" = a && test -e /c/deep/file\n\
        RUN --mount=from=src,source=/data/l,target=/m test \"$(cat /m/f)\" = one\n\
        RUN --mount=from=src,source=/data/in/f,target=/m/f test -f /m/f && ! rm /m/f 2>/dev/null\n\
        RUN --mount=from=src,source=/data,target=/m,rw rm /m/in/f && echo > /m/in/g\n\
        RUN --mount=from=src,source=/data,target=/m test -e /m/in/f && test ! -e /m/in/g\n\
        RUN --mount=source=deep/file,target=/x test \"$(cat /x)\" = deep\n\
        RUN test ! -e /c && test ! -e /m && test ! -e /x && test -z \"$(ls -A /dev | grep mica)\"\n";
    build(&machine, dockerfile, &files, &[]).ok();
    // Files of another user's are root's in a step.
    let context = machine.path("context");
    run(Command::new("chown")
        .args(["-R", "1234:1234"])
        .arg(context.join("deep")))
    .ok();
    let dockerfile =
        "FROM busybox\nRUN --mount=target=/c test \"$(stat -c %u:%g /c/deep/file)\" = 0:0\n";
    build(&machine, dockerfile, &[], &[]).ok();
    build(
        &machine,
        "FROM busybox\nRUN --mount=source=none,target=/c true\n",
        &[],
        &[],
    )
    .fails(1, &["none", "not found"]);
    Ok(())
}

pub(crate) fn cache_mount_options() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox AS src\nRUN mkdir /start && echo one > /start/f\n\
        FROM busybox\n\
        RUN --mount=type=cache,from=src,source=/start,target=/c test \"$(cat /c/f)\" = one && echo two > /c/g\n\
        RUN --mount=type=cache,from=src,source=/start,target=/c cat /c/f /c/g > /both\n\
        RUN --mount=type=cache,id=a,source=sub,target=/c echo s > /c/s\n\
        RUN --mount=type=cache,id=a,target=/c test -e /c/sub/s\n\
        RUN --mount=type=cache,id=b,uid=5,gid=6,mode=0700,target=/c test \"$(stat -c '%u %g %a' /c)\" = '5 6 700'\n\
        RUN --mount=type=cache,id=a,ro,target=/c ! touch /c/x 2>/dev/null\n\
        RUN --mount=type=cache,id=evil,target=/c ln -s /etc /c/out\n\
        RUN --mount=type=tmpfs,size=1m,target=/t ! dd if=/dev/zero of=/t/f bs=1M count=2 2>/dev/null\n";
    build(&machine, dockerfile, &[], &[]).ok();
    // A link in a cache leads to the cache's own files, not to the host's.
    let dockerfile =
        "FROM busybox\nRUN --mount=type=cache,id=evil,source=out,target=/c test ! -e /c/passwd\n";
    build(&machine, dockerfile, &[], &[]).ok();
    Ok(())
}

/// A private cache is no other step's, a locked one is used by one step after the other.
pub(crate) fn cache_sharing() -> Outcome {
    let machine = Machine::with_busybox();
    let stage = |name: &str, sharing: &str| {
        format!(
            "FROM busybox AS {name}\nRUN --mount=type=cache,id={sharing},sharing={sharing},target=/c \
             set -e; test ! -e /c/busy; touch /c/busy; usleep 200000; rm /c/busy; touch /{name}\n"
        )
    };
    for sharing in ["locked", "private"] {
        let dockerfile = format!(
            "{}{}FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
            stage("a", sharing),
            stage("b", sharing)
        );
        build(&machine, &dockerfile, &[], &[]).ok();
    }
    Ok(())
}

/// A real agent with one key.
struct SshAgent {
    process: Child,
    socket: String,
}

impl SshAgent {
    fn start(machine: &Machine) -> Self {
        let socket = machine.path("agent.sock").display().to_string();
        let key = machine.path("key");
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "the-test-key", "-f"])
            .arg(&key);
        run(&mut keygen).ok();
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a", &socket]).stdin(Stdio::null());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let agent = Self {
            process: process.expect("ssh-agent starts"),
            socket,
        };
        for _ in 0..1000 {
            if std::os::unix::net::UnixStream::connect(&agent.socket).is_ok() {
                break;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        run(Command::new("ssh-add")
            .arg("-q")
            .arg(&key)
            .env("SSH_AUTH_SOCK", &agent.socket))
        .ok();
        agent
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Copies a program of the host with its libraries below `context/root`.
fn copy_program(machine: &Machine, name: &str) {
    let script = "set -e; p=$(command -v \"$1\"); for f in $p $(ldd $p | grep -o '/[^ ]*'); do \
        mkdir -p \"$2$(dirname $f)\"; cp -L $f \"$2$f\"; done";
    let root = machine.path("context/root");
    run(Command::new("sh")
        .args(["-c", script, "sh", name])
        .arg(root))
    .ok();
}

pub(crate) fn ssh_agent() -> Outcome {
    needs(&["ssh-agent", "ssh-add", "ssh-keygen"])?;
    let machine = Machine::with_busybox();
    let agent = SshAgent::start(&machine);
    copy_program(&machine, "ssh-add");
    let ask = "ssh-add -l | grep -q the-test-key";
    let dockerfile = format!(
        "FROM busybox\nCOPY root/ /\n\
         RUN --mount=type=ssh,mode=741,uid=100,gid=102 test \"$(stat -c '%u %g %f' $SSH_AUTH_SOCK)\" = '100 102 c1e1'\n\
         RUN --mount=type=ssh test $SSH_AUTH_SOCK = /run/buildkit/ssh_agent.0\n\
         RUN --mount=type=ssh,target=/a/socket,id=other test $SSH_AUTH_SOCK = /a/socket && {ask}\n\
         RUN --mount=type=ssh,required {ask}\nRUN --mount=type=ssh ! ssh-add -D && {ask}\n\
         RUN test -z \"$SSH_AUTH_SOCK\" && test ! -e /a\n"
    );
    let key = machine.path("key");
    let default = format!("default={}", agent.socket);
    let other = format!("other={}", key.display());
    build(
        &machine,
        &dockerfile,
        &[],
        &["--ssh", &default, "--ssh", &other],
    )
    .ok();
    let listed = run(Command::new("ssh-add")
        .arg("-l")
        .env("SSH_AUTH_SOCK", &agent.socket));
    assert!(
        listed.ok().contains("the-test-key"),
        "the agent keeps its key"
    );
    Ok(())
}

pub(crate) fn ssh_is_missing() -> Outcome {
    let machine = Machine::with_busybox();
    build(
        &machine,
        "FROM busybox\nRUN --mount=type=ssh true\n",
        &[],
        &[],
    )
    .ok();
    build(
        &machine,
        "FROM busybox\nRUN --mount=type=ssh,required true\n",
        &[],
        &[],
    )
    .fails(1, &["no SSH key \"default\" forwarded", "--ssh default"]);
    let context = machine.path("context").display().to_string();
    let mut command = machine.command(["build", "--ssh", "default", &context]);
    run(command.env_remove("SSH_AUTH_SOCK")).fails(1, &["SSH_AUTH_SOCK"]);
    machine
        .mica(["build", "--ssh", "x=/none", &context])
        .fails(1, &["/none"]);
    Ok(())
}

/// What goes beyond the sandbox has to be allowed.
pub(crate) fn entitlements() -> Outcome {
    let machine = Machine::with_busybox();
    let network = "FROM busybox\nRUN --network=host test -e /sys/class/net/lo\n";
    build(&machine, network, &[], &[])
        .fails(1, &["network.host is not allowed", "--allow network.host"]);
    build(&machine, network, &[], &["--allow", "network.host"]).ok();
    build(&machine, network, &[], &["--network", "host", "--no-cache"]).ok();
    let insecure = "FROM busybox\nRUN --security=insecure grep -q 'Seccomp:.0' /proc/1/status && mkdir /mnt && mount -t tmpfs none /mnt\n";
    build(&machine, insecure, &[], &[]).fails(1, &["security.insecure is not allowed"]);
    build(&machine, insecure, &[], &["--allow", "security.insecure"]).ok();
    build(&machine, insecure, &[], &["--allow", "everything"]).fails(1, &["--allow"]);
    let none = "FROM busybox\nRUN --network=none test \"$(ls /sys/class/net)\" = lo\n";
    build(&machine, none, &[], &[]).ok();
    Ok(())
}

/// A device that is named by its specification; the files are in the directory that a boot clears.
pub(crate) fn devices() -> Outcome {
    let machine = Machine::with_busybox();
    let directory = std::path::Path::new("/var/run/cdi");
    let made = !directory.exists();
    fs::create_dir_all(directory).expect("this is root");
    let kind = format!("test{}.example/device", std::process::id());
    let path = directory.join(format!("mica-test-{}.json", std::process::id()));
    let hostfile = machine.path("shown");
    fs::write(&hostfile, "shown\n").expect("the directory is ours");
    let specification = serde_json::json!({
        "cdiVersion": "0.6.0", "kind": kind,
        "devices": [{"name": "one", "containerEdits": {
            "env": ["DEVICE=one"],
            "deviceNodes": [{"path": "/dev/mine", "hostPath": "/dev/zero"}],
            "mounts": [{"hostPath": hostfile, "containerPath": "/shown", "options": ["ro"]}],
        }}],
    });
    fs::write(&path, specification.to_string()).expect("this is root");
    let dockerfile = format!(
        "FROM busybox\nRUN --device={kind}=one test $DEVICE = one && test \"$(cat /shown)\" = shown && \
         test \"$(head -c 2 /dev/mine | od -An -tx1)\" = ' 00 00'\nRUN --device={kind}=two true\n"
    );
    let refused = build(&machine, &dockerfile, &[], &[]);
    let allow = format!("device={kind}");
    let built = build(&machine, &dockerfile, &[], &["--allow", &allow]);
    let required = format!("FROM busybox\nRUN --device={kind}=two,required true\n");
    let missing = build(&machine, &required, &[], &["--allow", "device"]);
    fs::remove_file(&path).expect("it is ours");
    if made {
        // Others may have put something there meanwhile.
        let _ = fs::remove_dir(directory);
    }
    refused.fails(1, &["is not allowed"]);
    built.ok();
    missing.fails(1, &["is required", "one"]);
    Ok(())
}

pub(crate) fn names_and_limits() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox\nRUN grep -qx 'nameserver 192.0.2.1' /etc/resolv.conf && \
        test \"$(grep -c ^nameserver /etc/resolv.conf)\" = 1 && grep -qx 'search a.example b.example' /etc/resolv.conf && \
        grep -qx 'options ndots:7' /etc/resolv.conf && grep -q '192.0.2.7.*named' /etc/hosts && \
        test \"$(ulimit -n)\" = 123 && df -k /dev/shm | grep -q 3072\n";
    let extra = [
        "--dns",
        "192.0.2.1",
        "--dns-search",
        "a.example",
        "--dns-search",
        "b.example",
        "--dns-option",
        "ndots:7",
        "--add-host",
        "named:192.0.2.7",
        "--ulimit",
        "nofile=123:123",
        "--shm-size",
        "3m",
    ];
    build(&machine, dockerfile, &[], &extra).ok();
    let memory = "FROM busybox\nRUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | grep -qx 67108864\n";
    let limits = [
        "--memory",
        "64m",
        "--cpus",
        "0.5",
        "--cgroup-parent",
        "mica/parent-test",
    ];
    build(&machine, memory, &[], &limits).ok();
    build(
        &machine,
        memory,
        &[],
        &[
            "--memory",
            "64m",
            "--cpu-quota",
            "20000",
            "--cpu-period",
            "100000",
            "--no-cache",
        ],
    )
    .ok();
    Ok(())
}

/// Proxies reach the steps and nothing else.
pub(crate) fn proxies_leave_no_trace() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox\nRUN test -n \"$HTTP_PROXY\" && test \"$http_proxy\" = \"$HTTP_PROXY\" && touch /ran\n";
    let extra = ["--build-arg", "HTTP_PROXY=http://proxy.example"];
    build(&machine, dockerfile, &[], &extra).ok();
    let history = machine.ok(["history", "--no-trunc", "built"]);
    let config = machine.ok(["inspect", "built"]);
    assert!(!history.contains("proxy.example") && !config.contains("proxy.example"));
    let other = ["--build-arg", "HTTP_PROXY=http://another.example"];
    let again = build(&machine, dockerfile, &[], &other);
    assert_eq!(again.stderr.matches(" CACHED").count(), 1, "{again}");
    Ok(())
}

//! Registries that only a proxy can reach.

use mica_tests::{Finished, ForwardProxy, Machine, Outcome, Registry, Serving, run};

/// `user:word` in base64.
const LOGIN: &str = "dXNlcjp3b3Jk";

/// Copies an image of a registry into a layout, with a proxy for both schemes.
fn copy(machine: &Machine, image: &str, proxy: &str, direct: &str) -> Finished {
    let layout = format!("oci:{}:v1", machine.path("layout").display());
    let mut command = machine.command(["copy", "-q", "--insecure", image, &layout]);
    command.env("HTTP_PROXY", proxy).env("HTTPS_PROXY", proxy);
    run(command.env("NO_PROXY", direct))
}

pub(crate) fn reach_registries() -> Outcome {
    let machine = Machine::with_busybox();
    let registry = Registry::open()?;
    let name = format!("{}/team/app:v1", registry.address);
    machine.ok(["tag", "busybox", &name]);
    machine.ok(["push", "-q", &name]);
    machine.ok(["tag", "busybox", "team/app:v1"]);
    let serving = Serving::with_tls(&machine, &[])?;
    let image = "registry.invalid/team/app:v1";
    // Within TLS the proxy sees only where it goes; in the clear it is asked for all.
    let cases = [
        (&serving.address, "CONNECT registry.invalid:443"),
        (&registry.address, "GET http://registry.invalid/v2/"),
    ];
    for (target, expected) in cases {
        let proxy = ForwardProxy::start(target, LOGIN);
        let url = |word: &str| format!("http://user:{word}@{}", proxy.address);
        copy(&machine, image, &url("word"), "").ok();
        let seen = proxy.seen();
        assert!(seen.iter().any(|line| line == expected), "{seen:?}");
        let refused = copy(&machine, image, &url("wr0ng"), "");
        refused.fails(1, &["registry.invalid", "check HTTP_PROXY, HTTPS_PROXY"]);
        assert!(!refused.stderr.contains("wr0ng"), "{refused}");
        let direct = copy(&machine, image, &url("word"), "registry.invalid");
        direct.fails(1, &["no such host"]);
        assert_eq!(proxy.seen(), seen, "it was not asked again");
    }
    Ok(())
}

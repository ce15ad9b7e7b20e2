//! Configuration files of docker, podman and containerd, and what comes of them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use mica_tests::{Finished, Machine, Outcome, Page, Registry, WebServer, needs, repository, run};
use serde_json::Value;

/// Puts a file below the machine's own `/etc`.
fn configure(machine: &Machine, name: &str, text: &str) {
    let path = machine.path("etc").join(name);
    fs::create_dir_all(path.parent().expect("a file has a parent")).expect("it is ours");
    fs::write(path, text).expect("it is ours");
}

fn mica(machine: &Machine, arguments: &[&str]) -> Finished {
    let mut command: Command = machine.command(arguments);
    run(command.env("MICA_ETC", machine.path("etc")))
}

/// A registry that has `library/tiny` and `team/app`.
fn registry() -> Result<(Registry, Machine), mica_tests::Skip> {
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    for name in ["library/tiny", "team/app"] {
        let name = format!("{}/{name}", registry.address);
        machine.ok(["tag", "busybox", &name]);
        machine.ok(["push", "-q", &name]);
    }
    Ok((registry, machine))
}

pub(crate) fn mirrors_of_every_tool() -> Outcome {
    let (registry, _origin) = registry()?;
    let address = &registry.address;
    let files = [
        (
            "docker/daemon.json",
            format!("{{\"registry-mirrors\": [\"http://{address}\"]}}"),
        ),
        (
            "containers/registries.conf",
            format!(
                "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"{address}\"\n"
            ),
        ),
        (
            "containers/registries.conf.d/10-own.conf",
            format!(
                "[[registry]]\nprefix = \"docker.io/library\"\nlocation = \"{address}/library\"\n"
            ),
        ),
        (
            "containerd/certs.d/docker.io/hosts.toml",
            format!(
                "server = \"https://docker.io\"\n[host.\"http://{address}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
            ),
        ),
        (
            "containers/registries.conf.d/20-alias.conf",
            format!("[aliases]\n\"tiny\" = \"{address}/library/tiny\"\n"),
        ),
    ];
    for (name, text) in files {
        let machine = Machine::new();
        configure(&machine, name, &text);
        mica(&machine, &["pull", "-q", "tiny"]).ok();
        let shown = mica(&machine, &["info", "--registry", "docker.io/library"]);
        assert!(
            shown.ok().contains(address) && shown.ok().contains(name),
            "{name}: {shown}"
        );
        assert!(
            machine
                .ok(["images", "--format", "{{.Repository}}"])
                .contains("tiny")
        );
    }
    Ok(())
}

pub(crate) fn blocked_and_wrong_files() -> Outcome {
    let (registry, _origin) = registry()?;
    let machine = Machine::new();
    let name = format!("{}/team/app", registry.address);
    let text = format!("[[registry]]\nprefix = \"{name}\"\nblocked = true\n");
    configure(&machine, "containers/registries.conf", &text);
    mica(&machine, &["pull", &name]).fails(1, &["is blocked", "registries.conf"]);
    mica(
        &machine,
        &["pull", "-q", &format!("{}/library/tiny", registry.address)],
    )
    .ok();
    for (text, word) in [
        ("[registries.search]\nregistries = []\n", "version 1"),
        ("[[", "registries.conf"),
    ] {
        configure(&machine, "containers/registries.conf", text);
        mica(&machine, &["pull", &name]).fails(1, &[word]);
    }
    Ok(())
}

/// A server of `scripts/`; ends when dropped.
struct CertificateServer(Child);

impl Drop for CertificateServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who has the certificate that a registry wants is let in; how few pulls are left is told.
pub(crate) fn client_certificates() -> Outcome {
    needs(&["python3", "openssl"])?;
    let machine = Machine::new();
    let made = machine.path("made");
    fs::create_dir(&made).expect("it is ours");
    let script = repository().join("scripts/client-certificate-server.py");
    let mut command = Command::new(script);
    command
        .arg(&made)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut server = CertificateServer(command.spawn().expect("the script is there"));
    let out = server.0.stdout.take().expect("standard output is a pipe");
    let mut address = String::new();
    let read = BufReader::new(out).read_line(&mut address);
    read.expect("a pipe can be read");
    let name = format!("{}/app", address.trim());
    let known = machine.path(&format!("etc/docker/certs.d/{}", address.trim()));
    fs::create_dir_all(&known).expect("it is ours");
    let put = |from: &str, to: &str| {
        fs::copy(made.join(from), known.join(to)).expect("it is ours");
    };
    put("server.crt", "ca.crt");
    mica(&machine, &["tags", &name]).fails(1, &["wants a client certificate", "client.key"]);
    put("client.cert", "client.cert");
    put("client.key", "client.key");
    let shown = mica(&machine, &["tags", &name]);
    assert_eq!(shown.ok(), "v1");
    assert!(
        shown.stderr.contains("3 more of 100 pulls in 6 h"),
        "{shown}"
    );
    Ok(())
}

/// Docker's search, by name, stars and who keeps it; a registry without it has its catalogue searched.
pub(crate) fn search_filters() -> Outcome {
    let page = r#"{"results": [
        {"name": "library/tool", "description": "the\ttool", "star_count": 90, "is_official": true},
        {"name": "ada/tool", "description": null, "star_count": 90, "is_official": false},
        {"name": "bob/tool", "description": "a fork", "star_count": 2}]}"#;
    let server = WebServer::start([("/v1/search", Page::new(page))]);
    let machine = Machine::new();
    let term = format!("{}/tool", server.address);
    let names = |filters: &[&str]| {
        let mut arguments = vec![
            "search",
            "--format",
            "{{.Name}} {{.StarCount}}",
            "--limit",
            "7",
        ];
        arguments.extend(filters.iter().flat_map(|&filter| ["--filter", filter]));
        arguments.push(&term);
        let shown = machine.ok(arguments);
        shown.replace(&format!("{}/", server.address), "")
    };
    let (official, ada, bob) = ("library/tool 90", "ada/tool 90", "bob/tool 2");
    assert_eq!(names(&[]), [official, ada, bob].join("\n"));
    let asked = server.take_requests();
    assert_eq!(
        asked.last().map(String::as_str),
        Some("GET /v1/search?q=tool&n=7")
    );
    assert_eq!(names(&["stars=3"]), [official, ada].join("\n"));
    assert_eq!(names(&["stars=3", "is-official=false"]), ada);
    assert_eq!(names(&["is-official=true"]), official);
    assert_eq!(names(&["stars=91"]), "");
    machine
        .mica(["search", "--limit", "0", &term])
        .fails(125, &["1..=100"]);
    let table = machine.ok(["search", &term]);
    assert!(
        table.contains("the tool") && table.contains("[OK]"),
        "{table}"
    );
    for filter in ["stars=many", "is-official=perhaps", "pulls=3"] {
        machine
            .mica(["search", "--filter", filter, &term])
            .fails(1, &["invalid filter", filter]);
    }
    let (registry, _origin) = registry()?;
    let found = machine.ok([
        "search",
        "--format",
        "{{.Name}}",
        &format!("{}/ap", registry.address),
    ]);
    assert_eq!(found, format!("{}/team/app", registry.address));
    Ok(())
}

/// Files that all say something about the same hosts.
const ALL_FILES: [(&str, &str); 6] = [
    (
        "containers/registries.conf",
        r#"
        [[registry]]
        prefix = "hub.example"
        location = "conf.example/hub"
        insecure = true
        [[registry.mirror]]
        location = "conf-mirror.example"
        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "conf-mirror.example/hub"
        pull-from-mirror = "digest-only"
        "#,
    ),
    (
        "containers/registries.conf.d/90-late.conf",
        r#"
        [[registry]]
        prefix = "hub.example"
        location = "late.example"
        [[registry.mirror]]
        location = "late-mirror.example"
        "#,
    ),
    (
        "containers/registries.conf.d/10-early.conf",
        r#"
        [[registry]]
        prefix = "hub.example"
        location = "early.example"
        blocked = true
        "#,
    ),
    (
        "containerd/certs.d/hub.example/hosts.toml",
        r#"
        server = "https://toml.example"
        [host."https://toml-mirror.example"]
        capabilities = ["pull"]
        "#,
    ),
    (
        "containerd/certs.d/docker.io/hosts.toml",
        r#"
        [host."https://toml-mirror.example"]
        capabilities = ["pull", "resolve"]
        "#,
    ),
    (
        "docker/daemon.json",
        r#"{"registry-mirrors": ["https://daemon-mirror.example"],
            "insecure-registries": ["late.example", "conf.example"]}"#,
    ),
];

/// Mica's own file, about the same hosts.
const OWN_FILE: &str = r#"{"mirrors": {"docker.io": ["https://own-mirror.example"],
    "hub.example": ["https://own-mirror.example/hub"]}}"#;

/// Returns the address, what is pulled there and the file's name of each mirror.
fn mirrors(shown: &Value) -> Vec<String> {
    let one = |mirror: &Value| {
        let text = |field: &str| mirror[field].as_str().unwrap_or_default();
        let file = text("Source").rsplit('/').next().unwrap_or_default();
        format!("{} {} {file}", text("Address"), text("PullFrom"))
    };
    let list = shown["Mirrors"].as_array();
    list.into_iter().flatten().map(one).collect()
}

/// All files at once: their order, what each adds, and who said what.
pub(crate) fn precedence_of_all_files() -> Outcome {
    let machine = Machine::new();
    for (name, text) in ALL_FILES {
        configure(&machine, name, text);
    }
    let home = machine.path("home/.config/mica");
    fs::create_dir_all(&home).expect("it is ours");
    fs::write(home.join("config.json"), OWN_FILE).expect("it is ours");
    let described = |host: &str| -> Value {
        let mut command = machine.command(["info", "--format", "json", host]);
        command.env("MICA_ETC", machine.path("etc"));
        command.env("MICA_MIRROR", "docker.io=variable-mirror.example");
        serde_json::from_str(run(&mut command).ok()).expect("it is JSON")
    };
    let hub = described("hub.example");
    assert_eq!(
        mirrors(&hub),
        [
            "https://own-mirror.example/hub all config.json",
            "late-mirror.example all 90-late.conf",
            "conf-mirror.example all registries.conf",
            "https://toml-mirror.example digest-only hosts.toml",
        ]
    );
    assert_eq!(hub["Location"]["Value"], "late.example", "{hub}");
    let blocked = hub["BlockedBy"].as_str().unwrap_or_default();
    assert!(blocked.ends_with("10-early.conf"), "{hub}");
    let docker = described("docker.io");
    assert_eq!(
        mirrors(&docker),
        [
            "variable-mirror.example all MICA_MIRROR",
            "https://own-mirror.example all config.json",
            "conf-mirror.example/hub digest-only registries.conf",
            "https://toml-mirror.example all hosts.toml",
            "https://daemon-mirror.example all daemon.json",
        ]
    );
    for (host, file) in [
        ("late.example", "daemon.json"),
        ("conf.example", "registries.conf"),
    ] {
        let shown = described(host);
        assert_eq!(shown["Insecure"], true, "{shown}");
        let by = shown["InsecureBy"].as_str().unwrap_or_default();
        assert!(by.ends_with(file), "{shown}");
    }
    assert_eq!(described("other.example")["Insecure"], false);
    Ok(())
}

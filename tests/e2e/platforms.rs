//! Several platforms of one build, and builds that give the same bytes everywhere.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mica_tests::{Machine, Outcome, Registry, Skip, needs, run};
use serde_json::Value;

use super::outputs::{blob, build, build_line, json_of, manifest, text};

pub(crate) const CROSS: &str = "FROM --platform=$BUILDPLATFORM busybox AS make\nARG TARGETPLATFORM TARGETARCH BUILDPLATFORM\n\
    RUN echo \"$TARGETPLATFORM $TARGETARCH $BUILDPLATFORM\" > /out\nFROM scratch\nCOPY --from=make /out /out\n";
pub(crate) const BOTH: &str = "linux/amd64,linux/arm64";

pub(crate) fn platforms(index: &Value) -> Vec<String> {
    let entries = index["manifests"].as_array().expect("a list").iter();
    let name = |entry: &Value| {
        entry["platform"]["architecture"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    entries.map(name).collect()
}

/// Cross builds run on the build's own platform, and give one index.
pub(crate) fn one_index() -> Outcome {
    let machine = Machine::with_busybox();
    let (layout, out, file, id) = (
        machine.path("layout"),
        machine.path("out"),
        machine.path("meta"),
        machine.path("id"),
    );
    let line = format!(
        "--platform {BOTH} -t app -o type=oci,tar=false,dest={} -o type=local,dest={} -o type=tar,dest={} \
         --metadata-file {} --iidfile {} --annotation index,index-descriptor:of=index \
         --annotation manifest[linux/arm64],manifest-descriptor[linux/arm64]:of=arm",
        text(&layout),
        text(&out),
        text(&machine.path("t.tar")),
        text(&file),
        text(&id),
    );
    build_line(&machine, CROSS, &line);
    let index = manifest(&layout);
    assert_eq!(
        index["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    assert_eq!(platforms(&index), ["amd64", "arm64"]);
    assert_eq!(index["annotations"]["of"], "index");
    assert_eq!(index["manifests"][1]["annotations"]["of"], "arm");
    assert!(index["manifests"][0].get("annotations").is_none());
    let layout_index = json_of(&layout.join("index.json"));
    assert_eq!(layout_index["manifests"][0]["annotations"]["of"], "index");
    for (entry, architecture) in index["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .zip(["amd64", "arm64"])
    {
        let manifest = blob(&layout, &entry["digest"]);
        assert_eq!(
            blob(&layout, &manifest["config"]["digest"])["architecture"],
            architecture
        );
        let read = fs::read_to_string(out.join(format!("linux_{architecture}/out")));
        let expected = format!("linux/{architecture} {architecture} linux/amd64\n");
        assert_eq!(read.expect("it was written"), expected);
    }
    assert_eq!(
        blob(&layout, &index["manifests"][1]["digest"])["annotations"]["of"],
        "arm"
    );
    let list = run(Command::new("tar").arg("-tf").arg(machine.path("t.tar")));
    assert_eq!(
        list.ok(),
        "linux_amd64/\nlinux_amd64/out\nlinux_arm64/\nlinux_arm64/out"
    );
    let metadata = json_of(&file);
    let digest = &layout_index["manifests"][0]["digest"];
    assert_eq!(&metadata["containerimage.digest"], digest);
    assert!(metadata.get("containerimage.config.digest").is_none());
    assert_eq!(fs::read_to_string(&id).ok().as_deref(), digest.as_str());
    Ok(())
}

/// The store keeps all platforms under the one name.
pub(crate) fn merged_and_overlapping() -> Outcome {
    let machine = Machine::with_busybox();
    let out = machine.path("out");
    let spec = format!("type=local,dest={},platform-split=false", text(&out));
    let dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS make\nARG TARGETARCH\nRUN mkdir /o && echo $TARGETARCH > /o/of-$TARGETARCH\n\
        FROM scratch\nCOPY --from=make /o /\n";
    build(&machine, dockerfile, &["--platform", BOTH, "-o", &spec]);
    assert!(out.join("of-amd64").exists() && out.join("of-arm64").exists());
    let context = machine.context("context", &[("Dockerfile", CROSS)]);
    machine
        .mica(["build", "--platform", BOTH, "-o", &spec, text(&context)])
        .fails(1, &["cannot overwrite /out from linux/amd64 with linux/arm64 when split option is disabled"]);
    Ok(())
}

/// An error says which platform it is of; the others stop.
pub(crate) fn errors_name_the_platform() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile =
        "FROM --platform=$BUILDPLATFORM busybox\nARG TARGETARCH\nRUN test $TARGETARCH = amd64\n";
    let context = machine.context("context", &[("Dockerfile", dockerfile)]);
    let finished = machine.mica([
        "build",
        "--progress",
        "plain",
        "--platform",
        BOTH,
        "-t",
        "app",
        text(&context),
    ]);
    finished.fails(
        1,
        &["linux/arm64: ", "Dockerfile:3", "[linux/amd64 2/2] RUN"],
    );
    assert!(!machine.ok(["images"]).contains("app"));
    Ok(())
}

pub(crate) fn all_are_pushed() -> Outcome {
    needs(&["skopeo"])?;
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let raw = |name: &str| -> Value {
        let name = format!("docker://{name}");
        let raw =
            run(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &name]));
        serde_json::from_str(raw.ok()).expect("it is JSON")
    };
    let [direct, later] = ["direct", "later"].map(|name| format!("{}/{name}:v1", registry.address));
    build(
        &machine,
        CROSS,
        &["--platform", BOTH, "--push", "-t", &direct],
    );
    build(&machine, CROSS, &["--platform", BOTH, "-t", &later]);
    machine.ok(["push", "-q", &later]);
    for name in [&direct, &later] {
        assert_eq!(platforms(&raw(name)), ["amd64", "arm64"]);
        let to = format!(
            "oci:{}:x",
            text(&machine.path(&name.replace(['/', ':'], "-")))
        );
        let from = format!("docker://{name}");
        run(Command::new("skopeo").args([
            "copy",
            "-q",
            "--all",
            "--insecure-policy",
            "--src-tls-verify=false",
            &from,
            &to,
        ]))
        .ok();
    }
    assert_eq!(raw(&direct), raw(&later));
    // A foreign base beside the host's own: both stay under the name.
    let other = Machine::new();
    let dockerfile = format!("FROM {direct}\nCOPY --from={direct} /out /copy\n");
    let out = other.path("out");
    for _ in 0..2 {
        build(&other, &dockerfile, &["--platform", BOTH, "-o", text(&out)]);
    }
    for architecture in ["amd64", "arm64"] {
        let read = fs::read_to_string(out.join(format!("linux_{architecture}/copy")));
        assert!(
            read.expect("it was written")
                .starts_with(&format!("linux/{architecture} "))
        );
    }
    assert_eq!(
        other
            .ok(["images", "-a", "--format", "{{.Repository}}"])
            .lines()
            .count(),
        1
    );
    Ok(())
}

fn digest(machine: &Machine, setup: &dyn Fn(&mut Command), context: &Path, form: &str) -> String {
    let layout = machine.path(&format!("layout{}", form.len()));
    let spec = format!("type=oci,tar=false,dest={}{form}", text(&layout));
    let mut command = machine.command(["build", "-q", "-t", "app", "-o", &spec]);
    command.arg(context);
    setup(&mut command);
    run(&mut command).ok();
    json_of(&layout.join("index.json"))["manifests"][0]["digest"]
        .as_str()
        .expect("text")
        .to_owned()
}

/// Other stores, directories, times, time zones and processors give the same bytes.
pub(crate) fn the_same_everywhere() -> Outcome {
    needs(&["taskset"])?;
    let dockerfile = "FROM busybox\nARG SOURCE_DATE_EPOCH\nCOPY . /src\nRUN date +%s > /dev/null; echo $SOURCE_DATE_EPOCH > /e; \
        mkdir /z /a && seq 1 300000 > /z/n && touch /a/b && ln /z/n /a/n\nWORKDIR /w\nRUN rm -r /a\nENV X=1\n";
    let files = [
        ("Dockerfile", dockerfile),
        ("b", "b"),
        ("a/c", "c"),
        ("a/d", "d"),
    ];
    let forms = [
        ",rewrite-timestamp=true",
        ",rewrite-timestamp=true,compression=zstd",
        ",rewrite-timestamp=true,compression=gzip,compression-level=6",
    ];
    let first = Machine::with_busybox();
    let context = first.context("one", &files);
    let argument = |command: &mut Command| {
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
        command.args(epoch).env("TZ", "UTC");
    };
    let one = forms.map(|form| digest(&first, &argument, &context, form));
    let second = Machine::with_busybox();
    let mut reversed = files;
    reversed.reverse();
    let context = second.context("another-directory", &reversed);
    let touched = [context.join("b"), context.join("a")];
    run(Command::new("touch")
        .args(["-d", "2020-01-02"])
        .args(touched))
    .ok();
    let variable = |command: &mut Command| {
        command.env("SOURCE_DATE_EPOCH", "1000000000");
        on_one_processor(command.env("TZ", "Asia/Tokyo"));
    };
    let two = forms.map(|form| digest(&second, &variable, &context, form));
    assert_eq!(one, two);
    // Nothing in it is later than the time that was given.
    let layout = second.path(&format!("layout{}", forms[1].len()));
    let config = blob(&layout, &manifest(&layout)["config"]["digest"]);
    let history = config["history"].as_array().expect("there are steps");
    let times = history.iter().map(|step| &step["created"]);
    let mut times = times.chain([&config["created"]]).skip(1);
    assert!(times.all(|time| time == "2001-09-09T01:46:40Z"), "{config}");
    // It runs from the store as well, with the times that it left with.
    let line = "build -q --rewrite-timestamp --build-arg SOURCE_DATE_EPOCH=1000000000 -t here";
    second.ok(line.split(' ').chain([text(&context)]));
    let stat = "run --rm here stat -c %Y /z/n /src/b /w";
    assert_eq!(second.ok(stat.split(' ')), ["1000000000"; 3].join("\n"));
    Ok(())
}

/// Has a command run on one processor, so with one thread of each kind.
fn on_one_processor(command: &mut Command) {
    let pinned = std::mem::replace(command, Command::new("taskset"));
    command.args(["-c", "0"]).arg(pinned.get_program());
    command.args(pinned.get_args());
    for (name, value) in pinned.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// `SOURCE_DATE_EPOCH=context` is the time of the newest file that is not ignored.
pub(crate) fn the_time_of_the_context() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile =
        "FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN test $SOURCE_DATE_EPOCH = 1500000000\n";
    let files = [
        ("Dockerfile", dockerfile),
        (".dockerignore", "new\n"),
        ("new", ""),
        ("d/old", ""),
    ];
    let context = machine.context("context", &files);
    let touch = |name: &str, time: &str| {
        run(Command::new("touch")
            .args(["-d", time])
            .arg(context.join(name)))
        .ok();
    };
    for name in ["Dockerfile", ".dockerignore"] {
        touch(name, "@1400000000");
    }
    touch("d/old", "@1500000000");
    machine.ok([
        "build",
        "-q",
        "-t",
        "app",
        "--build-arg",
        "SOURCE_DATE_EPOCH=context",
        text(&context),
    ]);
    assert_eq!(
        machine.ok(["inspect", "-f", "{{.Created}}", "app"]),
        "2017-07-14T02:40:00Z"
    );
    Ok(())
}

/// Where the kernel is told of emulators; each process that needs it mounts it for itself.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
const EMULATOR: &str = "/usr/bin/qemu-aarch64-static";
const ENTRY: &str = "mica-test-aarch64";

/// An emulator that the kernel starts for arm64 programs, until the value ends.
struct Emulator {
    /// Keeps the kernel's table mounted, for itself alone.
    keeper: Child,
}

impl Emulator {
    fn register() -> Result<Self, Skip> {
        needs(&["qemu-aarch64-static", "unshare"])?;
        // The first bytes of an ELF file for AArch64, and those of them that count. `F`: the emulator is
        // opened now, so that it need not be in the root of the program.
        let zeros = r"\x00".repeat(8);
        let magic = format!(r"\x7fELF\x02\x01\x01\x00{zeros}\x02\x00\xb7\x00");
        let ones = r"\xff".repeat(8);
        let mask = format!(r"{}\x00{ones}\xfe\xff\xff\xff", r"\xff".repeat(7));
        let line = format!(":{ENTRY}:M::{magic}:{mask}:{EMULATOR}:F");
        let script = format!(
            "mount -t binfmt_misc binfmt_misc {BINFMT} && printf %s '{line}' > {BINFMT}/register && echo && \
             read -r end; echo -1 > {BINFMT}/{ENTRY}"
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.stderr(Stdio::null()).spawn().expect("it starts");
        let mut told = [0];
        let mut answer = keeper.stdout.take().expect("it is a pipe");
        let is_registered = answer.read_exact(&mut told).is_ok();
        let emulator = Self { keeper };
        match is_registered {
            true => Ok(emulator),
            false => Err(Skip("no emulator can be registered here".into())),
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A program for AArch64 without a library: it writes `aarch64` into `/out`.
fn arm64_program() -> Vec<u8> {
    const BASE: u32 = 0x40_0000;
    const HEADERS: u32 = 0x78;
    let (path, text) = (b"/out\0", b"aarch64\n");
    let mov = |register: u32, value: u32| 0xd280_0000 | (value & 0xffff) << 5 | register;
    let mov_high = |register: u32, value: u32| 0xf2a0_0000 | (value >> 16) << 5 | register;
    let call = 0xd400_0001_u32;
    let code = |path: u32, text_at: u32| {
        [
            0x9280_0c60, // the directory is the working directory: -100
            mov(1, path),
            mov_high(1, path),
            mov(2, 0o101), // O_WRONLY | O_CREAT
            mov(3, 0o644),
            mov(8, 56), // openat
            call,
            mov(1, text_at),
            mov_high(1, text_at),
            mov(2, 8),
            mov(8, 64), // write, to the file that was opened
            call,
            mov(0, 0),
            mov(8, 93), // exit
            call,
        ]
    };
    let data = BASE + HEADERS + 4 * code(0, 0).len() as u32;
    let words = code(data, data + path.len() as u32);
    let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    body.extend(path);
    body.extend(text);
    let size = u64::from(HEADERS) + body.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        values
            .iter()
            .for_each(|value| file.extend(value.to_le_bytes()));
    };
    let longs = |file: &mut Vec<u8>, values: &[u64]| {
        values
            .iter()
            .for_each(|value| file.extend(value.to_le_bytes()));
    };
    halves(&mut file, &[2, 183, 1, 0]);
    longs(&mut file, &[u64::from(BASE + HEADERS), 64, 0]);
    halves(&mut file, &[0, 0, 64, 56, 1, 0, 0, 0]);
    // One segment, to be read and run.
    halves(&mut file, &[1, 0, 5, 0]);
    longs(
        &mut file,
        &[0, BASE.into(), BASE.into(), size, size, 0x1000],
    );
    file.extend(body);
    file
}

/// Commands of another architecture run through an emulator; without one the error says what to do.
/// The same command for two platforms is two steps.
pub(crate) fn foreign_commands() -> Outcome {
    let machine = Machine::new();
    let context = machine.context(
        "c",
        &[(
            "Dockerfile",
            "FROM scratch\nCOPY --chmod=755 program /program\nRUN [\"/program\"]\n",
        )],
    );
    fs::write(context.join("program"), arm64_program()).expect("the context is ours");
    let (out, context) = (machine.path("out"), text(&context).to_owned());
    let output = format!("type=local,dest={}", text(&out));
    let build = |platforms: &str| {
        let platforms = format!("--platform={platforms}");
        machine.mica([
            "build",
            "--progress=plain",
            &platforms,
            "-o",
            &output,
            &context,
        ])
    };
    let native = Path::new(BINFMT).join("qemu-aarch64").exists();
    if !native {
        let refused = build("linux/arm64");
        assert_ne!(refused.code, 0, "{refused}");
        for part in ["it is for linux/arm64", "qemu-user-static"] {
            assert!(refused.stderr.contains(part), "{refused}");
        }
    }
    let _emulator = Emulator::register()?;
    let built = build(BOTH);
    built.ok();
    for platform in ["linux_amd64", "linux_arm64"] {
        let written = fs::read_to_string(out.join(platform).join("out"));
        assert_eq!(written.expect("the program ran"), "aarch64\n");
    }
    let lines = built.stderr.lines();
    let runs = lines.filter(|line| line.contains("] RUN") && line.trim_start().starts_with("ran"));
    assert_eq!(runs.count(), 2, "{built}");
    Ok(())
}

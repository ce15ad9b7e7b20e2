//! The store on an overlay, where overlayfs takes no upper directory: read-write layers are
//! clones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_tests::{Machine, Outcome, Skip, needs, run};

/// A machine whose store lies on an overlay over a file system that clones.
struct OnOverlay {
    // Unmounted before the machine looks for what is left.
    _mounts: Mounts,
    machine: Machine,
}

struct Mounts(Vec<PathBuf>);

impl Mounts {
    fn add(&mut self, mount: &mut Command, point: &Path) -> Outcome {
        let done = run(mount.arg(point));
        if done.code != 0 {
            return Err(Skip(done.stderr.trim().to_owned()));
        }
        self.0.push(point.to_owned());
        Ok(())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for point in self.0.iter().rev() {
            // The loop device goes with the mount.
            let done = run(Command::new("umount").arg(point));
            assert!(std::thread::panicking() || done.code == 0, "{done}");
        }
    }
}

impl OnOverlay {
    fn new() -> Result<Self, Skip> {
        needs(&["mkfs.xfs", "losetup"])?;
        let machine = Machine::new();
        let (image, disk) = (machine.path("image"), machine.path("disk"));
        let file = fs::File::create(&image).and_then(|file| file.set_len(512 << 20));
        file.expect("the directory is ours");
        run(Command::new("mkfs.xfs").arg("-q").arg(&image)).ok();
        for directory in [&disk, &machine.root()] {
            fs::create_dir(directory).expect("the directory is ours");
        }
        let mut mounts = Mounts(Vec::new());
        let mut mount = Command::new("mount");
        mounts.add(mount.args(["-o", "loop"]).arg(&image), &disk)?;
        for name in ["lower", "upper", "work"] {
            fs::create_dir(disk.join(name)).expect("the disk is ours");
        }
        let text = disk.display();
        let options = format!("lowerdir={text}/lower,upperdir={text}/upper,workdir={text}/work");
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &options]);
        mounts.add(&mut mount, &machine.root())?;
        let layout = mica_tests::base_images();
        machine.ok(["load", "-q", "-i", layout.to_str().expect("UTF-8")]);
        Ok(Self {
            _mounts: mounts,
            machine,
        })
    }
}

impl Drop for OnOverlay {
    fn drop(&mut self) {
        // A container would keep the mounts.
        self.machine.mica(["rm", "-f", "-v", "box"]);
    }
}

const DOCKERFILE: &str = "FROM busybox\n\
    COPY f /a/f\n\
    RUN echo more >> /a/f && ln /a/f /a/g && rm /bin/ls && mkdir /empty\n\
    RUN --mount=type=bind,target=/context,rw cp /context/f /copy && echo > /context/dropped && rm -r /home\n";

pub(crate) fn store_on_an_overlay() -> Outcome {
    let here = OnOverlay::new()?;
    let machine = &here.machine;
    machine.build("t", DOCKERFILE, &[("f", "hi\n"), (".dockerignore", "no\n")]);
    let again = machine.build("t", DOCKERFILE, &[("f", "hi\n"), (".dockerignore", "no\n")]);
    assert!(again.stderr.contains("CACHED"), "{again}");
    let run_it = ["run", "--rm", "--network", "none", "t", "cat"];
    let shown = machine.ok(run_it.into_iter().chain(["/a/g", "/copy"]));
    assert_eq!(shown, "hi\nmore\nhi");
    let history = machine.ok(["ls", "-R", "t"]);
    assert!(
        !history.contains("/bin/ls\n") && !history.contains("dropped"),
        "{history}"
    );
    containers(machine);
    looked_at(machine);
    let mut forced = machine.command(["run", "--rm", "--network", "none", "t", "true"]);
    run(forced.env("MICA_SNAPSHOTTER", "overlayfs")).fails(125, &["overlay"]);
    let mut wrong = machine.command(["images"]);
    run(wrong.env("MICA_SNAPSHOTTER", "zfs")).fails(1, &["MICA_SNAPSHOTTER", "reflink"]);
    let check = machine.ok(["system", "check", "--full"]);
    assert!(check.ends_with("the store is whole"), "{check}");
    Ok(())
}

/// A container runs, is changed, and becomes an image.
fn containers(machine: &Machine) {
    let background = [
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "none",
        "t",
        "sleep",
        "1000",
    ];
    machine.ok(background);
    let script = "echo own > /own && echo x >> /a/f && rm /bin/cat && mv /empty /full";
    machine.ok(["exec", "box", "sh", "-c", script]);
    assert_eq!(
        machine.ok(["inspect", "-f", "{{.Driver}}", "box"]),
        "reflink"
    );
    let changes = machine.ok(["diff", "box"]);
    let mut changes: Vec<_> = changes.lines().collect();
    changes.sort_unstable();
    let expected = [
        "A /full",
        "A /own",
        "C /a",
        "C /a/f",
        "C /bin",
        "D /bin/cat",
        "D /empty",
    ];
    assert_eq!(changes, expected);
    machine.ok(["commit", "box", "committed"]);
    let tree = machine.ok(["ls", "-R", "committed"]);
    assert!(tree.contains("own") && tree.contains("full"), "{tree}");
    assert_eq!(machine.ok(["cat", "committed", "/a/g"]), "hi\nmore");
    let out = machine.path("own");
    machine.ok(["cp", "box:/own", out.to_str().expect("UTF-8")]);
    assert_eq!(fs::read(&out).expect("it was copied"), b"own\n");
    machine.ok(["rm", "-f", "box"]);
}

/// The image of that container is mounted for reading.
fn looked_at(machine: &Machine) {
    let point = machine.path("point");
    machine.ok([
        "image",
        "mount",
        "committed",
        point.to_str().expect("UTF-8"),
    ]);
    assert_eq!(
        fs::read(point.join("a/f")).expect("it is mounted"),
        b"hi\nmore\nx\n"
    );
    assert!(fs::write(point.join("new"), "").is_err(), "it is read-only");
    machine.ok(["image", "unmount", "committed"]);
}

//! A store of a plain user's own: layers stay packed, and everything that needs no files works.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use mica_tests::{Finished, Machine, Outcome, Registry, needs, run};

/// `nobody` of Debian: it owns nothing.
const USER: u32 = 65534;

/// A user with a home directory, and a program that they can reach.
struct PlainUser {
    home: tempfile::TempDir,
}

impl PlainUser {
    fn new() -> Self {
        let home = tempfile::Builder::new().prefix("mica-user-").tempdir();
        let home = home.expect("a temporary directory can be made");
        let user = Self { home };
        fs::copy(mica_tests::mica(), user.path("mica")).expect("the directory is ours");
        let closed = fs::Permissions::from_mode(0o700);
        fs::set_permissions(user.home.path(), closed).expect("the directory is ours");
        for path in [user.home.path().to_owned(), user.path("mica")] {
            chown(path, Some(USER), Some(USER)).expect("root may");
        }
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Gives them a file.
    fn give(&self, from: &std::path::Path, name: &str) {
        fs::copy(from, self.path(name)).expect("the directory is there");
        chown(self.path(name), Some(USER), Some(USER)).expect("root may");
    }

    fn mica<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Finished {
        let user = USER.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        command.arg(self.path("mica")).args(arguments);
        command.current_dir(self.home.path()).env_clear();
        let session = self.path("session");
        run(command
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", session))
    }

    fn ok<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        self.mica(arguments).ok().to_owned()
    }
}

/// An image whose files belong to several users, and one that nobody can read.
fn pushed(machine: &Machine, name: &str) {
    let dockerfile = "FROM busybox\nCOPY --chown=5:6 --chmod=4711 a /d/a\n\
        RUN rm /bin/ls && chmod 0 /d/a && ln /d/a /d/b && mkfifo /d/pipe\n";
    machine.build(name, dockerfile, &[("a", "content")]);
    machine.ok(["push", "-q", name]);
}

const ID: [&str; 3] = ["inspect", "-f", "{{.Id}}"];

pub(crate) fn pull_unpack_save_and_push() -> Outcome {
    needs(&["setpriv"])?;
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let name = format!("{}/app:1", registry.address);
    pushed(&machine, &name);
    let user = PlainUser::new();
    user.ok(["pull", "-q", &name]);
    assert!(user.path(".local/share/mica/oci-layout").exists());
    let listed = user.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(listed, name);
    let id = |name: &str| machine.ok([ID[0], ID[1], ID[2], name]);
    assert_eq!(user.ok([ID[0], ID[1], ID[2], &name]), id(&name));
    user.ok(["image", "unpack", &name, "tree"]);
    let file = fs::metadata(user.path("tree/d/a")).expect("it was unpacked");
    assert_eq!(
        (file.mode() & 0o7777, file.uid(), file.nlink()),
        (0, USER, 2)
    );
    assert_eq!(
        fs::read(user.path("tree/d/b")).expect("root reads all"),
        b"content"
    );
    assert!(!user.path("tree/bin/ls").exists() && user.path("tree/bin/sh").exists());
    user.ok(["save", "-o", "saved.tar", &name]);
    let other = Machine::new();
    other.ok([
        "load",
        "-q",
        "-i",
        user.path("saved.tar").to_str().expect("UTF-8"),
    ]);
    assert_eq!(other.ok([ID[0], ID[1], ID[2], &name]), id(&name));
    assert_eq!(
        other.ok(["run", "--rm", "--network", "none", &name, "cat", "/d/b"]),
        "content"
    );
    let copy = format!("{}/copy:1", registry.address);
    user.ok(["tag", &name, &copy]);
    user.ok(["push", "-q", &copy]);
    let again = Machine::new();
    again.ok(["pull", "-q", &copy]);
    assert_eq!(again.ok([ID[0], ID[1], ID[2], &copy]), id(&name));
    assert!(
        user.ok(["system", "check", "--full"])
            .ends_with("the store is whole")
    );
    user.mica(["run", "--rm", &name, "true"])
        .fails(125, &["stays packed"]);
    Ok(())
}

pub(crate) fn load_import_and_remove() -> Outcome {
    needs(&["setpriv", "tar"])?;
    let machine = Machine::new();
    machine.build(
        "small",
        "FROM scratch\nCOPY --chown=7 a /a\n",
        &[("a", "x")],
    );
    let user = PlainUser::new();
    for format in ["docker-archive", "oci-archive"] {
        let archive = machine.path(format);
        let path = archive.to_str().expect("UTF-8");
        machine.ok(["save", "--format", format, "-o", path, "small"]);
        user.give(&archive, "in.tar");
        assert_eq!(
            user.ok(["load", "-i", "in.tar"]),
            "Loaded image: small:latest"
        );
        user.ok(["image", "unpack", "small", format]);
        assert_eq!(
            fs::read(user.path(format).join("a")).expect("it is there"),
            b"x"
        );
        user.ok(["rmi", "small"]);
        user.ok(["system", "prune", "-f"]);
    }
    let blobs = fs::read_dir(user.path(".local/share/mica/blobs/sha256"));
    assert_eq!(blobs.expect("the store is there").count(), 0);
    let tree = machine.context("tree", &[("b", "y")]);
    let layer = machine.path("layer.tar");
    run(Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-cf")
        .arg(&layer)
        .arg("b"))
    .ok();
    user.give(&layer, "layer.tar");
    user.ok(["import", "layer.tar", "imported:1"]);
    user.ok(["image", "unpack", "imported:1", "imported"]);
    assert_eq!(
        fs::read(user.path("imported/b")).expect("it is there"),
        b"y"
    );
    let text = fs::read(user.path("layer.tar")).expect("it is there");
    fs::write(user.path("layer.tar"), &text[..512]).expect("it is ours");
    user.mica(["import", "layer.tar", "broken:1"]).fails(1, &[]);
    fs::write(
        user.path("layer.tar"),
        "no archive, and no longer than a line",
    )
    .expect("it is ours");
    user.mica(["import", "layer.tar", "broken:1"]).fails(1, &[]);
    assert_eq!(
        user.ok(["images", "--format", "{{.Repository}}"]),
        "imported"
    );
    Ok(())
}

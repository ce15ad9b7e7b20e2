//! A store with a busybox image and a run root of their own, and what tests do with them.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mica_container::{
    AttachEnd, AttachStdio, ContainerId, Containers, CreateOptions, Error, ExecOptions,
    RemoveOptions, State, Streams,
};
use mica_oci::{Descriptor, ImageConfig, MediaType, Platform};
use mica_store::{Image, Store};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A static busybox, from Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// Says what the machine lacks.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    match std::fs::read(BUSYBOX) {
        // A dynamic binary names its loader.
        Ok(bytes) if !bytes[..4096].windows(4).any(|window| window == b"/ld-") => None,
        _ => Some(format!("needs a static {BUSYBOX} (package busybox-static)")),
    }
}

/// A store with the image `busybox` and its containers.
pub(crate) struct World {
    directory: tempfile::TempDir,
    pub(crate) containers: Containers,
    pub(crate) image: Image,
}

/// What a command in the foreground wrote, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let store = Store::open(&directory.path().join("store")).expect("a store can be made");
        let image = busybox_image(&store);
        let containers = Containers::open(store, &directory.path().join("run"))
            .expect("containers can be opened");
        Self {
            directory,
            containers,
            image,
        }
    }

    /// Another run root and store.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Options for a shell script, without a network.
    pub(crate) fn script(&self, script: &str) -> CreateOptions {
        self.command(&["sh", "-c", script])
    }

    pub(crate) fn command(&self, args: &[&str]) -> CreateOptions {
        let mut options = CreateOptions::new(self.image.clone(), "busybox");
        options.args = args.iter().map(|&arg| arg.to_owned()).collect();
        options.host.network = mica_container::NetworkMode::None;
        options
    }

    /// Makes and starts a container in the background.
    pub(crate) fn start(&self, options: CreateOptions) -> ContainerId {
        let id = self
            .containers
            .create(options)
            .expect("the container can be made");
        self.containers
            .start(&id, None)
            .expect("the container starts");
        id
    }

    /// Makes a container, runs it in the foreground, and removes it.
    pub(crate) fn run(&self, mut options: CreateOptions) -> Ran {
        options.host.auto_remove = true;
        self.run_kept(options).1
    }

    pub(crate) fn run_kept(&self, options: CreateOptions) -> (ContainerId, Ran) {
        let id = self
            .containers
            .create(options)
            .expect("the container can be made");
        let ran = self
            .start_attached(&id, None)
            .expect("the container starts");
        (id, ran)
    }

    /// Starts a container in the foreground, with `input` as its standard input.
    pub(crate) fn start_attached(
        &self,
        id: &ContainerId,
        input: Option<File>,
    ) -> Result<Ran, Error> {
        let streams = Streams {
            stdin: input.is_some(),
            stdout: true,
            stderr: true,
        };
        let attachment = self
            .containers
            .start(id, Some(streams))?
            .expect("streams were asked for");
        let (mut stdout, mut stderr) = (temporary(), temporary());
        let stdio = AttachStdio {
            stdin: input.map(OwnedFd::from),
            stdout: stdout.try_clone().unwrap().into(),
            stderr: stderr.try_clone().unwrap().into(),
        };
        let AttachEnd::Exited(code) = attachment.run(stdio, None)? else {
            panic!("nobody detached");
        };
        Ok(Ran {
            code,
            stdout: text(&mut stdout),
            stderr: text(&mut stderr),
        })
    }

    /// Runs a command in a running container.
    pub(crate) fn exec(&self, id: &ContainerId, args: &[&str]) -> Ran {
        let command = args.iter().map(|&arg| arg.to_owned()).collect();
        self.exec_with(id, &ExecOptions::new(command))
            .expect("the command starts")
    }

    pub(crate) fn exec_with(&self, id: &ContainerId, options: &ExecOptions) -> Result<Ran, Error> {
        let (mut stdout, mut stderr) = (temporary(), temporary());
        let stdio = AttachStdio {
            stdin: None,
            stdout: stdout.try_clone().unwrap().into(),
            stderr: stderr.try_clone().unwrap().into(),
        };
        let code = self.containers.exec(id, options, stdio)?.run()?;
        Ok(Ran {
            code,
            stdout: text(&mut stdout),
            stderr: text(&mut stderr),
        })
    }

    pub(crate) fn state(&self, id: &ContainerId) -> State {
        self.containers.state(id).expect("the state can be read")
    }

    /// All lines of a container's log so far.
    pub(crate) fn log(&self, id: &ContainerId, options: &mica_container::LogOptions) -> String {
        let mut all = Vec::new();
        self.containers
            .logs(id, options, &mut |_, bytes| {
                all.extend_from_slice(bytes);
                Ok(())
            })
            .expect("the log can be read");
        String::from_utf8(all).expect("the log is text")
    }

    /// Waits until the container's log has a line: the container got that far.
    pub(crate) fn wait_for_line(&self, id: &ContainerId, wanted: &str) {
        let mut seen = String::new();
        let options = mica_container::LogOptions {
            follow: true,
            ..Default::default()
        };
        let outcome = self.containers.logs(id, &options, &mut |_, bytes| {
            seen.push_str(&String::from_utf8_lossy(bytes));
            match seen.lines().any(|line| line == wanted) {
                true => Err(std::io::ErrorKind::Other.into()),
                false => Ok(()),
            }
        });
        assert!(
            outcome.is_err(),
            "the container ended without `{wanted}`: {seen}"
        );
    }

    pub(crate) fn remove(&self, id: &ContainerId) {
        let options = RemoveOptions {
            force: true,
            volumes: true,
        };
        self.containers
            .remove(id, options)
            .expect("the container can be removed");
    }

    /// Removes what the test left, and checks that nothing else is left.
    pub(crate) fn close(self) {
        for id in self.containers.ids().unwrap() {
            self.remove(&id);
        }
        self.wait_for_monitors();
        assert_eq!(
            self.containers.store().snapshots().unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(self.names(), Vec::<String>::new(), "names are left");
        assert_nothing_left(self.path());
    }

    /// Waits for the ends of all monitors: deletion goes on after a client was told the end.
    pub(crate) fn wait_for_monitors(&self) {
        for pid in monitors(&self.path().join("run")) {
            let Some(process) = Pid::from_raw(pid) else {
                continue;
            };
            let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else {
                continue;
            };
            poll(&mut [PollFd::new(&process, PollFlags::IN)], None).unwrap();
        }
    }

    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.path().join("store/containers/names")).unwrap();
        names
            .map(|name| name.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for World {
    /// A test that failed leaves nothing running either.
    fn drop(&mut self) {
        for id in self.containers.ids().unwrap_or_default() {
            let options = RemoveOptions {
                force: true,
                volumes: true,
            };
            // Its own failure is what counts.
            let _ = self.containers.remove(&id, options);
        }
        self.wait_for_monitors();
    }
}

/// No mount of the host and no monitor mentions the directory.
pub(crate) fn assert_nothing_left(directory: &Path) {
    let directory = directory.to_str().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(directory), "mounts are left: {mounts}");
}

/// The monitors of a run root, by PID.
pub(crate) fn monitors(runroot: &Path) -> Vec<i32> {
    let runroot = runroot.as_os_str().as_encoded_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let Ok(arguments) = std::fs::read(path.join("cmdline")) else {
            continue;
        };
        if arguments
            .split(|&byte| byte == 0)
            .any(|argument| argument == runroot)
        {
            found.extend(
                path.file_name()
                    .and_then(|name| name.to_str()?.parse::<i32>().ok()),
            );
        }
    }
    found
}

pub(crate) fn temporary() -> File {
    tempfile::tempfile().expect("a temporary file can be made")
}

pub(crate) fn text(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).expect("output is text");
    text
}

/// A file with that content, to be read from its beginning.
pub(crate) fn input(content: &[u8]) -> File {
    let mut file = temporary();
    std::io::Write::write_all(&mut file, content).unwrap();
    file.rewind().unwrap();
    file
}

/// Makes the image: busybox with its applets, users, and a directory with content for volumes.
pub(crate) fn busybox_image(store: &Store) -> Image {
    let writer = store.new_layer().unwrap();
    write_tree(writer.path());
    let layer = writer.commit().unwrap();
    let description = store.describe(&layer).unwrap();
    store.register(None, layer, &description).unwrap();
    let mut config = ImageConfig::scratch(&Platform::host());
    config.rootfs.diff_ids.push(description.diff_id.clone());
    config.history.push(Default::default());
    config.config.cmd = Some(vec!["sh".to_owned()]);
    config.config.env.push("PATH=/bin".to_owned());
    config.config.env.push("FROM_IMAGE=yes".to_owned());
    let digest = description.diff_id.0.clone();
    let layer = Descriptor::new(MediaType::OCI_LAYER, digest, description.size);
    let image = store.put_image(config, vec![layer]).unwrap();
    store
        .tag_image(&image.target, &"busybox".parse().unwrap())
        .unwrap();
    image
}

fn write_tree(root: &Path) {
    let make = |path: &str| std::fs::create_dir_all(root.join(path)).unwrap();
    for directory in ["bin", "etc", "tmp", "data/inner"] {
        make(directory);
    }
    std::fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    let applets = std::process::Command::new(BUSYBOX)
        .arg("--list")
        .output()
        .unwrap();
    for applet in String::from_utf8(applets.stdout).unwrap().lines() {
        let link: PathBuf = root.join("bin").join(applet);
        if !link.exists() {
            symlink("busybox", link).unwrap();
        }
    }
    let files = [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
        ),
        ("etc/group", "root:x:0:\nuser:x:1000:\n"),
        ("data/file", "from the image\n"),
        ("data/inner/file", "inside\n"),
    ];
    for (path, content) in files {
        std::fs::write(root.join(path), content).unwrap();
    }
    let mode = std::fs::Permissions::from_mode(0o1777);
    std::fs::set_permissions(root.join("tmp"), mode).unwrap();
    let mode = std::fs::Permissions::from_mode(0o750);
    std::fs::set_permissions(root.join("data/inner"), mode).unwrap();
}

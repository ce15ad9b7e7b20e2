//! Root, standard mounts, the caller's mounts.

use std::os::unix::fs::symlink;
use std::path::Path;

use mica_isolation::ExitStatus;
use mica_oci::{Access, Mount, MountKind};

use crate::fixture::{Image, run};
use crate::{Skip, Test};

pub(crate) const TESTS: &[Test] = &[
    (
        "writes_land_in_the_upper_directory",
        writes_land_in_the_upper_directory,
    ),
    ("many_layers_are_stacked", many_layers_are_stacked),
    ("a_single_layer_is_read_only", a_single_layer_is_read_only),
    ("a_directory_is_bound_as_root", a_directory_is_bound_as_root),
    (
        "the_root_is_read_only_when_asked",
        the_root_is_read_only_when_asked,
    ),
    ("devices_are_docker_s", devices_are_docker_s),
    ("paths_are_masked", paths_are_masked),
    ("mounts_are_attached", mounts_are_attached),
    ("a_link_does_not_lead_out", a_link_does_not_lead_out),
    ("the_host_sees_no_mount", the_host_sees_no_mount),
    (
        "the_working_directory_is_made",
        the_working_directory_is_made,
    ),
];

fn writes_land_in_the_upper_directory() -> Result<(), Skip> {
    let image = Image::new();
    image
        .shell("mkdir -p /new && echo text > /new/file && rm /etc/group")
        .success();
    let text = std::fs::read_to_string(image.path("upper/new/file")).expect("the file");
    assert_eq!(text, "text\n");
    assert!(!image.path("lower/new").exists());
    assert!(image.path("lower/etc/group").exists());
    assert!(
        image.path("upper/etc/group").symlink_metadata().is_ok(),
        "a whiteout"
    );
    Ok(())
}

fn many_layers_are_stacked() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "ls / | grep -c layer; cat /order"]);
    let MountKind::Overlay { lower, .. } = &mut spec.root else {
        unreachable!("an overlay")
    };
    // Past what mount(2)'s page of options holds; one path is longer than fsconfig(2) takes.
    for number in 0..150 {
        let long = if number == 0 {
            format!("{}/", "x".repeat(240))
        } else {
            String::new()
        };
        let name = format!("layers/{long}{number}");
        image.write(&format!("{name}/layer{number}"), "");
        image.write(&format!("{name}/order"), &number.to_string());
        lower.insert(number, image.path(&name));
    }
    assert_eq!(run(&spec).success(), "150\n0");
    Ok(())
}

fn a_single_layer_is_read_only() -> Result<(), Skip> {
    let image = Image::new();
    for name in ["proc", "dev", "sys"] {
        std::fs::create_dir_all(image.path("lower").join(name)).expect("a directory");
    }
    let mut spec = image.spec(&["sh", "-c", "touch /file"]);
    spec.root = MountKind::Overlay {
        lower: vec![image.path("lower")],
        upper: None,
    };
    let output = run(&spec);
    assert!(
        output.stderr.contains("Read-only file system"),
        "{output:?}"
    );
    Ok(())
}

fn a_directory_is_bound_as_root() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "echo text > /file"]);
    spec.root = MountKind::Bind {
        source: image.path("lower"),
    };
    run(&spec).success();
    assert!(image.path("lower/file").exists());
    Ok(())
}

fn the_root_is_read_only_when_asked() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "touch /tmp/run/file && touch /file"]);
    spec.root_access = Access::ReadOnly;
    spec.mounts = vec![Mount {
        kind: MountKind::Tmpfs {
            size: Some(1 << 20),
            mode: 0o700,
        },
        target: "/tmp/run".into(),
        access: Access::ReadWrite,
    }];
    let output = run(&spec);
    assert_eq!(output.exit.status, ExitStatus::Exited(1));
    assert_eq!(output.stderr, "touch: /file: Read-only file system\n");
    Ok(())
}

fn devices_are_docker_s() -> Result<(), Skip> {
    let image = Image::new();
    let output = image.shell(
        "ls /dev | grep -v -e mqueue -e core; stat -c '%a %t:%T' /dev/null /dev/urandom; \
         stat -c %a /dev /dev/shm; echo lost > /dev/null; readlink /dev/fd; readlink /dev/ptmx; \
         mount | grep -c '/dev/shm .*size=65536k'",
    );
    let expected = "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n\
                    666 1:3\n666 1:9\n755\n1777\n/proc/self/fd\npts/ptmx\n1";
    assert_eq!(output.success(), expected);
    Ok(())
}

fn paths_are_masked() -> Result<(), Skip> {
    let image = Image::new();
    let output = image.shell(
        "for f in kcore keys timer_list interrupts; do test -e /proc/$f && cat /proc/$f; done; \
         ls /sys/firmware /proc/acpi 2> /dev/null | grep -v :; echo 1 > /proc/sys/vm/drop_caches",
    );
    assert_eq!(output.stdout.trim(), "", "{output:?}");
    assert!(
        output.stderr.contains("Read-only file system"),
        "{output:?}"
    );
    let mut spec = image.spec(&["sh", "-c", "cat /proc/interrupts | wc -l"]);
    spec.paths = Default::default();
    assert_ne!(run(&spec).success(), "0");
    Ok(())
}

fn mounts_are_attached() -> Result<(), Skip> {
    let image = Image::new();
    image.write("host/shared/file", "from the host");
    image.write("host/config", "configuration");
    let bind = |source: &str, target: &str, access| Mount {
        kind: MountKind::Bind {
            source: image.path(source),
        },
        target: target.into(),
        access,
    };
    let mut spec = image.spec(&[
        "sh",
        "-c",
        "cat /data/deep/file /etc/app.conf; echo back > /data/deep/back; echo no > /read/only/file; \
         stat -c %a /memory; mount | grep /memory",
    ]);
    spec.mounts = vec![
        bind("host/shared", "/data/deep", Access::ReadWrite),
        bind("host/config", "/etc/app.conf", Access::ReadOnly),
        bind("host/shared", "/read/only", Access::ReadOnly),
        Mount {
            kind: MountKind::Tmpfs {
                size: Some(4096),
                mode: 0o1777,
            },
            target: "/memory".into(),
            access: Access::ReadWrite,
        },
    ];
    let output = run(&spec);
    assert!(
        output
            .stdout
            .starts_with("from the hostconfiguration1777\n"),
        "{output:?}"
    );
    assert!(output.stdout.contains("size=4k"), "{output:?}");
    assert!(
        output.stderr.contains("Read-only file system"),
        "{output:?}"
    );
    let back = std::fs::read_to_string(image.path("host/shared/back")).expect("the file");
    assert_eq!(back, "back\n");
    // Mount points stay behind in the root, as docker's do.
    assert!(image.path("upper/data/deep").is_dir());
    assert!(image.path("upper/etc/app.conf").is_file());
    Ok(())
}

fn a_link_does_not_lead_out() -> Result<(), Skip> {
    let image = Image::new();
    image.write("host/file", "mounted");
    let outside = image.path("outside");
    std::fs::create_dir_all(&outside).expect("a directory");
    symlink(&outside, image.path("lower/absolute")).expect("a link");
    symlink("../../../../../../../../tmp", image.path("lower/relative")).expect("a link");
    symlink("../run/made/config", image.path("lower/etc/config")).expect("a link");
    symlink("loop", image.path("lower/loop")).expect("a link");
    let script = "cat /absolute/point/file /tmp/point/file /run/made/config";
    let mut spec = image.spec(&["sh", "-c", script]);
    let points = [
        ("host", "/absolute/point"),
        ("host", "/relative/point"),
        ("host/file", "/etc/config"), // of a link to nowhere, the target is made
    ];
    spec.mounts = points
        .map(|(source, target)| Mount {
            kind: MountKind::Bind {
                source: image.path(source),
            },
            target: target.into(),
            access: Access::ReadOnly,
        })
        .into();
    assert_eq!(run(&spec).success(), "mountedmountedmounted");
    assert_eq!(
        std::fs::read_dir(&outside).expect("the directory").count(),
        0
    );
    assert!(!Path::new("/tmp/point").exists());
    spec.mounts[0].target = "/loop/point".into();
    let error = mica_isolation::spawn(&spec, mica_isolation::Stdio::Inherit).expect_err("a loop");
    let text = "cannot create the mount point /loop/point: \
                Too many levels of symbolic links (os error 40)";
    assert_eq!(error.to_string(), text);
    Ok(())
}

fn the_host_sees_no_mount() -> Result<(), Skip> {
    let image = Image::new();
    let (sandbox, stdout, stderr) = crate::fixture::start(&image.spec(&["sleep", "1000"]));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let root = image.path("root");
    assert!(!mounts.contains(root.to_str().expect("UTF-8")), "{mounts}");
    sandbox.signal(9).expect("a signal");
    crate::fixture::finish(sandbox, stdout, stderr);
    assert_eq!(std::fs::read_dir(root).expect("the directory").count(), 0);
    Ok(())
}

fn the_working_directory_is_made() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "pwd; stat -c '%a %u' ."]);
    spec.process.working_directory = "/srv/app".into();
    assert_eq!(run(&spec).success(), "/srv/app\n755 0");
    Ok(())
}

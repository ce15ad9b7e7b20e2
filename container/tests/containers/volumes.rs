//! Volumes, bound paths, memory file systems.

use std::os::unix::fs::MetadataExt;

use mica_container::{CreateOptions, Error, Prune, RemoveOptions};

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("a_named_volume_is_filled_and_outlives_containers", named),
    ("anonymous_volumes_go_with_their_container", anonymous),
    ("a_bound_path_is_the_host_s", bound),
    ("a_read_only_volume_refuses", read_only),
    ("tmpfs_is_as_asked", memory),
];

fn with_volume(world: &World, script: &str, volume: &str) -> CreateOptions {
    let mut options = world.script(script);
    options.volumes.push(volume.parse().unwrap());
    options
}

fn named(world: &World) {
    let script = "cat /data/file /data/inner/file; echo new > /data/file";
    let ran = world.run(with_volume(world, script, "vol:/data"));
    assert_eq!(ran.stdout, "from the image\ninside\n");
    let volume = world.containers.volumes().get("vol").unwrap();
    assert_eq!(
        std::fs::read_to_string(volume.mountpoint.join("file")).unwrap(),
        "new\n"
    );
    let mode = std::fs::metadata(volume.mountpoint.join("inner"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o7777, 0o750);
    // What has content is not filled again.
    let ran = world.run(with_volume(world, "cat /data/file", "vol:/data"));
    assert_eq!(ran.stdout, "new\n");
    let (id, _) = world.run_kept(with_volume(world, "true", "vol:/other"));
    let error = world
        .containers
        .volumes()
        .remove("vol")
        .expect_err("it is in use");
    assert_eq!(
        error.to_string(),
        format!("remove vol: volume is in use - [{id}]")
    );
    world.remove(&id);
    world.containers.volumes().remove("vol").unwrap();
    let none = world.containers.volumes().remove("vol");
    assert!(matches!(none, Err(Error::NoSuchVolume { .. })));
}

fn anonymous(world: &World) {
    let count = || world.containers.volumes().list().unwrap().len();
    let (id, ran) = world.run_kept(with_volume(world, "cat /data/file", "/data"));
    assert_eq!((ran.stdout.as_str(), count()), ("from the image\n", 1));
    world
        .containers
        .remove(
            &id,
            RemoveOptions {
                force: false,
                volumes: false,
            },
        )
        .unwrap();
    assert_eq!(count(), 1);
    assert_eq!(
        world
            .containers
            .volumes()
            .prune(Prune::Anonymous)
            .unwrap()
            .len(),
        1
    );
    world.run(with_volume(world, "true", "/data"));
    world.wait_for_monitors();
    assert_eq!(count(), 0);
}

fn bound(world: &World) {
    let host = world.path().join("made/by/mica");
    let volume = format!("{}:/bound", host.display());
    let script = "echo x > /bound/file; grep -c ' /bound ' /proc/self/mountinfo";
    assert_eq!(world.run(with_volume(world, script, &volume)).stdout, "1\n");
    assert_eq!(std::fs::read_to_string(host.join("file")).unwrap(), "x\n");
    let file = format!("{}:/etc/file", host.join("file").display());
    assert_eq!(
        world.run(with_volume(world, "cat /etc/file", &file)).stdout,
        "x\n"
    );
}

fn read_only(world: &World) {
    let ran = world.run(with_volume(world, "touch /data/x", "vol:/data:ro"));
    assert!(
        ran.stderr.contains("Read-only file system"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.code, 1);
}

fn memory(world: &World) {
    let mut options =
        world.script("df -k /scratch | tail -n 1 | awk '{print $1, $2}'; stat -c %a /scratch");
    options
        .host
        .tmpfs
        .push("/scratch:size=4m,mode=700".parse().unwrap());
    assert_eq!(world.run(options).stdout, "tmpfs 4096\n700\n");
    let mut options = world.script("true");
    options.host.tmpfs.push("/data".parse().unwrap());
    options.volumes.push("v1:/data".parse().unwrap());
    assert!(matches!(
        world.containers.create(options),
        Err(Error::Option(_))
    ));
}

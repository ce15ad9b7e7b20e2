//! Limits of memory, processes and CPU time.

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("too_much_memory_ends_in_a_kill_that_is_told", memory),
    ("too_many_processes_are_refused", processes),
    ("resource_limits_are_set", resources),
];

fn memory(world: &World) {
    let mut options = world.command(&["tail", "/dev/zero"]);
    options.host.limits.memory = Some(16 << 20);
    options.host.limits.memory_swap = Some(16 << 20);
    let (id, ran) = world.run_kept(options);
    assert_eq!(ran.code, 137);
    let state = world.state(&id);
    assert!(state.oom_killed, "{state:?}");
    let object = world
        .containers
        .inspect(&id, mica_container::Size::Omit)
        .unwrap();
    assert_eq!(object["State"]["OOMKilled"], true);
}

fn processes(world: &World) {
    let mut options = world.script("for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait");
    options.host.limits.pids = Some(4);
    let ran = world.run(options);
    assert!(ran.stderr.contains("can't fork"), "{}", ran.stderr);
}

fn resources(world: &World) {
    let mut options = world.script("ulimit -n");
    let limit = mica_container::parse_resource_limit("nofile=123:456").unwrap();
    options.host.resource_limits.push(limit);
    assert_eq!(world.run(options).stdout, "123\n");
}

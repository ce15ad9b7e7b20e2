//! Users, capabilities, seccomp, limits.

use mica_isolation::{
    Capabilities, CgroupLimits, ExitStatus, Resource, ResourceLimit, SandboxSpec, Seccomp,
};

use crate::fixture::{Image, run};
use crate::{Skip, Test};

pub(crate) const TESTS: &[Test] = &[
    (
        "root_has_docker_s_capabilities",
        root_has_docker_s_capabilities,
    ),
    ("capabilities_are_chosen", capabilities_are_chosen),
    ("a_user_has_no_capabilities", a_user_has_no_capabilities),
    ("users_are_looked_up_inside", users_are_looked_up_inside),
    ("seccomp_refuses", seccomp_refuses),
    (
        "seccomp_is_installed_either_way",
        seccomp_is_installed_either_way,
    ),
    (
        "host_devices_are_out_of_reach",
        host_devices_are_out_of_reach,
    ),
    ("resource_limits_are_set", resource_limits_are_set),
    (
        "the_environment_is_the_given_one",
        the_environment_is_the_given_one,
    ),
    ("the_host_name_is_set", the_host_name_is_set),
    ("a_user_can_reopen_its_output", a_user_can_reopen_its_output),
];

fn status(spec: &SandboxSpec, fields: &str) -> String {
    let mut spec = spec.clone();
    let script = format!("grep -E '^({fields}):' /proc/self/status");
    spec.process.args = ["sh", "-c", &script].map(str::to_string).into();
    run(&spec).success().replace('\t', " ")
}

fn root_has_docker_s_capabilities() -> Result<(), Skip> {
    let image = Image::new();
    let expected = "CapInh: 0000000000000000\nCapPrm: 00000000a80425fb\nCapEff: 00000000a80425fb\n\
                    CapBnd: 00000000a80425fb\nCapAmb: 0000000000000000";
    assert_eq!(status(&image.spec(&[]), "Cap..."), expected);
    Ok(())
}

fn capabilities_are_chosen() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&[]);
    spec.process.capabilities = Capabilities::NONE.with("CHOWN").expect("a name");
    assert_eq!(
        status(&spec, "CapEff|CapBnd")
            .matches("0000000000000001")
            .count(),
        2
    );
    spec.process.capabilities = Capabilities::NONE;
    assert_eq!(
        status(&spec, "CapEff|CapBnd")
            .matches("0000000000000000")
            .count(),
        2
    );
    Ok(())
}

fn a_user_has_no_capabilities() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&[]);
    spec.process.user = "app".to_string();
    let expected = "CapInh: 0000000000000000\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\n\
                    CapBnd: 00000000a80425fb\nCapAmb: 0000000000000000";
    assert_eq!(status(&spec, "Cap..."), expected);
    Ok(())
}

fn users_are_looked_up_inside() -> Result<(), Skip> {
    let image = Image::new();
    let check = |user: &str, additional: &[&str], expected: &str| {
        let mut spec = image.spec(&["sh", "-c", "id; echo $HOME"]);
        spec.process.user = user.to_string();
        spec.process.additional_groups = additional.iter().map(ToString::to_string).collect();
        assert_eq!(run(&spec).success(), expected);
    };
    check("", &[], "uid=0(root) gid=0(root) groups=0(root)\n/root");
    check(
        "app",
        &[],
        "uid=1000(app) gid=1001(app) groups=29(audio),1001(app)\n/home/app",
    );
    check(
        "1000:29",
        &[],
        "uid=1000(app) gid=29(audio) groups=29(audio)\n/home/app",
    );
    check(
        "77",
        &["audio"],
        "uid=77 gid=0(root) groups=0(root),29(audio)\n/",
    );
    Ok(())
}

fn seccomp_refuses() -> Result<(), Skip> {
    let image = Image::new();
    let output = image.shell("unshare -U true; unshare -m true");
    assert_eq!(
        output.stderr.matches("Operation not permitted").count(),
        2,
        "{output:?}"
    );
    let mut spec = image.spec(&["unshare", "-U", "true"]);
    spec.process.seccomp = Seccomp::Unconfined;
    assert_eq!(run(&spec).exit.status, ExitStatus::Exited(0));
    Ok(())
}

fn seccomp_is_installed_either_way() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&[]);
    assert_eq!(
        status(&spec, "NoNewPrivs|Seccomp"),
        "NoNewPrivs: 0\nSeccomp: 2"
    );
    spec.process.no_new_privileges = true;
    spec.process.user = "app".to_string();
    assert_eq!(
        status(&spec, "NoNewPrivs|Seccomp"),
        "NoNewPrivs: 1\nSeccomp: 2"
    );
    spec.process.seccomp = Seccomp::Unconfined;
    assert_eq!(
        status(&spec, "NoNewPrivs|Seccomp"),
        "NoNewPrivs: 1\nSeccomp: 0"
    );
    Ok(())
}

fn host_devices_are_out_of_reach() -> Result<(), Skip> {
    let image = Image::new();
    let script = "mknod /tmp/kmsg c 1 11 && dd if=/tmp/kmsg bs=1 count=0; \
                  mknod /tmp/zero c 1 5 && dd if=/tmp/zero bs=1 count=1 2> /dev/null | wc -c";
    let mut spec = image.spec(&["sh", "-c", script]);
    spec.cgroup = Some(image.cgroup(CgroupLimits::default()));
    let output = run(&spec);
    assert!(
        output.stderr.contains("Operation not permitted"),
        "{output:?}"
    );
    assert_eq!(output.success(), "1");
    Ok(())
}

fn resource_limits_are_set() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "ulimit -n; ulimit -H -n; ulimit -c; umask"]);
    spec.process.resource_limits = vec![
        ResourceLimit {
            resource: Resource::Nofile,
            soft: 100,
            hard: 200,
        },
        ResourceLimit {
            resource: Resource::Core,
            soft: 0,
            hard: 0,
        },
    ];
    assert_eq!(run(&spec).success(), "100\n200\n0\n0022");
    Ok(())
}

fn the_environment_is_the_given_one() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["env"]);
    spec.process.env = ["PATH=/bin", "NAME=a value"].map(str::to_string).into();
    assert_eq!(run(&spec).success(), "PATH=/bin\nNAME=a value\nHOME=/root");
    spec.process.env.push("HOME=/elsewhere".to_string());
    assert_eq!(
        run(&spec).success(),
        "PATH=/bin\nNAME=a value\nHOME=/elsewhere"
    );
    Ok(())
}

fn the_host_name_is_set() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["hostname"]);
    spec.hostname = Some("0123456789ab".to_string());
    assert_eq!(run(&spec).success(), "0123456789ab");
    Ok(())
}

fn a_user_can_reopen_its_output() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "echo one > /dev/stdout; echo two > /dev/stderr"]);
    spec.process.user = "app".to_string();
    let output = run(&spec);
    assert_eq!((output.success(), output.stderr.as_str()), ("one", "two\n"));
    Ok(())
}

//! A disk that fails: at every call of a command that changes files, the command is killed, the
//! machine loses power, or the call is refused. The store is whole after each, no name is lost,
//! and the command succeeds when it is run again.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mica_tests::{Machine, Outcome, run};

#[cfg(target_arch = "x86_64")]
use mica_tests::{Fault, Traced, trace};

/// A command, and what must be in the store whatever becomes of it.
struct Case {
    name: &'static str,
    arguments: Vec<String>,
    kept: &'static [&'static str],
}

/// Which calls are chosen: every one with `MICA_TEST_EVERY_CALL`, otherwise one in so many; all
/// kinds of calls are met with the many commands.
const ONE_IN: usize = 7;

/// A store with three images: two of them share their first layer.
fn template() -> Machine {
    let machine = Machine::new();
    let dockerfile = "FROM scratch\nCOPY one /one\n";
    machine.build("keep:1", dockerfile, &[("one", "1")]);
    machine.build(
        "keep:2",
        &format!("{dockerfile}COPY two /two\n"),
        &[("one", "1"), ("two", "2")],
    );
    machine.build(
        "go:1",
        "FROM scratch\nCOPY three /three\n",
        &[("three", "3")],
    );
    let archive = machine.path("in.tar");
    let other = Machine::new();
    other.build(
        "new:1",
        "FROM scratch\nCOPY a /a\nCOPY b /b\n",
        &[("a", "x"), ("b", "y")],
    );
    other.ok(["save", "-o", archive.to_str().expect("UTF-8"), "new:1"]);
    machine.context(
        "fresh",
        &[
            ("Dockerfile", "FROM keep:1\nCOPY f /f\nCOPY g /g\n"),
            ("f", "6"),
            ("g", "7"),
        ],
    );
    machine.ok(["create", "--name", "box", "keep:2", "/one"]);
    machine
}

fn cases(machine: &Machine) -> Vec<Case> {
    let path = |name: &str| machine.path(name).to_str().expect("UTF-8").to_owned();
    let case = |name, arguments: &[&str], kept| Case {
        name,
        arguments: arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect(),
        kept,
    };
    let all = &["keep:1", "keep:2", "go:1"];
    vec![
        case("load", &["load", "-q", "-i", &path("in.tar")], all),
        case(
            "build",
            &["build", "-q", "-t", "fresh:1", &path("fresh")],
            all,
        ),
        case(
            "tag",
            &["tag", "keep:1", "keep:2"],
            &["keep:1", "keep:2", "go:1"],
        ),
        case("commit", &["commit", "box", "committed:1"], all),
        case("rmi", &["rmi", "go:1"], &["keep:1", "keep:2"]),
        case("prune", &["system", "prune", "-f"], all),
    ]
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn at_every_call() -> Outcome {
    let template = template();
    for case in cases(&template) {
        let whole = Copied::of(&template);
        let calls = whole.trace(&case, None).calls;
        assert!(calls > 4, "{}: only {calls} calls", case.name);
        let step = match std::env::var_os("MICA_TEST_EVERY_CALL") {
            Some(_) => 1,
            None => ONE_IN,
        };
        for number in (0..calls).step_by(step) {
            killed(&template, &case, number);
            refused(&template, &case, number);
        }
    }
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn at_every_call() -> Outcome {
    Err(mica_tests::Skip(
        "the tracer knows the registers of x86_64 only".into(),
    ))
}

#[cfg(target_arch = "x86_64")]
fn killed(template: &Machine, case: &Case, number: usize) {
    let copy = Copied::of(template);
    let traced = copy.trace(case, Some((number, Fault::Kill)));
    let place = format!("{} killed at call {number}, {:?}", case.name, traced.hit);
    copy.is_whole(case, &place);
    traced.lose_power(&copy.root());
    copy.boot_again();
    copy.is_whole(case, &format!("{place}, and the machine lost power"));
    copy.works(case, &place);
}

#[cfg(target_arch = "x86_64")]
fn refused(template: &Machine, case: &Case, number: usize) {
    let copy = Copied::of(template);
    let traced = copy.trace(case, Some((number, Fault::Refuse)));
    let place = format!("{} refused call {number}, {:?}", case.name, traced.hit);
    let ended = traced.code.is_some_and(|code| code < 2 || code == 125);
    assert!(ended, "{place}: exit code {:?}", traced.code);
    copy.is_whole(case, &place);
    copy.works(case, &place);
}

/// A copy of a store, to be ruined.
struct Copied {
    directory: tempfile::TempDir,
}

impl Copied {
    fn of(template: &Machine) -> Self {
        let directory = tempfile::Builder::new().prefix("mica-crash-").tempdir();
        let copy = Self {
            directory: directory.expect("a temporary directory can be made"),
        };
        run(Command::new("cp")
            .arg("-a")
            .arg(template.root())
            .arg(copy.root()))
        .ok();
        fs::create_dir(copy.directory.path().join("home")).expect("the directory is ours");
        copy
    }

    fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("root")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(mica_tests::mica());
        command.arg("--root").arg(self.root());
        command
            .arg("--runroot")
            .arg(self.directory.path().join("run"));
        command.args(arguments);
        command.env("HOME", self.directory.path().join("home"));
        command
    }

    fn case_command(&self, case: &Case) -> Command {
        let arguments: Vec<&str> = case.arguments.iter().map(String::as_str).collect();
        self.command(&arguments)
    }

    #[cfg(target_arch = "x86_64")]
    fn trace(&self, case: &Case, fault: Option<(usize, Fault)>) -> Traced {
        let mut command = self.case_command(case);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        trace(&mut command, fault)
    }

    /// What is not synced is taken for lost by the next boot, whose ID is another one.
    fn boot_again(&self) {
        for boot in fs::read_dir(self.root().join("pending"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let earlier: &Path = "an-earlier-boot".as_ref();
            fs::rename(boot.path(), boot.path().with_file_name(earlier)).expect("it is ours");
        }
    }

    fn is_whole(&self, case: &Case, place: &str) {
        let checked = run(&mut self.command(&["system", "check", "--full"]));
        assert_eq!(checked.code, 0, "{place}: {checked}");
        let names = run(&mut self.command(&["images", "--format", "{{.Repository}}:{{.Tag}}"]));
        for kept in case.kept {
            let found = names.ok().lines().any(|name| name == *kept);
            assert!(found, "{place}: {kept} is lost: {names}");
        }
    }

    /// The same command succeeds now.
    fn works(&self, case: &Case, place: &str) {
        let again = run(&mut self.case_command(case));
        // Its work may have been done before it was killed.
        let is_done = case.name == "rmi" && again.stderr.contains("no such image");
        assert!(
            again.code == 0 || is_done,
            "{place}, then run again: {again}"
        );
        self.is_whole(case, &format!("{place}, then run again"));
    }
}

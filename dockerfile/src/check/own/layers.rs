//! `mica/UpdateWithoutInstall` and `mica/CacheLeftInLayer`.

use super::shell::ShellCommand;
use super::{Found, Place, runs};
use crate::check::rules::Rule;
use crate::instruction::{InstructionKind, RunInstruction, Stage};

/// What makes use of refreshed package lists.
const USES: [&str; 6] = [
    "install",
    "upgrade",
    "dist-upgrade",
    "full-upgrade",
    "build-dep",
    "download",
];

fn is_apt(command: &ShellCommand) -> bool {
    matches!(command.program(), "apt-get" | "apt")
}

/// Reports package lists that are refreshed in a step which installs nothing.
pub(super) fn update_without_install<'f>(stage: &'f Stage, findings: &mut Vec<Found<'f>>) {
    for (instruction, _, commands) in runs(stage) {
        let updates = commands
            .iter()
            .any(|it| is_apt(it) && it.verb() == "update");
        let uses = commands
            .iter()
            .any(|it| is_apt(it) && USES.contains(&it.verb()));
        if updates && !uses {
            findings.push(Found {
                rule: Rule::UpdateWithoutInstall,
                at: Place::from(instruction),
                message: "`apt-get update` without an install in the same RUN: a reused step leaves the package lists old".to_owned(),
            });
        }
    }
}

/// A package manager and what it leaves behind.
struct Manager {
    programs: &'static [&'static str],
    verb: &'static str,
    /// A word that keeps it from leaving anything.
    flag: &'static str,
    /// Where it leaves files: removing them, or mounting something there, is enough.
    places: &'static [&'static str],
    advice: &'static str,
}

const MANAGERS: [Manager; 4] = [
    Manager {
        programs: &["apt-get", "apt"],
        verb: "install",
        flag: "",
        places: &["/var/lib/apt", "/var/cache/apt"],
        advice: "add `rm -rf /var/lib/apt/lists/*` to the step",
    },
    Manager {
        programs: &["apk"],
        verb: "add",
        flag: "--no-cache",
        places: &["/var/cache/apk", "/etc/apk/cache"],
        advice: "use `apk add --no-cache`",
    },
    Manager {
        programs: &["dnf", "yum", "microdnf"],
        verb: "install",
        flag: "",
        places: &["/var/cache/dnf", "/var/cache/yum", "/var/cache"],
        advice: "add `dnf clean all` to the step",
    },
    Manager {
        programs: &["pip", "pip3"],
        verb: "install",
        flag: "--no-cache-dir",
        places: &["/root/.cache", "~/.cache", "$HOME/.cache"],
        advice: "use `pip install --no-cache-dir`",
    },
];

/// Reports caches of package managers that stay in a layer of the image.
pub(super) fn caches<'f>(stage: &'f Stage, findings: &mut Vec<Found<'f>>) {
    let pip_is_off = stage.instructions.iter().any(|instruction| {
        matches!(&instruction.kind, InstructionKind::Env(pairs)
            if pairs.iter().any(|pair| pair.name == "PIP_NO_CACHE_DIR"))
    });
    for (instruction, run, commands) in runs(stage) {
        let left = MANAGERS.iter().find(|manager| {
            let is_pip = manager.programs.contains(&"pip");
            manager.leaves(run, &commands) && !(is_pip && pip_is_off)
        });
        if let Some(manager) = left {
            let name = format!("{} {}", manager.programs[0], manager.verb);
            findings.push(Found {
                rule: Rule::CacheLeftInLayer,
                at: Place::from(instruction),
                message: format!("`{name}` leaves its cache in the layer: {}", manager.advice),
            });
        }
    }
}

impl Manager {
    fn leaves(&self, run: &RunInstruction, commands: &[ShellCommand]) -> bool {
        let is_own = |it: &&ShellCommand| self.programs.contains(&it.program());
        let mut installs = commands
            .iter()
            .filter(is_own)
            .filter(|it| it.verb() == self.verb);
        let flagged = |it: &ShellCommand| !self.flag.is_empty() && it.has_word(&[self.flag]);
        let cleans = |it: &ShellCommand| {
            (it.program() == "rm" && it.arguments().any(|path| self.is_place(path)))
                || (is_own(&it) && it.verb() == "clean" && !is_apt(it))
        };
        let mounted = run.mounts.iter().flat_map(|mount| &mount.fields);
        let mounted =
            mounted.filter(|it| matches!(it.key.as_str(), "target" | "dst" | "destination"));
        let is_mounted = mounted
            .filter_map(|field| field.value.as_deref())
            .any(|target| self.is_place(target));
        installs.any(|it| !flagged(it)) && !commands.iter().any(cleans) && !is_mounted
    }

    fn is_place(&self, path: &str) -> bool {
        self.places.iter().any(|place| path.starts_with(place))
    }
}

//! What a target takes: arguments, secrets and agents.

use super::finding::Lines;
use crate::mount::{Mount, MountKind};
use std::collections::{BTreeMap, BTreeSet};

/// What a target takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The target's name, if it has one.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// The build arguments, in the file's order.
    pub arguments: Vec<OutlineArgument>,
    /// The secrets, in the file's order.
    pub secrets: Vec<OutlineMount>,
    /// The ssh agents, in the file's order.
    pub ssh: Vec<OutlineMount>,
}

/// A build argument that a target uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArgument {
    /// Its name.
    pub name: String,
    /// Its value; empty if it has none.
    pub value: String,
    /// Its description.
    pub description: Option<String>,
    /// Where it is declared.
    pub lines: Lines,
}

/// A secret or an ssh agent that a target uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// Where it is first used.
    pub lines: Lines,
}

/// What a stage uses, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Capture {
    pub(super) arguments: BTreeMap<String, CapturedArgument>,
    pub(super) used: BTreeSet<String>,
    pub(super) secrets: BTreeMap<String, OutlineMount>,
    pub(super) ssh: BTreeMap<String, OutlineMount>,
}

/// An argument and the arguments that its default refers to.
#[derive(Debug, Clone)]
pub(super) struct CapturedArgument {
    pub(super) argument: OutlineArgument,
    pub(super) needs: BTreeSet<String>,
}

impl Capture {
    /// Returns the used arguments and all that they refer to.
    fn all_used(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut open: Vec<_> = self.used.iter().cloned().collect();
        while let Some(name) = open.pop() {
            let needs = self.arguments.get(&name).map(|it| &it.needs);
            open.extend(
                needs
                    .into_iter()
                    .flatten()
                    .filter(|it| !all.contains(*it))
                    .cloned(),
            );
            all.insert(name);
        }
        all
    }
}

impl Outline {
    /// Adds what a stage uses, unless a stage before it has the same.
    pub(super) fn add(&mut self, capture: &Capture) {
        for name in capture.all_used() {
            let known = self.arguments.iter().any(|it| it.name == name);
            if let Some(captured) = capture.arguments.get(&name).filter(|_| !known) {
                self.arguments.push(captured.argument.clone());
            }
        }
        add_mounts(&mut self.secrets, &capture.secrets);
        add_mounts(&mut self.ssh, &capture.ssh);
    }

    /// Puts all in the file's order.
    pub(super) fn sort(&mut self) {
        self.arguments.sort_by_key(|it| it.lines.first);
        self.secrets.sort_by_key(|it| it.lines.first);
        self.ssh.sort_by_key(|it| it.lines.first);
    }
}

fn add_mounts(all: &mut Vec<OutlineMount>, more: &BTreeMap<String, OutlineMount>) {
    for mount in more.values() {
        if !all.iter().any(|it| it.name == mount.name) {
            all.push(mount.clone());
        }
    }
}

/// The agent of a mount that names none.
const DEFAULT_AGENT: &str = "default";

impl Capture {
    /// Notes a secret or an agent; of several mounts of one, the first counts.
    pub(super) fn mount(&mut self, mount: &Mount, lines: Lines) {
        let base = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let (all, name) = match mount.kind {
            MountKind::Secret => {
                let named = mount.source.clone().or_else(|| mount.id.clone());
                (
                    &mut self.secrets,
                    named.or_else(|| mount.target.as_ref().map(base)),
                )
            }
            MountKind::Ssh => {
                let id = mount.source.clone().or_else(|| mount.id.clone());
                (
                    &mut self.ssh,
                    Some(id.unwrap_or_else(|| DEFAULT_AGENT.to_owned())),
                )
            }
            _ => return,
        };
        if let Some(name) = name {
            all.entry(name.clone()).or_insert(OutlineMount {
                name,
                required: mount.required,
                lines,
            });
        }
    }
}

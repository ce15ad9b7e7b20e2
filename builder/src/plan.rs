//! Which stages a target needs, as far as the Dockerfile alone tells.

use std::collections::HashSet;

use mica_dockerfile::{CopyInstruction, Dockerfile, InstructionKind, Stage};

use crate::error::ErrorKind;

/// The stages of a build: their bases among each other and what the target needs.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The stage to build.
    pub(crate) target: usize,
    /// The stages needed for it, itself included, in the order of the file.
    pub(crate) needed: Vec<usize>,
    /// The target and the stages that it is based on: those whose layers are the image's.
    pub(crate) result: HashSet<usize>,
}

impl Plan {
    /// Finds the target and all that it needs. `base` gives the expanded base name of a stage;
    /// `renamed` gives the name of the stage that a name means; `None` when `--build-context` puts
    /// something else in its place.
    pub(crate) fn new(
        dockerfile: &Dockerfile,
        target: Option<&str>,
        base: impl Fn(usize) -> Result<String, ErrorKind>,
        renamed: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ErrorKind> {
        let stages = &dockerfile.stages;
        let target = match target {
            None => stages.len() - 1,
            Some(name) => dockerfile
                .stage_index(name)
                .ok_or_else(|| ErrorKind::Target {
                    target: name.to_owned(),
                    known: stages
                        .iter()
                        .filter_map(|stage| stage.name.clone())
                        .collect(),
                })?,
        };
        let mut edges = Vec::with_capacity(stages.len());
        let mut bases = Vec::with_capacity(stages.len());
        for (index, stage) in stages.iter().enumerate() {
            let base = base(index)?;
            let base = renamed(&base).and_then(|base| earlier_stage(dockerfile, index, &base));
            bases.push(base);
            let mut needs: Vec<_> = base.into_iter().collect();
            for from in sources(stage).iter().filter_map(|from| renamed(from)) {
                needs.extend(copied_stage(dockerfile, index, &from)?);
            }
            edges.push(needs);
        }
        let mut needed = vec![false; stages.len()];
        mark(&edges, target, &mut needed);
        let needed = (0..stages.len()).filter(|&index| needed[index]).collect();
        let result = std::iter::successors(Some(target), |&stage| bases[stage]).collect();
        Ok(Self {
            target,
            needed,
            result,
        })
    }
}

/// The name that progress shows for a stage.
pub(crate) fn stage_name(stage: &Stage, index: usize) -> String {
    stage
        .name
        .clone()
        .unwrap_or_else(|| format!("stage-{index}"))
}

/// The stage that a base name means: only one that stands above.
pub(crate) fn earlier_stage(dockerfile: &Dockerfile, index: usize, base: &str) -> Option<usize> {
    let named = |stage: &Stage| {
        stage
            .name
            .as_deref()
            .is_some_and(|name| name.eq_ignore_ascii_case(base))
    };
    dockerfile.stages[..index].iter().rposition(named)
}

/// The stage that `--from` means: an earlier one, by name or number. A name that only a later
/// stage has is an error.
pub(crate) fn copied_stage(
    dockerfile: &Dockerfile,
    index: usize,
    from: &str,
) -> Result<Option<usize>, ErrorKind> {
    let number = || from.parse().ok().filter(|number| *number < index);
    let earlier = earlier_stage(dockerfile, index, from).or_else(number);
    if earlier.is_none() && dockerfile.stage_index(from).is_some() {
        return Err(ErrorKind::LaterStage {
            from: from.to_owned(),
            stage: stage_name(&dockerfile.stages[index], index),
        });
    }
    Ok(earlier)
}

/// What the instructions of a stage copy or mount from.
fn sources(stage: &Stage) -> Vec<String> {
    let mut froms = Vec::new();
    for instruction in &stage.instructions {
        match &instruction.kind {
            InstructionKind::Copy(CopyInstruction {
                from: Some(from), ..
            }) => {
                froms.push(from.clone());
            }
            InstructionKind::Run(run) => {
                froms.extend(
                    run.mounts
                        .iter()
                        .filter_map(|mount| mount.from().map(str::to_owned)),
                );
            }
            _ => {}
        }
    }
    froms
}

/// Marks a stage and all that it needs. Stages need earlier ones only, so this ends.
fn mark(edges: &[Vec<usize>], index: usize, needed: &mut [bool]) {
    needed[index] = true;
    for &next in &edges[index] {
        if !needed[next] {
            mark(edges, next, needed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, target: Option<&str>) -> Result<Vec<usize>, String> {
        let dockerfile = mica_dockerfile::parse(text).expect("the test's Dockerfile is valid");
        let base = |index: usize| Ok(dockerfile.stages[index].base.clone());
        Plan::new(&dockerfile, target, base, |name| Some(name.to_owned()))
            .map(|plan| plan.needed)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn only_needed_stages_are_built() {
        let text = "FROM a AS one\nFROM b AS two\nRUN x\nFROM one AS three\nCOPY --from=two /x /y\nFROM three\n";
        assert_eq!(plan(text, None).unwrap(), [0, 1, 2, 3]);
        assert_eq!(plan(text, Some("two")).unwrap(), [1]);
        assert_eq!(plan(text, Some("THREE")).unwrap(), [0, 1, 2]);
        assert!(plan(text, Some("four")).unwrap_err().contains("four"));
    }

    #[test]
    fn later_stages_are_refused() {
        let text = "FROM a AS one\nCOPY --from=two /x /y\nFROM one AS two\n";
        assert!(
            plan(text, None)
                .unwrap_err()
                .contains("before current stage")
        );
    }
}

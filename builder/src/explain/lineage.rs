//! The earlier builds that a step is compared with.

use mica_store::Store;
use serde::Deserialize;

use super::compare::{Side, compare};
use super::{FileList, Inputs, Miss, Reason};
use crate::builds::Builds;
use crate::cache::StepRecord;
use crate::error::ErrorKind;
use crate::event::Outcome;
use crate::key::CacheKey;

/// How many builds of the same Dockerfile and context are looked at, the last one first.
const OWN_BUILDS: usize = 5;

/// How many builds of others are looked at when the own ones never had the step.
const OTHER_BUILDS: usize = 5;

/// What earlier builds knew of their steps.
pub(crate) struct Lineage {
    own: Vec<Build>,
    others: Vec<Build>,
}

/// What is needed of a build's record.
#[derive(Deserialize)]
struct Build {
    id: String,
    steps: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    outcome: Outcome,
    site: Option<Site>,
}

#[derive(Deserialize)]
struct Site {
    stage: String,
    number: usize,
    instruction: String,
    key: Option<String>,
}

/// A step that misses.
pub(crate) struct Asked<'s> {
    /// The name of its stage.
    pub(crate) stage: &'s str,
    /// Its number there.
    pub(crate) number: usize,
    /// The instruction as it is written.
    pub(crate) instruction: &'s str,
    /// Its key.
    pub(crate) key: &'s CacheKey,
    /// What the key was made of.
    pub(crate) inputs: &'s Inputs,
    /// The files that it reads.
    pub(crate) files: &'s [FileList],
}

impl Lineage {
    /// Reads what the last builds of `source` left, and some of others.
    pub(crate) fn read(store: &Store, source: &str) -> Self {
        let builds = Builds::of(store);
        Self {
            own: builds.latest(OWN_BUILDS, |file| file.is_of(source)),
            others: builds.latest(OTHER_BUILDS, |file| !file.is_of(source)),
        }
    }

    /// Says why no earlier result serves; `None` where there is nothing to compare with at all.
    pub(crate) fn explain(
        &self,
        store: &Store,
        asked: &Asked<'_>,
    ) -> Result<Option<Miss>, ErrorKind> {
        if let Some(miss) = self.same_key(store, asked)? {
            return Ok(Some(miss));
        }
        let candidates = [
            (&self.own, Match::Text),
            (&self.own, Match::Place),
            (&self.others, Match::Text),
        ];
        for (builds, how) in candidates {
            let found = nearest(store, asked, builds, how)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok((!self.own.is_empty()).then(|| Miss::only(Reason::New)))
    }

    /// An earlier step with the very same key: its inputs are no reason.
    fn same_key(&self, store: &Store, asked: &Asked<'_>) -> Result<Option<Miss>, ErrorKind> {
        let key = asked.key.to_string();
        let site = |entry: &&Entry| {
            let site = entry.site.as_ref();
            site.is_some_and(|site| site.key.as_ref() == Some(&key))
        };
        for build in &self.own {
            let Some(entry) = build.steps.iter().find(site) else {
                continue;
            };
            let reason = match entry.outcome {
                Outcome::Failed | Outcome::Canceled => Reason::Failed,
                _ if StepRecord::get(store, asked.key)?.is_none() => Reason::Removed,
                // The record is there, but was made upon other layers.
                _ => Reason::Below {
                    step: asked.inputs.below.to_string(),
                },
            };
            return Ok(Some(Miss {
                reasons: vec![reason],
                compared: Some(build.id.clone()),
            }));
        }
        Ok(None)
    }
}

/// Which steps of an earlier build are taken for the same one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    /// Those of the same text, the nearest by number first.
    Text,
    /// The one at the same place, with the same kind of instruction.
    Place,
}

fn entries<'b>(build: &'b Build, asked: &Asked<'_>, how: Match) -> Vec<&'b Site> {
    let word = |text: &str| text.split_whitespace().next().map(str::to_uppercase);
    let matches = |site: &&Site| match how {
        Match::Text => site.instruction == asked.instruction,
        Match::Place => {
            (site.stage.as_str(), site.number) == (asked.stage, asked.number)
                && word(&site.instruction) == word(asked.instruction)
        }
    };
    let sites = build.steps.iter().filter_map(|entry| entry.site.as_ref());
    let mut found: Vec<&Site> = sites.filter(matches).collect();
    found.sort_by_key(|site| {
        (
            site.stage != asked.stage,
            site.number.abs_diff(asked.number),
        )
    });
    found
}

/// Compares with each candidate that has a record, and keeps the comparison with the fewest
/// changes; among equals that with the latest build.
fn nearest(
    store: &Store,
    asked: &Asked<'_>,
    builds: &[Build],
    how: Match,
) -> Result<Option<Miss>, ErrorKind> {
    let mut best: Option<Miss> = None;
    let mut seen = Vec::new();
    for build in builds {
        for site in entries(build, asked, how) {
            let Some(key) = site.key.as_deref().filter(|key| !seen.contains(key)) else {
                continue;
            };
            seen.push(key);
            let Some(record) = key.parse().ok().map(CacheKey) else {
                continue;
            };
            let Some(record) = StepRecord::get(store, &record)? else {
                continue;
            };
            let reasons = compared(store, asked, site, &record)?;
            let nearer = best
                .as_ref()
                .is_none_or(|best| reasons.len() < best.reasons.len());
            if nearer && !reasons.is_empty() {
                best = Some(Miss {
                    reasons,
                    compared: Some(build.id.clone()),
                });
            }
        }
    }
    Ok(best)
}

fn compared(
    store: &Store,
    asked: &Asked<'_>,
    site: &Site,
    record: &StepRecord,
) -> Result<Vec<Reason>, ErrorKind> {
    let old = Side {
        instruction: &site.instruction,
        inputs: &record.inputs,
        files: &record.files,
    };
    let new = Side {
        instruction: asked.instruction,
        inputs: asked.inputs,
        files: asked.files,
    };
    compare(store, &old, &new)
}

//! `mica/UnpinnedBase`.

use super::{Found, Place};
use crate::check::request::CheckRequest;
use crate::check::rules::Rule;
use crate::instruction::Dockerfile;
use std::collections::BTreeSet;

/// Reports bases that are another image tomorrow: without a digest, and without a tag or with the
/// tag `latest`. A name with a variable is left to whoever sets it.
pub(super) fn unpinned<'f>(
    file: &'f Dockerfile,
    request: &CheckRequest<'_>,
    findings: &mut Vec<Found<'f>>,
) {
    let mut names = BTreeSet::from(["scratch"]);
    for stage in &file.stages {
        let base = stage.base.as_str();
        let is_stage = names.contains(base.to_lowercase().as_str());
        names.extend(stage.name.as_deref());
        if is_stage || base.contains('$') || (request.facts.replaced)(base) {
            continue;
        }
        let last = base.rsplit('/').next().unwrap_or(base);
        let message = match last.split_once(':') {
            _ if base.contains('@') => continue,
            None => {
                format!("Base image {base} has neither tag nor digest: it is whatever `latest` is")
            }
            Some((_, "latest")) => {
                format!("Base image {base} is another one whenever `latest` moves")
            }
            Some(_) => continue,
        };
        findings.push(Found {
            rule: Rule::UnpinnedBase,
            at: Place::from(stage),
            message,
        });
    }
}

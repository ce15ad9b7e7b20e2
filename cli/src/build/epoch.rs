//! `SOURCE_DATE_EPOCH`: a number, or `context` for the time of the newest file of the context.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use mica_dockerfile::ignore::{self, Matcher, ParentMatches, Verdict};

use super::context::Context;
use crate::failure::CliError;
use crate::session::Session;

const NAME: &str = "SOURCE_DATE_EPOCH";

/// Finds the time among the build arguments or in the environment, and leaves it among the build
/// arguments as a number, for steps that declare it.
pub(super) fn resolve(
    build_args: &mut BTreeMap<String, String>,
    session: &Session,
    context: &Context,
) -> Result<Option<Timestamp>, CliError> {
    let given = build_args.get(NAME).cloned();
    let Some(text) = given.or_else(|| session.environment.variable(NAME)) else {
        return Ok(None);
    };
    if text.is_empty() {
        return Ok(None);
    }
    let time = match text.as_str() {
        "context" => newest_of(context)?,
        text => Some(parse(text)?),
    };
    match time {
        Some(time) => build_args.insert(NAME.to_owned(), time.as_second().to_string()),
        None => build_args.remove(NAME),
    };
    Ok(time)
}

fn parse(text: &str) -> Result<Timestamp, CliError> {
    let seconds = text.parse().ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.ok_or_else(|| CliError::Variable {
        variable: NAME,
        value: text.to_owned(),
        reason: "expected seconds since 1970, or context".to_owned(),
    })
}

/// The time of the newest file; directories do not count, for a check-out makes them anew.
fn newest_of(context: &Context) -> Result<Option<Timestamp>, CliError> {
    let Some(directory) = &context.directory else {
        return Ok(None);
    };
    let ignored = context.ignore.as_ref().map(|ignore| &ignore.text);
    let lines = ignored.map_or_else(Vec::new, |text| ignore::read(text));
    // The build reports a pattern that is wrong; here it ignores nothing.
    let matcher = Matcher::from_lines(&lines).unwrap_or_default();
    let mut newest = None;
    let parent = ParentMatches::default();
    look(directory, Path::new(""), &matcher, &parent, &mut newest)?;
    Ok(newest.and_then(|seconds| Timestamp::from_second(seconds).ok()))
}

fn look(
    root: &Path,
    below: &Path,
    matcher: &Matcher,
    parent: &ParentMatches,
    newest: &mut Option<i64>,
) -> Result<(), CliError> {
    let directory = root.join(below);
    let failed = |source| CliError::File {
        action: "read the context",
        path: directory.clone(),
        source,
    };
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry.metadata().map_err(failed)?;
        let path = below.join(entry.file_name());
        let matched = matcher.descend(&path.to_string_lossy(), parent);
        let (verdict, matched) = matched.unwrap_or((Verdict::Kept, ParentMatches::default()));
        if metadata.is_dir() {
            if verdict == Verdict::Kept || matcher.has_exclusions() {
                look(root, &path, matcher, &matched, newest)?;
            }
        } else if verdict == Verdict::Kept {
            *newest = (*newest).max(Some(metadata.mtime()));
        }
    }
    Ok(())
}

//! From the command line of `mica build` to the request that the engine takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use mica_builder::{BuildRequest, CachePolicy, NamedContext, SecretSource, SshSource};
use mica_oci::{Platform, Reference};

use super::context::Context;
use super::sandbox::{entitlements, sandbox};
use crate::commands::build::BuildArgs;
use crate::failure::{CliError, Failure};
use crate::session::Session;

pub(super) fn invalid(flag: &'static str, value: &str, reason: &str) -> CliError {
    CliError::FlagValue {
        flag,
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Fills the request.
pub(crate) fn request(
    args: &BuildArgs,
    session: &Session,
    context: &Context,
    named_contexts: BTreeMap<String, NamedContext>,
    secrets: BTreeMap<String, SecretSource>,
    ssh: BTreeMap<String, SshSource>,
) -> Result<BuildRequest, Failure> {
    let mut build_args = variables(args, session);
    let epoch = super::epoch::resolve(&mut build_args, session, context)?;
    Ok(BuildRequest {
        dockerfile: context.dockerfile.clone(),
        context: context.directory.clone(),
        ignore: context.ignore.clone(),
        named_contexts,
        build_args,
        labels: pairs(&args.label),
        target: args.target.clone(),
        platform: Platform::host(),
        build_platform: Platform::host(),
        cache: cache_policy(args),
        inline_cache: false,
        secrets,
        ssh,
        entitlements: entitlements(args)?,
        sandbox: sandbox(args, session)?,
        now: Timestamp::now(),
        epoch,
        squash: args.output.squash(),
    })
}

/// Reads `--tag`.
pub(crate) fn tags(texts: &[String]) -> Result<Vec<Reference>, CliError> {
    let read = |text: &String| {
        let parsed = text.parse::<Reference>();
        let parsed = parsed.map_err(|error| invalid("-t, --tag", text, &error.to_string()))?;
        match parsed.digest() {
            None => Ok(parsed),
            Some(_) => Err(invalid("-t, --tag", text, "a tag has no digest")),
        }
    };
    texts.iter().map(read).collect()
}

/// Reads `--platform`, each one once; without it the environment's or the host's.
pub(crate) fn platforms(texts: &[String], session: &Session) -> Result<Vec<Platform>, CliError> {
    let mut platforms = Vec::with_capacity(texts.len());
    for text in texts {
        if let Some(platform) = session.environment.platform(Some(text.trim()))?
            && !platforms.contains(&platform)
        {
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        let usual = session.environment.platform(None)?;
        platforms.push(usual.unwrap_or_else(Platform::host));
    }
    Ok(platforms)
}

fn variables(args: &BuildArgs, session: &Session) -> BTreeMap<String, String> {
    let own = |name: &str| session.environment.passed_on(name);
    let given = args
        .build_arg
        .iter()
        .filter_map(|text| match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => Some((text.clone(), own(text)?)),
        });
    given.collect()
}

fn pairs(texts: &[String]) -> BTreeMap<String, String> {
    let split = |text: &String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (text.clone(), String::new()),
    };
    texts.iter().map(split).collect()
}

fn cache_policy(args: &BuildArgs) -> CachePolicy {
    if args.no_cache {
        return CachePolicy::Ignore;
    }
    let stages: BTreeSet<String> = args
        .no_cache_filter
        .iter()
        .flat_map(|list| list.split(','))
        .map(str::to_owned)
        .collect();
    if stages.is_empty() {
        CachePolicy::Use
    } else {
        CachePolicy::IgnoreStages(stages)
    }
}

/// Reads the `--secret` flags.
pub(crate) fn secrets(
    texts: &[String],
    session: &Session,
) -> Result<BTreeMap<String, SecretSource>, CliError> {
    texts.iter().map(|text| secret(text, session)).collect()
}

/// Reads `id=ID[,src=FILE|,env=NAME]`; the source is by default a variable or file of that name.
fn secret(text: &str, session: &Session) -> Result<(String, SecretSource), CliError> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
            Some(("env", value)) => variable = Some(value.to_owned()),
            Some(("type", value)) => kind = Some(value),
            _ => {
                return Err(invalid(
                    "--secret",
                    text,
                    "expected id=ID,src=FILE or id=ID,env=NAME",
                ));
            }
        }
    }
    let id = id.ok_or_else(|| invalid("--secret", text, "id is missing"))?;
    if kind == Some("env") && variable.is_none() {
        variable = file.take().map(|path| path.display().to_string());
    }
    let named = variable.is_some();
    let value = match file {
        Some(_) => None,
        None => session
            .environment
            .passed_on(variable.as_deref().unwrap_or(&id)),
    };
    match (file, value) {
        (Some(path), _) => Ok((id, SecretSource::File(path))),
        (None, Some(value)) => Ok((id, SecretSource::Value(value.into_bytes()))),
        (None, None) if named => Err(invalid(
            "--secret",
            text,
            "the variable is not set in the environment",
        )),
        (None, None) => {
            let path = PathBuf::from(&id);
            Ok((id, SecretSource::File(path)))
        }
    }
}

//! `mica tags`: the tags of a repository in a registry.

use clap::{Args, Subcommand};
use mica_oci::Reference;
use mica_registry_client::Actions;
use serde_json::json;

use super::insecure::InsecureArgs;
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// List the tags of a repository in a registry
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_precedence_over_arg = true
)]
pub(crate) struct TagsArgs {
    #[command(subcommand)]
    command: Option<TagsCommand>,
    /// Only tags that a pattern fits, such as 'v1.*'
    #[arg(long, value_name = "PATTERN")]
    filter: Option<String>,
    /// Format output: `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
    #[command(flatten)]
    tls: InsecureArgs,
    /// The repository
    #[arg(value_name = "REPOSITORY", required = true)]
    repository: Option<String>,
}

/// What else can be done with tags.
#[derive(Subcommand, Debug)]
pub(crate) enum TagsCommand {
    /// Remove tags from a registry
    Rm(RemoveArgs),
}

/// Remove tags from a registry
#[derive(Args, Debug)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    tls: InsecureArgs,
    /// The names with their tags
    #[arg(required = true, value_name = "NAME:TAG")]
    names: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &TagsArgs, session: &Session) -> Outcome {
    match (&args.command, &args.repository) {
        (Some(TagsCommand::Rm(args)), _) => remove(args, session),
        (None, Some(repository)) => list(args, repository, session),
        (None, None) => {
            let message = "'mica tags' requires a repository".into();
            Err(CliError::Arguments { message }.into())
        }
    }
}

fn list(args: &TagsArgs, repository: &str, session: &Session) -> Outcome {
    let bare = repository.strip_prefix("docker://").unwrap_or(repository);
    let reference: Reference = bare.parse()?;
    let registry = args.tls.registry(session, [reference.registry()])?;
    let client = registry.repository(&reference, Actions::Pull);
    let mut tags = session.block_on(client.tags())??;
    if let Some(pattern) = &args.filter {
        tags.retain(|tag| super::sync::fits(pattern, tag));
    }
    if args.format.is_some() {
        let name = format!("{}/{}", reference.registry(), reference.repository());
        let list = json!({ "Repository": name, "Tags": tags });
        session.printer.line(format!("{list:#}"))?;
        return Ok(Exit::Success);
    }
    for tag in tags {
        session.printer.line(tag)?;
    }
    Ok(Exit::Success)
}

/// Removes tags; where a registry removes only manifests, that is said.
fn remove(args: &RemoveArgs, session: &Session) -> Outcome {
    let client = args.tls.registry_of(session, &args.names)?;
    for name in &args.names {
        let reference: Reference = name.parse()?;
        if reference.tag().is_none() || reference.digest().is_some() {
            let message = format!("`{name}` has no tag: `mica manifest rm --remote` takes digests");
            return Err(CliError::Arguments { message }.into());
        }
        let repository = client.repository(&reference, Actions::Delete);
        let deleted = session.block_on(repository.delete(&reference))?;
        deleted.map_err(only_digests)?;
        session
            .printer
            .line(format!("Removed: {}", reference.familiar()))?;
    }
    Ok(Exit::Success)
}

fn only_digests(error: mica_registry_client::RegistryError) -> Failure {
    let is_refused = matches!(error.status(), Some(400 | 404 | 405));
    let failure = Failure::from(error);
    match is_refused {
        true => failure.with_hint(
            "this registry may remove manifests alone, with all their tags: \
             `mica manifest rm --remote NAME:TAG`",
        ),
        false => failure,
    }
}

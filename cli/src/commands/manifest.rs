//! `mica manifest`: manifests and manifest lists in registries.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use clap::{Args, Subcommand};
use mica_oci::{
    Descriptor, Document, ImageConfig, Index, Manifest, MediaType, Platform, Push, Reference,
    Resolve, Tag,
};
use mica_registry_client::{Actions, Registry, Repository};
use serde_json::{Value, json};

use super::insecure::InsecureArgs;
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::manifest_lists::{Draft, Drafts};
use crate::place;
use crate::session::Session;

/// `mica manifest`.
#[derive(Subcommand, Debug)]
pub(crate) enum ManifestCommand {
    /// Add additional information to a local image manifest
    Annotate(AnnotateArgs),
    /// Create a local manifest list for annotating and pushing to a registry
    Create(CreateArgs),
    /// Display an image manifest, or manifest list
    Inspect(InspectArgs),
    /// Push a manifest list to a repository
    Push(PushArgs),
    /// Delete one or more manifest lists from local storage, or manifests from a registry
    Rm(RemoveArgs),
}

/// Add additional information to a local image manifest
#[derive(Args, Debug)]
pub(crate) struct AnnotateArgs {
    /// Set architecture
    #[arg(long)]
    arch: Option<String>,
    /// Set operating system
    #[arg(long)]
    os: Option<String>,
    /// Set operating system feature
    #[arg(long, value_delimiter = ',')]
    os_features: Vec<String>,
    /// Set operating system version
    #[arg(long)]
    os_version: Option<String>,
    /// Set architecture variant
    #[arg(long)]
    variant: Option<String>,
    /// Set an annotation of the manifest's entry
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    #[arg(value_name = "MANIFEST")]
    manifest: String,
}

/// Create a local manifest list for annotating and pushing to a registry
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Amend an existing manifest list
    #[arg(short, long)]
    amend: bool,
    #[command(flatten)]
    tls: InsecureArgs,
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<String>,
}

/// Display an image manifest, or manifest list
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    tls: InsecureArgs,
    /// Output additional info including layers and platform
    #[arg(short, long)]
    verbose: bool,
    /// Print the manifest byte for byte
    #[arg(long, conflicts_with = "verbose")]
    raw: bool,
    /// The image, and perhaps the local manifest list before it
    #[arg(required = true, num_args = 1..=2, value_name = "[MANIFEST_LIST] MANIFEST")]
    names: Vec<String>,
}

/// Push a manifest list to a repository
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    tls: InsecureArgs,
    /// Remove the local manifest list after push
    #[arg(short, long)]
    purge: bool,
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    /// Where to, when that is another name
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
}

/// Delete manifest lists from local storage, or manifests from a registry
#[derive(Args, Debug)]
pub(crate) struct RemoveArgs {
    /// Remove manifests from their registry, by digest
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    tls: InsecureArgs,
    #[arg(required = true, value_name = "MANIFEST_LIST")]
    names: Vec<String>,
}

/// Runs a command of the group.
pub(crate) fn run(command: &ManifestCommand, session: &Session) -> Outcome {
    match command {
        ManifestCommand::Annotate(args) => annotate(args, session),
        ManifestCommand::Create(args) => create(args, session),
        ManifestCommand::Inspect(args) => inspect(args, session),
        ManifestCommand::Push(args) => push(args, session),
        ManifestCommand::Rm(args) => remove(args, session),
    }
}

fn drafts(session: &Session) -> Drafts {
    Drafts::new(&session.directories.root)
}

fn inspect(args: &InspectArgs, session: &Session) -> Outcome {
    let name = args.names.last().map(String::as_str).unwrap_or_default();
    let reference: Reference = name.parse()?;
    if let Some(draft) = drafts(session).get(&reference)? {
        let index = Document::encode(MediaType::OCI_INDEX, draft.index);
        return print(args, index.raw(), session);
    }
    let client = args.tls.registry(session, [reference.registry()])?;
    let repository = client.repository(&reference, Actions::Pull);
    let found = session.block_on(repository.manifest(&reference))?;
    let (media_type, raw, digest) = found.map_err(|error| {
        let is_here = session.store().is_ok_and(|store| store.find(name).is_ok());
        match is_here {
            true => Failure::from(error).with_hint(&format!(
                "registries are asked, not the store: `mica inspect {name}` shows the image there"
            )),
            false => error.into(),
        }
    })?;
    if !args.verbose {
        return print(args, &raw, session);
    }
    let target = Descriptor::new(media_type, digest, raw.len() as u64);
    let shown = session.block_on(describe(&repository, &reference, &target, &raw))??;
    session.printer.line(indented(&shown)?)?;
    Ok(Exit::Success)
}

/// Prints a document as docker does, or as it is.
fn print(args: &InspectArgs, raw: &[u8], session: &Session) -> Outcome {
    if args.raw {
        session.printer.data(raw)?;
        return Ok(Exit::Success);
    }
    let value: Value = serde_json::from_slice(raw)?;
    session.printer.line(indented(&value)?)?;
    Ok(Exit::Success)
}

fn indented(value: &Value) -> Result<String, Failure> {
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
    serde::Serialize::serialize(value, &mut serializer)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Docker's verbose form: an object an image, a list for an index.
async fn describe(
    repository: &Repository,
    reference: &Reference,
    target: &Descriptor,
    raw: &[u8],
) -> Result<Value, Failure> {
    if !target.media_type.is_index() {
        let with_platform = with_platform(repository, target).await?;
        return described(reference, &with_platform, raw);
    }
    let index: Index = serde_json::from_slice(raw)?;
    let mut all = Vec::new();
    for entry in &index.manifests {
        let raw = place::read(repository, entry).await?;
        all.push(described(reference, entry, &raw)?);
    }
    Ok(Value::Array(all))
}

fn described(reference: &Reference, entry: &Descriptor, raw: &[u8]) -> Result<Value, Failure> {
    let manifest: Value = serde_json::from_slice(raw)?;
    let key = match entry.media_type == MediaType::DOCKER_MANIFEST {
        true => "SchemaV2Manifest",
        false => "OCIManifest",
    };
    Ok(json!({
        "Ref": reference.with_digest(entry.digest.clone()).to_string(),
        "Descriptor": entry,
        "Raw": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, raw),
        key: manifest,
    }))
}

/// Adds the platform that an image's configuration says.
async fn with_platform(
    repository: &Repository,
    target: &Descriptor,
) -> Result<Descriptor, Failure> {
    let raw = place::read(repository, target).await?;
    let manifest: Manifest = serde_json::from_slice(&raw)?;
    let raw = place::read(repository, &manifest.config).await?;
    let config = serde_json::from_slice::<ImageConfig>(&raw).ok();
    Ok(Descriptor {
        platform: config.map(|config| config.platform()),
        ..target.clone()
    })
}

fn create(args: &CreateArgs, session: &Session) -> Outcome {
    let list: Reference = args.list.parse()?;
    let drafts = drafts(session);
    let known = drafts.get(&list)?;
    if known.is_some() && !args.amend {
        let message = format!(
            "refusing to amend an existing manifest list with no --amend flag: {}",
            args.list
        );
        return Err(CliError::Arguments { message }.into());
    }
    let mut draft = known.unwrap_or_else(|| Draft {
        reference: list.to_string(),
        index: Index::new(Vec::new()),
        sources: BTreeMap::new(),
    });
    let client = args.tls.registry_of(session, &args.manifests)?;
    for name in &args.manifests {
        let reference: Reference = name.parse()?;
        let repository = client.repository(&reference, Actions::Pull);
        let entries = session.block_on(entries(&repository, &reference))??;
        for entry in entries {
            let source = format!("{}/{}", reference.registry(), reference.repository());
            draft.sources.insert(entry.digest.clone(), source);
            let manifests = &mut draft.index.manifests;
            manifests.retain(|known| known.digest != entry.digest);
            manifests.push(entry);
        }
    }
    drafts.put(&list, &draft)?;
    session
        .printer
        .line(format!("Created manifest list {list}"))?;
    Ok(Exit::Success)
}

/// Returns an image as an index lists it, or an index's own entries.
async fn entries(
    repository: &Repository,
    reference: &Reference,
) -> Result<Vec<Descriptor>, Failure> {
    let target = resolve(repository, reference).await?;
    if target.media_type.is_index() {
        let raw = place::read(repository, &target).await?;
        let index: Index = serde_json::from_slice(&raw)?;
        return Ok(index.manifests);
    }
    Ok(vec![with_platform(repository, &target).await?])
}

async fn resolve(repository: &Repository, reference: &Reference) -> Result<Descriptor, Failure> {
    let found = repository.resolve(reference).await;
    Ok(found.map_err(|source| mica_store::TransferError::Resolve {
        reference: reference.to_string(),
        source,
    })?)
}

fn annotate(args: &AnnotateArgs, session: &Session) -> Outcome {
    let list: Reference = args.list.parse()?;
    let drafts = drafts(session);
    let mut draft = drafts.get(&list)?.ok_or_else(|| no_list(&args.list))?;
    let reference: Reference = args.manifest.parse()?;
    let digest = match reference.digest() {
        Some(digest) => digest.clone(),
        None => {
            let repository = session.registry()?.repository(&reference, Actions::Pull);
            session.block_on(resolve(&repository, &reference))??.digest
        }
    };
    let entries = &mut draft.index.manifests;
    let entry = entries.iter_mut().find(|entry| entry.digest == digest);
    let Some(entry) = entry else {
        let message = format!("{} is not in manifest list {}", args.manifest, args.list);
        return Err(CliError::Arguments { message }.into());
    };
    let mut platform = entry.platform.clone().unwrap_or_else(Platform::host);
    set(&mut platform.os, args.os.as_ref());
    set(&mut platform.architecture, args.arch.as_ref());
    if args.variant.is_some() {
        platform.variant.clone_from(&args.variant);
    }
    if args.os_version.is_some() {
        platform.os_version.clone_from(&args.os_version);
    }
    if !args.os_features.is_empty() {
        platform.os_features.clone_from(&args.os_features);
    }
    entry.platform = Some(platform);
    for pair in &args.annotation {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        entry.annotations.insert(key.to_owned(), value.to_owned());
    }
    drafts.put(&list, &draft)?;
    Ok(Exit::Success)
}

fn set(field: &mut String, value: Option<&String>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

fn no_list(name: &str) -> CliError {
    CliError::Arguments {
        message: format!("No such manifest: {name}"),
    }
}

fn push(args: &PushArgs, session: &Session) -> Outcome {
    let list: Reference = args.list.parse()?;
    let drafts = drafts(session);
    let draft = drafts.get(&list)?.ok_or_else(|| no_list(&args.list))?;
    let target: Reference = match &args.destination {
        Some(name) => name.strip_prefix("docker://").unwrap_or(name).parse()?,
        None => list.clone(),
    };
    let client = args.tls.registry(session, [target.registry()])?;
    let at_once = session.transfers()?.uploads;
    let pushed = session.block_on(push_list(&client, &draft, &target, at_once))??;
    if args.purge {
        drafts.remove(&list)?;
    }
    session.printer.line(pushed.digest.to_string())?;
    Ok(Exit::Success)
}

/// Brings the manifests there, from whichever repository they are in, and then the list.
async fn push_list(
    client: &Registry,
    draft: &Draft,
    target: &Reference,
    at_once: NonZeroUsize,
) -> Result<Descriptor, Failure> {
    let name = format!("{}/{}", target.registry(), target.repository());
    for entry in &draft.index.manifests {
        let Some(source) = draft
            .sources
            .get(&entry.digest)
            .filter(|source| **source != name)
        else {
            continue;
        };
        let source: Reference = source.parse()?;
        let mut destination = client.repository(target, Actions::PullPush);
        if source.registry() == target.registry() {
            destination = destination.mount_from(source.repository());
        }
        let from = client.repository(&source, Actions::Pull);
        mica_store::copy_graph(&from, &destination, entry, at_once, &()).await?;
    }
    let index = Document::encode(index_type(&draft.index), as_docker(&draft.index));
    let descriptor = index.descriptor().clone();
    let destination = client.repository(target, Actions::PullPush);
    let content = Box::pin(std::io::Cursor::new(index.raw().clone()));
    let failed = |source| mica_store::TransferError::Put {
        digest: descriptor.digest.clone(),
        source,
    };
    destination
        .push(&descriptor, content)
        .await
        .map_err(failed)?;
    destination.tag(&descriptor, target).await.map_err(failed)?;
    Ok(descriptor)
}

/// A list of docker's manifests alone is docker's own kind of list.
fn index_type(index: &Index) -> MediaType {
    let is_docker = |entry: &Descriptor| entry.media_type == MediaType::DOCKER_MANIFEST;
    match !index.manifests.is_empty() && index.manifests.iter().all(is_docker) {
        true => MediaType::DOCKER_INDEX,
        false => MediaType::OCI_INDEX,
    }
}

fn as_docker(index: &Index) -> Index {
    Index {
        media_type: Some(index_type(index)),
        ..index.clone()
    }
}

fn remove(args: &RemoveArgs, session: &Session) -> Outcome {
    if args.remote {
        return remove_remote(args, session);
    }
    let drafts = drafts(session);
    for name in &args.names {
        let reference: Reference = name.parse()?;
        if !drafts.remove(&reference)? {
            return Err(no_list(name).into());
        }
        session.printer.line(format!("Deleted: {reference}"))?;
    }
    Ok(Exit::Success)
}

fn remove_remote(args: &RemoveArgs, session: &Session) -> Outcome {
    let client = args.tls.registry_of(session, &args.names)?;
    for name in &args.names {
        let reference: Reference = name.parse()?;
        let repository = client.repository(&reference, Actions::Delete);
        let deleted = session.block_on(async {
            let target = resolve(&repository, &reference).await?;
            let by_digest = reference.with_digest(target.digest.clone());
            repository.delete(&by_digest).await?;
            Ok::<_, Failure>(by_digest)
        })?;
        session
            .printer
            .line(format!("Deleted: {}", deleted?.familiar()))?;
    }
    Ok(Exit::Success)
}

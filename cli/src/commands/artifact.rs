//! `mica artifact`: files in a registry, in the manner of ORAS.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use clap::{Args, Subcommand};
use mica_oci::{
    Descriptor, Document, Fetch, Manifest, MediaType, Push, Reference, Resolve, Tag, Verified,
};
use mica_registry_client::{Actions, Repository};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::insecure::InsecureArgs;
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::printer::Table;
use crate::session::Session;

/// `mica artifact`.
#[derive(Subcommand, Debug)]
pub(crate) enum ArtifactCommand {
    /// Put files into a registry
    Push(PushArgs),
    /// Get files from a registry
    Pull(PullArgs),
    /// List what is about an image: signatures, attestations, other artifacts
    #[command(visible_alias = "discover")]
    Ls(ListArgs),
}

/// Put files into a registry
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// What the artifact is: a media type
    #[arg(long = "artifact-type", visible_alias = "type", value_name = "TYPE")]
    artifact_type: Option<String>,
    /// A property of the artifact
    #[arg(short, long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// The image in the same repository that the artifact is about
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    #[command(flatten)]
    tls: InsecureArgs,
    /// The artifact's name; without a tag it has its digest alone
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
    /// The files
    #[arg(value_name = "FILE[:MEDIATYPE]")]
    files: Vec<String>,
}

/// Get files from a registry
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// Where to put the files
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    tls: InsecureArgs,
    /// The artifact's name
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

/// List what is about an image
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only artifacts of a type
    #[arg(long = "artifact-type", visible_alias = "type", value_name = "TYPE")]
    artifact_type: Option<String>,
    /// Format output: `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
    #[command(flatten)]
    tls: InsecureArgs,
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

/// ORAS's names for what is not said.
const UNKNOWN_ARTIFACT: &str = "application/vnd.unknown.artifact.v1";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";
const FILE_TYPE: &str = "application/octet-stream";
const TITLE: &str = "org.opencontainers.image.title";
const CREATED: &str = "org.opencontainers.image.created";

/// Runs a command of the group.
pub(crate) fn run(command: &ArtifactCommand, session: &Session) -> Outcome {
    match command {
        ArtifactCommand::Push(args) => push(args, session),
        ArtifactCommand::Pull(args) => pull(args, session),
        ArtifactCommand::Ls(args) => list(args, session),
    }
}

fn push(args: &PushArgs, session: &Session) -> Outcome {
    let reference: Reference = args.name.parse()?;
    let client = args.tls.registry(session, [reference.registry()])?;
    let repository = client.repository(&reference, Actions::PullPush);
    let files = args.files.iter().map(|text| named_file(text));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let pushed = session.block_on(push_all(args, &reference, &repository, &files))?;
    let target = pushed?;
    session
        .printer
        .line(format!("digest: {} size: {}", target.digest, target.size))?;
    Ok(Exit::Success)
}

/// Splits `FILE:MEDIATYPE`.
fn named_file(text: &str) -> Result<(PathBuf, MediaType), Failure> {
    let (path, kind) = match text.rsplit_once(':') {
        Some((path, kind)) if kind.contains('/') && !Path::new(text).exists() => (path, kind),
        _ => (text, FILE_TYPE),
    };
    let path = PathBuf::from(path);
    let found = path.metadata().and_then(|found| match found.is_dir() {
        true => Err(ErrorKind::IsADirectory.into()),
        false => Ok(()),
    });
    match found {
        Ok(()) => Ok((path, MediaType::new(kind))),
        Err(source) => Err(CliError::File {
            action: "read",
            path,
            source,
        }
        .into()),
    }
}

async fn push_all(
    args: &PushArgs,
    reference: &Reference,
    repository: &Repository,
    files: &[(PathBuf, MediaType)],
) -> Result<Descriptor, Failure> {
    let mut layers = Vec::new();
    for (path, kind) in files {
        layers.push(push_file(repository, path, kind).await?);
    }
    let empty = Descriptor::of(MediaType::new(EMPTY_TYPE), EMPTY);
    put(repository, &empty, EMPTY).await?;
    if layers.is_empty() {
        layers.push(empty.clone());
    }
    let kind = args.artifact_type.as_deref().unwrap_or(UNKNOWN_ARTIFACT);
    let mut manifest = Manifest::new(empty, layers);
    manifest.artifact_type = Some(MediaType::new(kind));
    manifest.annotations = annotations(&args.annotation)?;
    if let Some(subject) = &args.subject {
        manifest.subject = Some(find_subject(repository, reference, subject).await?);
    }
    let manifest = Document::encode(MediaType::OCI_MANIFEST, manifest);
    let target = manifest.descriptor().clone();
    put(repository, &target, manifest.raw()).await?;
    let is_named = args.subject.is_none() || has_tag(&args.name);
    if is_named {
        let tagged = repository.tag(&target, reference).await;
        tagged.map_err(|source| mica_store::TransferError::Tag {
            digest: target.digest.clone(),
            reference: reference.to_string(),
            source,
        })?;
    }
    Ok(target)
}

fn has_tag(name: &str) -> bool {
    let last = name.rsplit('/').next();
    last.is_some_and(|last| last.contains(':') && !last.contains('@'))
}

fn annotations(pairs: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(CliError::FlagValue {
                flag: "--annotation",
                value: pair.clone(),
                reason: "expected KEY=VALUE".into(),
            }
            .into());
        };
        found.insert(key.to_owned(), value.to_owned());
    }
    let now = jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    found.entry(CREATED.to_owned()).or_insert(now);
    Ok(found)
}

async fn find_subject(
    repository: &Repository,
    reference: &Reference,
    subject: &str,
) -> Result<Descriptor, Failure> {
    let named: Reference = subject.parse()?;
    let is_there =
        named.registry() == reference.registry() && named.repository() == reference.repository();
    if !is_there {
        let message = format!(
            "{subject} is not in the repository of {}",
            reference.familiar()
        );
        return Err(CliError::Arguments { message }.into());
    }
    let found = repository.resolve(&named).await;
    Ok(found.map_err(|source| mica_store::TransferError::Resolve {
        reference: named.to_string(),
        source,
    })?)
}

async fn put(
    repository: &Repository,
    descriptor: &Descriptor,
    content: &[u8],
) -> Result<(), Failure> {
    let reader = Box::pin(std::io::Cursor::new(content.to_vec()));
    let pushed = repository.push(descriptor, reader).await;
    Ok(pushed.map_err(|source| mica_store::TransferError::Put {
        digest: descriptor.digest.clone(),
        source,
    })?)
}

/// Sends a file; it is read twice, first for its digest.
async fn push_file(
    repository: &Repository,
    path: &Path,
    kind: &MediaType,
) -> Result<Descriptor, Failure> {
    let failed = |source| CliError::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mut descriptor = describe(path, kind).map_err(failed)?;
    let open = |offset: u64| async move {
        use tokio::io::AsyncSeekExt;
        let mut file = tokio::fs::File::open(path).await?;
        file.seek(std::io::SeekFrom::Start(offset)).await?;
        Ok(Box::pin(file) as mica_oci::BlobReader)
    };
    repository.push_with(&descriptor, open).await?;
    let title = path.file_name().unwrap_or_default().to_string_lossy();
    descriptor
        .annotations
        .insert(TITLE.to_owned(), title.into_owned());
    Ok(descriptor)
}

fn describe(path: &Path, kind: &MediaType) -> std::io::Result<Descriptor> {
    let mut file = fs::File::open(path)?;
    let mut hasher = mica_oci::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(Descriptor::new(kind.clone(), hasher.finish(), size)),
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}

fn pull(args: &PullArgs, session: &Session) -> Outcome {
    let reference: Reference = args.name.parse()?;
    let client = args.tls.registry(session, [reference.registry()])?;
    let repository = client.repository(&reference, Actions::Pull);
    let pulled = session.block_on(async {
        let (_, raw, digest) = repository.manifest(&reference).await?;
        let manifest: Manifest = serde_json::from_slice(&raw).map_err(|_| no_artifact(args))?;
        let mut names = Vec::new();
        for layer in &manifest.layers {
            if let Some(title) = layer.annotations.get(TITLE) {
                let name = safe_name(title)?;
                save(&repository, layer, &args.output.join(&name)).await?;
                names.push(name.display().to_string());
            }
        }
        Ok::<_, Failure>((names, digest))
    })?;
    let (names, digest) = pulled?;
    if names.is_empty() {
        return Err(no_artifact(args).into());
    }
    for name in names {
        session.printer.line(name)?;
    }
    session.printer.message(format!("digest: {digest}"));
    Ok(Exit::Success)
}

fn no_artifact(args: &PullArgs) -> CliError {
    CliError::Arguments {
        message: format!("{} has no files: it is no artifact", args.name),
    }
}

/// A title is a path below the output directory and nowhere else.
fn safe_name(title: &str) -> Result<PathBuf, CliError> {
    let path = Path::new(title);
    let is_plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    match is_plain && !title.is_empty() {
        true => Ok(path.to_owned()),
        false => Err(CliError::Arguments {
            message: format!("the artifact has a file `{title}`, which leads out of the directory"),
        }),
    }
}

/// Writes a file as a whole or not at all.
async fn save(repository: &Repository, layer: &Descriptor, path: &Path) -> Result<(), Failure> {
    let content = repository.fetch(layer).await;
    let content = content.map_err(|source| mica_store::TransferError::Fetch {
        digest: layer.digest.clone(),
        source,
    })?;
    let failed = |source| CliError::File {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let temporary = tempfile::NamedTempFile::new_in(parent).map_err(failed)?;
    let file = temporary.reopen().map_err(failed)?;
    let mut file = tokio::fs::File::from_std(file);
    tokio::io::copy(&mut Verified::new(content, layer), &mut file)
        .await
        .map_err(|source| mica_store::TransferError::Content {
            digest: layer.digest.clone(),
            source,
        })?;
    file.flush().await.map_err(failed)?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(temporary.path(), readable).map_err(failed)?;
    temporary
        .persist(path)
        .map_err(|error| failed(error.error))?;
    Ok(())
}

fn list(args: &ListArgs, session: &Session) -> Outcome {
    let reference: Reference = args.name.parse()?;
    let client = args.tls.registry(session, [reference.registry()])?;
    let repository = client.repository(&reference, Actions::Pull);
    let found = session.block_on(async {
        let subject = match reference.digest() {
            Some(digest) => digest.clone(),
            None => repository.manifest(&reference).await?.2,
        };
        let wanted = args.artifact_type.as_deref();
        repository.referrers(&subject, wanted).await
    })??;
    if args.format.is_some() {
        session
            .printer
            .line(format!("{:#}", json!(found.manifests)))?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new();
    table.row("DIGEST\tARTIFACT TYPE\tSIZE");
    for entry in &found.manifests {
        let kind = entry.artifact_type.as_ref().map_or("", MediaType::as_str);
        table.row(&format!("{}\t{kind}\t{}", entry.digest, entry.size));
    }
    session.printer.data(table.render())?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_stay_below_the_directory() {
        for (title, is_good) in [
            ("a.txt", true),
            ("d/a.txt", true),
            ("../a", false),
            ("/etc/passwd", false),
            ("d/../../a", false),
            ("", false),
        ] {
            assert_eq!(safe_name(title).is_ok(), is_good, "{title}");
        }
    }
}

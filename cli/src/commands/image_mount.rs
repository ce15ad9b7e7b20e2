//! `mica image mount` and `mica image unmount`: an image's files, read-only, at a directory.
//!
//! ```text
//! <runroot>/image-mounts/<name>.json   what is mounted where
//!                        <name>/       the directory, where none was given
//! <root>/snapshots/<name>              keeps the layers, as a container's snapshot does
//! ```
//!
//! `<name>` is made of the directory's path: one mount a directory.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use mica_oci::Digest;
use mica_store::{Durability, SnapshotKind, Store};
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// Mount an image's files, read-only
#[derive(Args, Debug)]
pub(crate) struct MountArgs {
    /// The image; without one, what is mounted is listed
    image: Option<String>,
    /// Where to mount it; made where it is missing. Without one, a directory is made and printed
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Unmount images
#[derive(Args, Debug)]
pub(crate) struct UnmountArgs {
    /// Unmount all images
    #[arg(short, long)]
    all: bool,
    /// The images, or the directories that they are mounted at
    #[arg(required_unless_present = "all", value_name = "IMAGE|DIR")]
    targets: Vec<String>,
}

/// What is mounted, and where.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    image: Digest,
    reference: String,
    directory: PathBuf,
    /// Whether the directory was made for the mount.
    made: bool,
}

/// Runs `mica image mount`.
pub(crate) fn mount(args: &MountArgs, session: &Session) -> Outcome {
    let Some(name) = &args.image else {
        for (_, record) in records(session)? {
            let line = format!("{}\t{}", record.reference, record.directory.display());
            session.printer.line(line)?;
        }
        return Ok(Exit::Success);
    };
    let store = session.store()?;
    let _held = store.hold()?;
    let image = store.find(name)?;
    let stack = store.unpack(&image)?;
    if stack.layers.is_empty() {
        let message = format!("{name} has no files");
        return Err(CliError::Arguments { message }.into());
    }
    let (directory, made) = match &args.directory {
        Some(directory) => (directory.clone(), !directory.exists()),
        None => (place(session).join(image.id().short()), true),
    };
    fs::create_dir_all(&directory).map_err(|source| failed("create", &directory, source))?;
    let directory = directory
        .canonicalize()
        .map_err(|source| failed("resolve", &directory, source))?;
    let id = snapshot_of(&directory);
    release_stale(&store, session, &id, &directory)?;
    let snapshot = store.prepare(&stack, SnapshotKind::View(id.clone()), &[])?;
    let kind = snapshot.mount(Durability::Durable);
    let record = Record {
        image: image.id().clone(),
        reference: name.clone(),
        directory,
        made,
    };
    let mounted = mica_isolation::mount(&kind, &record.directory)
        .map_err(Failure::from)
        .and_then(|()| write(session, &id, &record));
    if let Err(failure) = mounted {
        release(&store, session, &id, &record)?;
        return Err(failure.or_hint(|| Some("`mica image unpack` needs no right to mount".into())));
    }
    session
        .printer
        .line(record.directory.display().to_string())?;
    Ok(Exit::Success)
}

/// Runs `mica image unmount`.
pub(crate) fn unmount(args: &UnmountArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let records = records(session)?;
    if args.all {
        for (id, record) in &records {
            release(&store, session, id, record)?;
        }
    }
    let mut failed = false;
    for target in &args.targets {
        let path = Path::new(target).canonicalize().ok();
        let image = store.find(target).ok().map(|image| image.id().clone());
        let is_meant = |record: &Record| {
            path.as_ref() == Some(&record.directory) || image.as_ref() == Some(&record.image)
        };
        let mut meant = records
            .iter()
            .filter(|(_, record)| is_meant(record))
            .peekable();
        if meant.peek().is_none() {
            failed = true;
            let message = format!("{target} is not mounted");
            session
                .printer
                .report(&CliError::Arguments { message }.into());
        }
        for (id, record) in meant {
            release(&store, session, id, record)?;
            session
                .printer
                .line(record.directory.display().to_string())?;
        }
    }
    match failed {
        false => Ok(Exit::Success),
        true => Err(CliError::Reported.into()),
    }
}

/// A mount that a boot or somebody else ended leaves its records.
fn release_stale(
    store: &Store,
    session: &Session,
    id: &str,
    directory: &Path,
) -> Result<(), Failure> {
    let is_known = store.snapshots()?.iter().any(|known| known == id);
    if is_known && is_mounted(directory) {
        let message = format!("an image is mounted at {} already", directory.display());
        return Err(CliError::Arguments { message }.into());
    }
    remove_file(&record_path(session, id))?;
    Ok(store.remove_snapshot(id)?)
}

fn release(store: &Store, session: &Session, id: &str, record: &Record) -> Result<(), Failure> {
    mica_isolation::unmount(&record.directory)?;
    store.remove_snapshot(id)?;
    if record.made {
        // Somebody may have put something there since.
        let _ = fs::remove_dir(&record.directory);
    }
    remove_file(&record_path(session, id))
}

fn is_mounted(directory: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let shown = directory
        .to_string_lossy()
        .replace('\\', "\\134")
        .replace(' ', "\\040");
    points.any(|point| point == shown)
}

fn snapshot_of(directory: &Path) -> String {
    let digest = Digest::of(directory.as_os_str().as_encoded_bytes());
    format!("image-mount-{}", digest.short())
}

fn place(session: &Session) -> PathBuf {
    session.directories.runroot.join("image-mounts")
}

fn record_path(session: &Session, id: &str) -> PathBuf {
    place(session).join(format!("{id}.json"))
}

fn write(session: &Session, id: &str, record: &Record) -> Result<(), Failure> {
    let directory = place(session);
    fs::create_dir_all(&directory).map_err(|source| failed("create", &directory, source))?;
    let path = record_path(session, id);
    let text = serde_json::json!(record).to_string();
    fs::write(&path, text).map_err(|source| failed("write", &path, source).into())
}

fn records(session: &Session) -> Result<Vec<(String, Record)>, Failure> {
    let directory = place(session);
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| failed("read", &directory, source))?,
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(id) = name.strip_suffix(".json") else {
            continue;
        };
        let path = entry.path();
        let text = fs::read(&path).map_err(|source| failed("read", &path, source))?;
        let record = serde_json::from_slice(&text)
            .map_err(|source| CliError::Configuration { path, source })?;
        found.push((id.to_owned(), record));
    }
    found.sort_by(|one: &(String, Record), other| one.1.directory.cmp(&other.1.directory));
    Ok(found)
}

fn remove_file(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(failed("remove", path, error).into())
        }
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path, source: std::io::Error) -> CliError {
    CliError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

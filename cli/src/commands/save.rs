//! `mica save`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mica_oci::Reference;
use mica_store::{ArchiveFormat, ImageSet, Named, Store};

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::printer::Printer;
use crate::session::Session;

/// Save one or more images to a tar archive (streamed to STDOUT by default)
#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The archive's format; docker's is a valid OCI layout too
    #[arg(long, value_enum, default_value = "docker-archive")]
    format: Format,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Formats of archives, with podman's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Docker's
    DockerArchive,
    /// An OCI layout
    OciArchive,
}

/// Runs the command.
pub(crate) fn run(args: &SaveArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let _held = store.hold()?;
    let format = match args.format {
        Format::DockerArchive => ArchiveFormat::Docker,
        Format::OciArchive => ArchiveFormat::Oci,
    };
    let images = args.images.iter().map(|name| find(&store, name, format));
    let images = images.collect::<Result<Vec<_>, _>>()?;
    write_archive(args.output.as_deref(), session.printer, |out| {
        Ok(mica_store::save(&store, &images, format, out)?)
    })?;
    Ok(Exit::Success)
}

/// An image that is named by its ID is saved without a name. Docker's archives have no place for an
/// index, of which the host's image is saved.
fn find(store: &Store, name: &str, format: ArchiveFormat) -> Result<Named, Failure> {
    let reference = name.parse::<Reference>().ok();
    let target = reference.as_ref().map(|name| store.resolve_tag(name));
    let target = target.transpose()?.flatten();
    let set = match (&target, format) {
        (Some(target), ArchiveFormat::Oci) => store.whole_set(target)?,
        _ => ImageSet::single(store.find(name)?),
    };
    Ok(Named {
        reference: reference.filter(|_| target.is_some()),
        set,
        annotations: BTreeMap::new(),
    })
}

/// Writes an archive to a file or to standard output, which must not be a terminal.
pub(super) fn write_archive(
    path: Option<&Path>,
    printer: Printer,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match path {
        Some(path) => save_to(path, |out| {
            write(out).map_err(|failure| Failure {
                error: Box::new(CliError::Archive {
                    action: "write",
                    place: path.display().to_string(),
                    source: failure.error,
                }),
                ..failure
            })
        }),
        None if printer.is_terminal() => Err(CliError::NoTerminal(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        )
        .into()),
        None => {
            let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
            write(&mut out)?;
            Ok(out.flush()?)
        }
    }
}

/// Writes a document to a file, or to standard output where there is none or it is `-`.
pub(super) fn write_document(
    path: Option<&Path>,
    printer: Printer,
    document: &str,
) -> Result<(), Failure> {
    match path {
        Some(path) if path != Path::new("-") => save_to(path, |out| {
            let written = out.write_all(document.as_bytes());
            Ok(written.map_err(|source| CliError::File {
                action: "write",
                path: path.to_owned(),
                source,
            })?)
        }),
        _ => Ok(printer.data(document)?),
    }
}

/// Writes a file that appears when it is whole.
pub(crate) fn save_to(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |source| CliError::File {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let is_special = path.symlink_metadata().is_ok_and(|found| !found.is_file());
    let temporary = match is_special {
        // A pipe or device is written to; it is not replaced.
        true => path.to_owned(),
        false => temporary_beside(path),
    };
    let file = File::create(&temporary).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    let mut written = write(&mut out).and_then(|()| Ok(out.flush().map_err(failed)?));
    if !is_special {
        written = written.and_then(|()| Ok(std::fs::rename(&temporary, path).map_err(failed)?));
        if written.is_err() {
            // The first error is the one that matters.
            let _ = std::fs::remove_file(&temporary);
        }
    }
    written
}

fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

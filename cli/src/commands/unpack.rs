//! `mica image unpack`.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use mica_store::{Limits, Ownership, PlainTree, StoreError};

use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// Unpack the files of an image into a directory
#[derive(Args, Debug)]
pub(crate) struct UnpackArgs {
    /// Unpack into a directory that holds something
    #[arg(short, long)]
    force: bool,
    /// Apply a layer's tar archive in place of an image's layers; may be given several times
    #[arg(long, value_name = "FILE")]
    layer: Vec<PathBuf>,
    /// The image, and the directory, which is made where it is missing; with --layer the directory
    /// alone
    #[arg(required = true, num_args = 1..=2, value_names = ["IMAGE", "DIR"])]
    places: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &UnpackArgs, session: &Session) -> Outcome {
    let limits = Limits {
        // Root alone can give files to others.
        ownership: match rustix::process::geteuid().is_root() {
            true => Ownership::Archived,
            false => Ownership::Own,
        },
        ..Settings::of_file(session.environment)?.layer_limits()
    };
    match args.places.as_slice() {
        [directory] if !args.layer.is_empty() => {
            prepare(directory, true)?;
            layers(&args.layer, directory, &limits)?;
        }
        [image, directory] if args.layer.is_empty() => {
            let image = image.to_string_lossy();
            let store = session.store()?;
            let image = store
                .find(&image)
                .map_err(|error| elsewhere(error, &image))?;
            prepare(directory, args.force)?;
            store.unpack_onto(&image, directory, &limits)?;
        }
        _ => {
            let message = "expected IMAGE and DIR, or --layer FILE and DIR".to_owned();
            return Err(CliError::Arguments { message }.into());
        }
    }
    Ok(Exit::Success)
}

/// Says what takes images that are not in the store.
fn elsewhere(error: StoreError, name: &str) -> Failure {
    let is_place = Path::new(name).exists() || name.contains("://");
    let is_missing = matches!(error, StoreError::NotFound { .. });
    let failure = Failure::from(error);
    match is_missing && is_place {
        true => failure.with_hint(&format!("`mica extract {name} -o DIR` looks there")),
        false => failure,
    }
}

fn layers(files: &[PathBuf], directory: &Path, limits: &Limits) -> Result<(), Failure> {
    let mut tree = PlainTree::new(directory, limits);
    for path in files {
        let file = File::open(path).map_err(|source| failed("open", path, source))?;
        let applied = tree.apply(file, || Ok(()));
        applied.map_err(|error| CliError::Archive {
            action: "unpack",
            place: path.display().to_string(),
            source: error.into(),
        })?;
    }
    Ok(tree.finish()?)
}

/// Makes the directory where it is missing; without `force` it has to be empty.
fn prepare(directory: &Path, force: bool) -> Result<(), Failure> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(directory).map_err(|source| failed("create", directory, source))?;
            return Ok(());
        }
        entries => entries.map_err(|source| failed("read", directory, source))?,
    };
    if !force && entries.count() > 0 {
        let message = format!("{} is not empty", directory.display());
        return Err(Failure::from(CliError::Arguments { message })
            .with_hint("choose an empty directory, or unpack over what is there with --force"));
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path, source: std::io::Error) -> CliError {
    CliError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

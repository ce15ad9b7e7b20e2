//! `mica extract`.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use mica_inspect::{Follow, Image, NodeId, Ownership, Tree, file_name};
use mica_store::Limits;

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::look;
use crate::session::Session;

/// Copy files or directories of an image to the local filesystem
#[derive(Args, Debug)]
pub(crate) struct ExtractArgs {
    /// The directory to put them into; `-` writes a tar stream to standard output
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    at: look::LayerArgs,
    /// The path: of the root or a path ending in `/.`, all that is in it
    #[arg(default_value = "/", value_name = "PATH")]
    path: OsString,
}

/// Runs the command.
pub(crate) fn run(args: &ExtractArgs, session: &Session) -> Outcome {
    let looked = args.at.open(session)?;
    let tree = looked.tree(session)?;
    let path = args.path.as_bytes();
    let id = looked.image.find(&tree, path, Follow::All)?;
    let is_content = path.ends_with(b"/.") && tree.is_directory(id);
    let full = tree.path(id);
    let name: &[u8] = if is_content { b"" } else { file_name(&full) };
    if args.output == Path::new("-") {
        let mut out = session.printer.buffered();
        looked
            .image
            .write_tar(&tree, id, name, Ownership::Image, &mut out)?;
        out.flush()?;
        return Ok(Exit::Success);
    }
    std::fs::create_dir_all(&args.output).map_err(|source| CliError::File {
        action: "create",
        path: args.output.clone(),
        source,
    })?;
    unpack(&looked.image, &tree, id, name, &args.output)?;
    Ok(Exit::Success)
}

/// Writes the tar stream on one thread and applies it on this one.
fn unpack(
    image: &Image,
    tree: &Tree<'_>,
    id: NodeId,
    name: &[u8],
    directory: &Path,
) -> Result<(), Failure> {
    let user = rustix::process::geteuid();
    let owner = match user.is_root() {
        true => Ownership::Image,
        false => Ownership::Of {
            uid: user.as_raw(),
            gid: rustix::process::getegid().as_raw(),
        },
    };
    let (reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let written = scope.spawn(move || {
            let mut out = BufWriter::with_capacity(1 << 16, writer);
            image.write_tar(tree, id, name, owner, &mut out)
        });
        let applied = mica_store::apply_onto(directory, reader, &Limits::default());
        let written = written
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A side that broke off is why the other one failed.
        match (written, applied) {
            (Err(mica_inspect::InspectError::Output(_)), Err(error)) => Err(error.into()),
            (Err(error), _) => Err(error.into()),
            (Ok(()), applied) => Ok(applied.map(drop)?),
        }
    })
}

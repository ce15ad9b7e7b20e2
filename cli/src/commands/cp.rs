//! `mica cp`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::exit::Exit;
use crate::failure::{CliError, Outcome};
use crate::session::Session;

/// Copy files/folders from a container to the local filesystem
#[derive(Args, Debug)]
pub(crate) struct CpArgs {
    /// Suppress progress output during copy; there is none
    #[arg(short, long)]
    quiet: bool,
    /// What is copied: CONTAINER:PATH
    #[arg(value_name = "CONTAINER:SRC_PATH")]
    source: String,
    /// Where to
    #[arg(value_name = "DEST_PATH")]
    target: String,
}

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side<'a> {
    Container { name: &'a str, path: &'a Path },
    Host(&'a Path),
}

/// Runs the command.
pub(crate) fn run(args: &CpArgs, session: &Session) -> Outcome {
    let refuse = |message: &str| {
        Err(CliError::Arguments {
            message: message.to_owned(),
        }
        .into())
    };
    if args.source == "-" || args.target == "-" {
        return refuse("tar archives on standard input and output are not supported");
    }
    let (name, path, target) = match (side(&args.source), side(&args.target)) {
        (Side::Container { name, path }, Side::Host(target)) => (name, path, target),
        (Side::Container { .. }, Side::Container { .. }) => {
            return refuse("copying between containers is not supported");
        }
        (Side::Host(_), Side::Host(_)) => {
            return refuse("must specify at least one container source");
        }
        (Side::Host(_), Side::Container { .. }) => {
            return refuse("copying into a container is not supported: use a volume (-v), or exec");
        }
    };
    let containers = session.containers()?;
    let id = super::find(&containers, name)?;
    containers.copy_out(&id, &absolute(path), target)?;
    Ok(Exit::Success)
}

/// Docker's rule: what starts with `/` or `.`, or has no colon, is a path of the host.
fn side(text: &str) -> Side<'_> {
    match text.split_once(':') {
        Some((name, path)) if !text.starts_with(['/', '.']) && !name.is_empty() => {
            Side::Container {
                name,
                path: Path::new(path),
            }
        }
        _ => Side::Host(Path::new(text)),
    }
}

/// Paths inside a container start at its root.
fn absolute(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart() {
        let inside = |name, path| Side::Container {
            name,
            path: Path::new(path),
        };
        let check = |text: &str, expected: Side<'_>| assert_eq!(side(text), expected, "{text}");
        check("box:/etc/hosts", inside("box", "/etc/hosts"));
        check("box:relative", inside("box", "relative"));
        check("box:/a:b", inside("box", "/a:b"));
        check("/with:colon", Side::Host(Path::new("/with:colon")));
        check("./with:colon", Side::Host(Path::new("./with:colon")));
        check("plain", Side::Host(Path::new("plain")));
    }
}

//! Unix sockets in directories whose paths are longer than a socket's address may be (108 bytes,
//! unix(7)): they are addressed through an open descriptor of their directory.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::Error;
use crate::error::At;

/// Listens at a path; a socket that is there already is replaced.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).at("remove", path);
        }
        _ => {}
    }
    let (_directory, short) = shorten(path)?;
    let listener = UnixListener::bind(&short).at("listen on", path)?;
    listener.set_nonblocking(true).at("listen on", path)?;
    Ok(listener)
}

/// Connects to a path; `None` when nobody listens there.
pub(crate) fn connect(path: &Path) -> Result<Option<UnixStream>, Error> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let (_directory, short) = match shorten(path) {
        Err(Error::Io { source, .. }) if source.kind() == NotFound => return Ok(None),
        shortened => shortened?,
    };
    match UnixStream::connect(&short) {
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => Ok(None),
        connected => connected.map(Some).at("connect to", path),
    }
}

fn shorten(path: &Path) -> Result<(OwnedFd, PathBuf), Error> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::open(directory, flags, Mode::empty()).at("open", directory)?;
    let name = path.file_name().unwrap_or_default();
    let short = Path::new("/proc/self/fd")
        .join(open.as_raw_fd().to_string())
        .join(name);
    Ok((open, short))
}

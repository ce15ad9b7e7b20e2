//! Pseudo terminals of a sandbox's own devpts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::spec::WindowSize;

/// Opens a terminal of the devpts mounted at `/dev/pts` and returns master and slave.
pub(crate) fn open(size: WindowSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&master)?;
    // By descriptor: the name of a slave means something only inside the sandbox.
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    resize_terminal(master.as_fd(), size)?;
    Ok((master, slave))
}

/// Makes a terminal the controlling one of this process' session and its standard streams.
pub(crate) fn make_controlling(slave: &OwnedFd) -> io::Result<()> {
    rustix::process::ioctl_tiocsctty(slave)?;
    rustix::stdio::dup2_stdin(slave)?;
    rustix::stdio::dup2_stdout(slave)?;
    Ok(rustix::stdio::dup2_stderr(slave)?)
}

/// Tells a terminal its size by the master; its foreground processes get SIGWINCH when it changes.
///
/// # Errors
///
/// The kernel's, for a descriptor that is not a terminal.
pub fn resize_terminal(master: BorrowedFd<'_>, size: WindowSize) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(master, size)?)
}

//! Forwarding TCP connections.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::listener::wait_readable;

/// How long a container that does not answer at all is waited for.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a listener rests when there are no descriptors left for one more connection.
const REST: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Forwards all connections to `target`, until the container has ended.
pub(super) fn serve(listener: &TcpListener, target: SocketAddr, stopped: &UnixStream) {
    while wait_readable(&[listener], stopped, None).is_some() {
        match listener.accept() {
            Ok((client, _)) => {
                std::thread::spawn(move || {
                    // Either side learns of an error by the end of its connection.
                    let _ = forward(client, target);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => {
                if wait_readable(&[], stopped, Some(&REST)).is_none() {
                    return;
                }
            }
        }
    }
}

fn forward(client: TcpStream, target: SocketAddr) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let container = TcpStream::connect_timeout(&target, CONNECT)?;
    for stream in [&client, &container] {
        stream.set_nodelay(true)?;
    }
    let (client_back, container_back) = (client.try_clone()?, container.try_clone()?);
    let back = std::thread::spawn(move || copy(container_back, client_back));
    copy(client, container);
    let _ = back.join();
    Ok(())
}

/// Copies until the end, which is passed on; the other direction goes on.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    let copied = loop {
        match from.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(count) => {
                if let Err(error) = to.write_all(&buffer[..count]) {
                    break Err(error);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    // Both may be closed already.
    let _ = to.shutdown(Shutdown::Write);
    if copied.is_err() {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers with what it got, after its client's end.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            client.read_to_end(&mut all).unwrap();
            client.write_all(&all).unwrap();
        });
        address
    }

    #[test]
    fn one_direction_ends_before_the_other() {
        let target = echo();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let proxy = std::thread::spawn(move || serve(&listener, target, &stopped));
        let mut client = TcpStream::connect(address).unwrap();
        let sent = vec![7; 1 << 20];
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert!(got == sent);
        drop(stop);
        proxy.join().unwrap();
        assert!(TcpStream::connect(address).is_err());
    }
}

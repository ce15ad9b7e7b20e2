//! Forwarding UDP datagrams: one socket towards the container for each client.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::listener::wait_readable;

/// How long a client's socket is kept without traffic: docker's time.
const IDLE: Duration = Duration::from_secs(90);

/// The most clients at a time; the one that was idle longest makes room.
const CLIENTS: usize = 256;

/// The largest datagram.
const DATAGRAM: usize = 64 << 10;

struct Client {
    socket: UdpSocket,
    used: Instant,
}

/// Forwards all datagrams to `target` and the answers back, until the container has ended.
pub(super) fn serve(listener: &UdpSocket, target: SocketAddr, stopped: &UnixStream) {
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let timeout = rustix::event::Timespec {
        tv_sec: 90,
        tv_nsec: 0,
    };
    loop {
        let order: Vec<SocketAddr> = clients.keys().copied().collect();
        let mut sockets: Vec<&dyn AsFd> = vec![listener];
        sockets.extend(
            order
                .iter()
                .map(|address| &clients[address].socket as &dyn AsFd),
        );
        let Some(ready) = wait_readable(&sockets, stopped, Some(&timeout)) else {
            return;
        };
        for (address, _) in order.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            if let Some(client) = clients.get_mut(address) {
                send_back(listener, client, *address);
            }
        }
        if ready[0] {
            receive(listener, &mut clients, target);
        }
        clients.retain(|_, client| client.used.elapsed() < IDLE);
    }
}

fn send_back(listener: &UdpSocket, client: &mut Client, address: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM];
    // Datagrams may be lost; so may answers to a client that is gone.
    if let Ok(count) = client.socket.recv(&mut buffer) {
        let _ = listener.send_to(&buffer[..count], address);
        client.used = Instant::now();
    }
}

fn receive(listener: &UdpSocket, clients: &mut HashMap<SocketAddr, Client>, target: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok((count, address)) = listener.recv_from(&mut buffer) {
        if !clients.contains_key(&address) {
            make_room(clients);
            let Ok(socket) = connect(target) else {
                continue;
            };
            clients.insert(
                address,
                Client {
                    socket,
                    used: Instant::now(),
                },
            );
        }
        if let Some(client) = clients.get_mut(&address) {
            let _ = client.socket.send(&buffer[..count]);
            client.used = Instant::now();
        }
    }
}

fn make_room(clients: &mut HashMap<SocketAddr, Client>) {
    if clients.len() >= CLIENTS {
        let idlest = clients.iter().min_by_key(|(_, client)| client.used);
        if let Some(address) = idlest.map(|(address, _)| *address) {
            clients.remove(&address);
        }
    }
}

fn connect(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_their_clients() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let proxy = std::thread::spawn(move || serve(&listener, target, &stopped));
        let clients: Vec<UdpSocket> = (0..3)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        for (number, client) in clients.iter().enumerate() {
            client.send_to(&[number as u8], address).unwrap();
        }
        for _ in &clients {
            let mut byte = [0];
            let (_, from) = server.recv_from(&mut byte).unwrap();
            server.send_to(&[byte[0] + 100], from).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            let mut byte = [0];
            client.recv(&mut byte).unwrap();
            assert_eq!(usize::from(byte[0]), number + 100);
        }
        drop(stop);
        proxy.join().unwrap();
    }
}

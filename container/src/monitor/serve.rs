//! The monitor's loop: output to the log and the clients, input and requests from the clients.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use mica_isolation::network::Lease;
use mica_isolation::{Cgroup, Sandbox};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::client::Client;
use super::log::Log;
use crate::containers::{Containers, cgroup_path};
use crate::error::At;
use crate::lock::Lock;
use crate::ports::Listeners;
use crate::protocol::{CHUNK, Decoder, Event, Request};
use crate::record::ContainerRecord;
use crate::state::{State, Status};
use crate::{Error, LogStream, Streams};

/// A running container and all that its monitor holds.
pub(super) struct Server {
    pub(super) containers: Containers,
    pub(super) record: ContainerRecord,
    pub(super) state: State,
    pub(super) lock: Lock,
    pub(super) sandbox: Sandbox,
    pub(super) lease: Option<Lease>,
    pub(super) listeners: Listeners,
    pub(super) log: Log,
    pub(super) outputs: Vec<Output>,
    pub(super) input: Option<Input>,
    pub(super) listener: UnixListener,
    pub(super) clients: Vec<Client>,
}

/// One of the container's outputs.
pub(super) struct Output {
    file: OwnedFd,
    stream: LogStream,
    is_open: bool,
}

impl Output {
    pub(super) fn new(file: OwnedFd, stream: LogStream) -> Self {
        Self {
            file,
            stream,
            is_open: true,
        }
    }
}

/// The container's input, and what waits to be written to it.
pub(super) struct Input {
    file: OwnedFd,
    waiting: VecDeque<u8>,
    /// Whether it ends when the client that feeds it does.
    closes: bool,
    is_ending: bool,
}

/// How much may wait for the container before a client's input is not read any further.
const INPUT_BACKLOG: usize = 64 << 10;

impl Input {
    pub(super) fn new(file: OwnedFd, record: &ContainerRecord) -> Self {
        let closes = record.stdin_once && !record.tty;
        Self {
            file,
            waiting: VecDeque::new(),
            closes,
            is_ending: false,
        }
    }
}

/// What a descriptor in the poll set belongs to.
#[derive(Clone, Copy)]
enum Source {
    Process,
    Listener,
    Output(usize),
    Input,
    Client(usize),
}

impl Server {
    /// Serves the container until it has ended and everything is put in order.
    pub(super) fn run(mut self) -> Result<(), Error> {
        self.prepare_streams()?;
        self.handle_early_requests();
        while !self.turn()? {}
        self.drain();
        self.finish()
    }

    fn prepare_streams(&self) -> Result<(), Error> {
        let files = self.outputs.iter().map(|output| &output.file);
        for file in files.chain(self.input.iter().map(|input| &input.file)) {
            rustix::io::ioctl_fionbio(file, true).at("set up", "the container's streams")?;
        }
        Ok(())
    }

    /// What the starter sent together with its first message is in no socket any more.
    fn handle_early_requests(&mut self) {
        for index in 0..self.clients.len() {
            for request in self.clients[index].requests() {
                self.handle(index, request);
            }
        }
    }

    /// Waits for events and handles them; `true` when the first process has ended.
    fn turn(&mut self) -> Result<bool, Error> {
        let ready = self.poll().at("wait for", "the container's streams")?;
        let mut ended = false;
        for (source, events) in ready {
            match source {
                Source::Process => ended = true,
                Source::Listener => self.accept(),
                Source::Output(index) => {
                    self.pump(index);
                }
                Source::Input => self.feed(),
                Source::Client(index) => self.converse(index, events),
            }
        }
        self.forget_clients();
        Ok(ended)
    }

    fn poll(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let (sources, mut waited) = self.poll_set();
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut waited, None))?;
        let ready = sources
            .into_iter()
            .zip(&waited)
            .map(|(source, fd)| (source, fd.revents()));
        Ok(ready.filter(|(_, events)| !events.is_empty()).collect())
    }

    fn poll_set(&self) -> (Vec<Source>, Vec<PollFd<'_>>) {
        let mut set = (Vec::new(), Vec::new());
        let mut add = |source, file, flags| {
            set.0.push(source);
            set.1.push(PollFd::from_borrowed_fd(file, flags));
        };
        add(Source::Process, self.sandbox.pidfd(), PollFlags::IN);
        add(Source::Listener, self.listener.as_fd(), PollFlags::IN);
        if !self.clients.iter().any(Client::is_full) {
            for (index, output) in self.outputs.iter().enumerate().filter(|(_, o)| o.is_open) {
                add(Source::Output(index), output.file.as_fd(), PollFlags::IN);
            }
        }
        let mut is_input_full = false;
        if let Some(input) = self
            .input
            .as_ref()
            .filter(|input| !input.waiting.is_empty())
        {
            add(Source::Input, input.file.as_fd(), PollFlags::OUT);
            is_input_full = input.waiting.len() > INPUT_BACKLOG;
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !(client.streams.stdin && is_input_full));
            flags.set(PollFlags::OUT, client.has_outgoing());
            add(Source::Client(index), client.stream.as_fd(), flags);
        }
        set
    }

    /// Moves output to the log and the clients; `false` when there is none right now.
    fn pump(&mut self, index: usize) -> bool {
        let mut buffer = [0; CHUNK];
        let output = &mut self.outputs[index];
        match rustix::io::read(&output.file, &mut buffer) {
            Ok(count) if count > 0 => {
                let bytes = &buffer[..count];
                if let Err(error) = self.log.add(output.stream, bytes) {
                    self.state.error = format!("cannot write the log: {error}");
                }
                for client in &mut self.clients {
                    client.show(output.stream, bytes);
                }
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            // The end; a terminal says EIO when nobody has its other side open.
            _ => {
                output.is_open = false;
                false
            }
        }
    }

    /// Takes the rest of the output: its writers are dead, so that it is all there.
    fn drain(&mut self) {
        for index in 0..self.outputs.len() {
            while self.outputs[index].is_open && self.pump(index) {}
        }
    }

    /// Writes what waits to the container's input.
    fn feed(&mut self) {
        let Some(input) = &mut self.input else { return };
        while !input.waiting.is_empty() {
            match rustix::io::write(&input.file, input.waiting.as_slices().0) {
                Ok(count) => drop(input.waiting.drain(..count)),
                Err(Errno::AGAIN | Errno::INTR) => return,
                // Nobody reads it any more.
                Err(_) => {
                    self.input = None;
                    return;
                }
            }
        }
        if input.is_ending {
            self.input = None;
        }
    }

    fn accept(&mut self) {
        if let Ok((stream, _)) = self.listener.accept()
            && let Ok(client) = Client::new(stream, Decoder::default(), Streams::default())
        {
            self.clients.push(client);
        }
    }

    pub(super) fn add_client(
        &mut self,
        stream: std::os::unix::net::UnixStream,
        decoder: Decoder,
        streams: Streams,
        greeting: &Event,
    ) -> Result<(), Error> {
        let mut client =
            Client::new(stream, decoder, streams).at("set up", "a client's connection")?;
        client.tell(greeting);
        self.clients.push(client);
        Ok(())
    }

    fn converse(&mut self, index: usize, events: PollFlags) {
        if events.contains(PollFlags::OUT) {
            self.clients[index].flush();
        }
        if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            for request in self.clients[index].receive() {
                self.handle(index, request);
            }
        }
    }

    fn handle(&mut self, index: usize, request: Request) {
        match request {
            Request::Attach(streams) => {
                self.clients[index].streams = streams;
                self.clients[index].tell(&Event::Attached);
            }
            Request::Stdin(bytes) => self.queue_input(&bytes),
            Request::CloseStdin => self.end_input(),
            Request::Resize(size) => {
                if let Some(output) = self.outputs.first().filter(|_| self.record.tty) {
                    // A terminal that is gone has no size.
                    let _ = mica_isolation::resize_terminal(output.file.as_fd(), size);
                }
                self.answer(index, Ok(()));
            }
            Request::Signal(signal) => {
                let sent = self.signal(signal);
                self.answer(index, sent);
            }
            Request::Pause => {
                let paused = self.set_paused(Status::Paused);
                self.answer(index, paused);
            }
            Request::Unpause => {
                let resumed = self.set_paused(Status::Running);
                self.answer(index, resumed);
            }
        }
    }

    fn answer(&mut self, index: usize, outcome: Result<(), String>) {
        self.clients[index].tell(&match outcome {
            Ok(()) => Event::Done,
            Err(message) => Event::Refused(message),
        });
    }

    fn queue_input(&mut self, bytes: &[u8]) {
        if let Some(input) = self.input.as_mut().filter(|input| !input.is_ending) {
            input.waiting.extend(bytes);
            self.feed();
        }
    }

    fn end_input(&mut self) {
        if let Some(input) = self.input.as_mut().filter(|input| input.closes) {
            input.is_ending = true;
            self.feed();
        }
    }

    fn signal(&mut self, signal: i32) -> Result<(), String> {
        self.sandbox
            .signal(signal)
            .map_err(|error| error.to_string())?;
        // A frozen process gets no signal, not even SIGKILL, before it runs again.
        match self.state.status {
            Status::Paused if signal == libc::SIGKILL => self.set_paused(Status::Running),
            _ => Ok(()),
        }
    }

    fn set_paused(&mut self, wanted: Status) -> Result<(), String> {
        if self.state.status == wanted {
            let word = if wanted == Status::Paused {
                "already"
            } else {
                "not"
            };
            return Err(format!("Container {} is {word} paused", self.record.id));
        }
        let cgroup = Cgroup::open(&cgroup_path(&self.record.id));
        let changed = cgroup.and_then(|cgroup| match wanted {
            Status::Paused => cgroup.freeze(),
            _ => cgroup.thaw(),
        });
        changed.map_err(|error| error.to_string())?;
        self.state.status = wanted;
        let written = self.containers.write_state(&self.record.id, &self.state);
        written.map_err(|error| super::describe(&error))
    }

    fn forget_clients(&mut self) {
        let feeds = |client: &Client| client.streams.stdin && client.is_gone();
        if self.clients.iter().any(feeds) {
            self.end_input();
        }
        self.clients.retain(|client| !client.is_gone());
    }
}

//! Stopping, signalling, pausing and waiting for running containers.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::containers::Containers;
use crate::error::At;
use crate::protocol::{self, Decoder, Event, Request};
use crate::{ContainerId, Error, lock, parse_signal};

/// How a container is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// The signal to begin with; the container's own when absent.
    pub signal: Option<i32>,
    /// How long to wait before SIGKILL; the container's own time when absent.
    pub timeout: Option<StopTimeout>,
}

/// How long a container is given to end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopTimeout {
    /// That long.
    After(Duration),
    /// As long as it takes.
    Never,
}

/// Docker's time between stop signal and SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

impl StopTimeout {
    /// Reads docker's number of seconds: a negative one waits for ever.
    pub fn from_seconds(seconds: i64) -> Self {
        u64::try_from(seconds).map_or(Self::Never, |s| Self::After(Duration::from_secs(s)))
    }
}

impl Containers {
    /// Stops a container: its stop signal, then SIGKILL. One that does not run is left alone.
    ///
    /// # Errors
    /// [`Error::Refused`] when the signal cannot be sent.
    pub fn stop(&self, id: &ContainerId, options: StopOptions) -> Result<(), Error> {
        let config = self.record(id)?.config;
        let own = || config.stop_signal.as_deref().map(parse_signal).transpose();
        let signal = match options.signal {
            Some(signal) => signal,
            None => own()?.unwrap_or(libc::SIGTERM),
        };
        let own = || config.stop_timeout.map(StopTimeout::from_seconds);
        let timeout = options
            .timeout
            .or_else(own)
            .unwrap_or(StopTimeout::After(STOP_TIMEOUT));
        let Some(mut monitor) = Conversation::start(self, id)? else {
            return Ok(());
        };
        if !self.state(id)?.is_running() {
            return Ok(());
        }
        if monitor.ask(&Request::Signal(signal))? == Answer::Ended {
            return Ok(());
        }
        if monitor.wait(timeout)?.is_none() {
            monitor.ask(&Request::Signal(libc::SIGKILL))?;
            monitor.wait(StopTimeout::Never)?;
        }
        Ok(())
    }

    /// Stops a container and starts it again.
    ///
    /// # Errors
    /// As [`Containers::stop`] and [`Containers::start`].
    pub fn restart(&self, id: &ContainerId, options: StopOptions) -> Result<(), Error> {
        self.stop(id, options)?;
        self.start(id, None).map(drop)
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn kill(&self, id: &ContainerId, signal: i32) -> Result<(), Error> {
        self.request(id, &Request::Signal(signal))
    }

    /// Freezes all processes of a container.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::Refused`] when it is paused already.
    pub fn pause(&self, id: &ContainerId) -> Result<(), Error> {
        self.request(id, &Request::Pause)
    }

    /// Lets the processes of a container run again.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::Refused`] when it is not paused.
    pub fn unpause(&self, id: &ContainerId) -> Result<(), Error> {
        self.request(id, &Request::Unpause)
    }

    /// Waits for a container's end and returns its exit code.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`].
    pub fn wait(&self, id: &ContainerId) -> Result<u8, Error> {
        self.record(id)?;
        if let Some(mut monitor) = Conversation::start(self, id)?
            && let Some(code) = monitor.wait(StopTimeout::Never)?
        {
            return Ok(code);
        }
        // The monitor ends right now, or was killed.
        lock::wait_until_free(&self.monitor_lock(id))?;
        Ok(self.state(id)?.exit_code)
    }

    pub(crate) fn request(&self, id: &ContainerId, request: &Request) -> Result<(), Error> {
        let not_running = || Error::NotRunning { id: id.to_string() };
        let mut monitor = Conversation::start(self, id)?.ok_or_else(not_running)?;
        match monitor.ask(request)? {
            Answer::Done => Ok(()),
            Answer::Ended => Err(not_running()),
        }
    }
}

/// A connection to a monitor over which something is asked.
pub(crate) struct Conversation {
    stream: UnixStream,
    decoder: Decoder,
    id: ContainerId,
    exit_code: Option<u8>,
}

/// What a monitor said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    /// The container had ended before.
    Ended,
}

impl Conversation {
    /// Connects; `None` when the container does not run.
    pub(crate) fn start(containers: &Containers, id: &ContainerId) -> Result<Option<Self>, Error> {
        match containers.connect(id) {
            Ok(stream) => {
                let decoder = Decoder::default();
                Ok(Some(Self {
                    stream,
                    decoder,
                    id: id.clone(),
                    exit_code: None,
                }))
            }
            Err(Error::NotRunning { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, Error> {
        if protocol::send(&mut self.stream, request).is_err() {
            return Ok(Answer::Ended);
        }
        match self.next(None)? {
            Some(Event::Done) => Ok(Answer::Done),
            Some(Event::Refused(message)) => Err(Error::Refused { message }),
            _ => Ok(Answer::Ended),
        }
    }

    /// Waits for the container's end; `None` when it did not come in time.
    pub(crate) fn wait(&mut self, timeout: StopTimeout) -> Result<Option<u8>, Error> {
        let deadline = match timeout {
            StopTimeout::After(time) => Some(Instant::now() + time),
            StopTimeout::Never => None,
        };
        while self.exit_code.is_none() && self.next(deadline)?.is_some() {}
        Ok(self.exit_code)
    }

    /// Receives what is said next; `None` at the end, and when the time is over.
    fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Error> {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(None);
        }
        self.stream
            .set_read_timeout(left)
            .at("set up", "a socket")?;
        let event = match protocol::receive(&mut self.stream, &mut self.decoder) {
            Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => return Ok(None),
            received => received.map_err(|_| Error::MonitorLost {
                id: self.id.to_string(),
            })?,
        };
        if let Some(Event::Exited(code)) = event {
            self.exit_code = Some(code);
        }
        Ok(event)
    }
}

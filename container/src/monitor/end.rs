//! From a container that has ended to one that is stopped, or gone.

use super::serve::Server;
use crate::Error;
use crate::remove::Discarded;

/// The exit code of a container whose end was not learnt: it was killed.
const KILLED: u8 = 137;

impl Server {
    /// Puts in order what others can see, tells the clients the exit code, and then does what
    /// takes long: nobody waits for the removal of an idle bridge or of many files.
    pub(super) fn finish(self) -> Result<(), Error> {
        let Self {
            containers,
            record,
            mut state,
            mut log,
            sandbox,
            listeners,
            listener,
            lock,
            lease,
            clients,
            ..
        } = self;
        let code = match sandbox.wait() {
            Ok(exit) => {
                state.oom_killed = exit.out_of_memory;
                exit.status.code()
            }
            Err(error) => {
                state.error = error.to_string();
                KILLED
            }
        };
        if let Err(error) = log.finish() {
            state.error = format!("cannot write the log: {error}");
        }
        listeners.close();
        let removed = match record.host.auto_remove {
            true => containers.discard(&record).map(Some),
            false => containers
                .write_state(&record.id, &state.exited(code))
                .map(|()| None),
        };
        // Nobody connects from here on: what is written is what counts.
        drop(listener);
        let _ = std::fs::remove_file(containers.attach_socket(&record.id));
        drop(lock);
        // A client that reads slowly, or not at all, holds up nothing.
        let tellers = std::thread::spawn(move || {
            for client in clients {
                client.finish(code);
            }
        });
        let released = lease.map_or(Ok(()), |lease| Ok(lease.close()?));
        removed?.map_or(Ok(()), Discarded::delete)?;
        let _ = tellers.join();
        released
    }
}

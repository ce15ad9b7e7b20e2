//! `--insecure`, which several commands have.

use clap::Args;
use mica_registry_client::Registry;

use crate::failure::Failure;
use crate::session::Session;

/// Whether registries may have no TLS, or a certificate that nobody vouches for.
#[derive(Args, Debug)]
pub(super) struct InsecureArgs {
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
}

impl InsecureArgs {
    /// Returns the client for a command that speaks with these hosts.
    pub(super) fn registry(&self, session: &Session, hosts: &[&str]) -> Result<Registry, Failure> {
        match self.insecure {
            true => session.insecure_registry(hosts),
            false => session.registry(),
        }
    }
}

//! `--insecure`, which several commands have.

use clap::Args;
use mica_oci::Reference;
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
    pub(super) fn registry(
        &self,
        session: &Session,
        hosts: impl IntoIterator<Item: Into<String>>,
    ) -> Result<Registry, Failure> {
        match self.insecure {
            true => session.insecure_registry(hosts),
            false => session.registry(),
        }
    }

    /// Returns one client for all of these names. What is none is told when its turn comes.
    pub(super) fn registry_of(
        &self,
        session: &Session,
        names: &[String],
    ) -> Result<Registry, Failure> {
        let names = names.iter().filter_map(|name| name.parse().ok());
        self.registry(
            session,
            names.map(|name: Reference| name.registry().to_owned()),
        )
    }
}

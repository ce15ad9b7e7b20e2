//! `mica serve`: the store as a registry.

use std::path::{Path, PathBuf};

use clap::Args;
use mica_oci::{ContractError, Reference};
use mica_registry_client::{Actions, Registry, RegistryError, Repository};
use mica_registry_server::{
    Access, Htpasswd, NoUpstream, ServeConfig, Server, TlsIdentity, Upstream,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::oneshot;

use super::registry_name;
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// Serve the store as an OCI registry, or a mirror of another registry
///
/// Repository NAME of the registry is image NAME of the store. Nothing is copied.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 is any free one
    #[arg(
        short,
        long,
        visible_aliases = ["addr", "address"],
        default_value = "127.0.0.1:5000",
        value_name = "HOST:PORT"
    )]
    listen: String,
    /// Let clients push
    #[arg(long)]
    allow_push: bool,
    /// Let clients push and delete
    #[arg(long)]
    allow_delete: bool,
    /// Users and bcrypt hashes of their passwords, as `htpasswd -B` makes them
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// The server's certificate and those that signed it, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Fetch from this registry what the store does not have, and keep it
    #[arg(long, value_name = "HOST", conflicts_with_all = ["allow_push", "allow_delete"])]
    mirror: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &ServeArgs, session: &Session) -> Outcome {
    let config = ServeConfig {
        access: match (args.allow_push, args.allow_delete) {
            (_, true) => Access::Delete,
            (true, false) => Access::Push,
            (false, false) => Access::Read,
        },
        users: args.htpasswd.as_deref().map(users).transpose()?,
        tls: match (&args.tls_cert, &args.tls_key) {
            (Some(certificates), Some(key)) => Some(TlsIdentity {
                certificates: read(certificates)?,
                key: read(key)?,
            }),
            _ => None,
        },
    };
    match &args.mirror {
        None => serve(args, session, config, NoUpstream),
        Some(host) => {
            let mirrored = MirroredRegistry {
                registry: session.registry()?,
                host: registry_name(host).to_owned(),
            };
            serve(args, session, config, mirrored)
        }
    }
}

fn serve<U: Upstream>(
    args: &ServeArgs,
    session: &Session,
    config: ServeConfig,
    upstream: U,
) -> Outcome {
    let store = session.store()?;
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let is_open = config.users.is_none() && config.access > Access::Read;
    let ended = session.block_on(async {
        let server = Server::bind(&args.listen, store, config, upstream).await?;
        let address = server.address()?;
        session
            .printer
            .line(format!("Serving on {scheme}://{address}"))?;
        if !address.ip().is_loopback() && is_open {
            session
                .printer
                .warning("anybody who reaches this address may push: see --htpasswd");
        }
        let end = end_signal()?;
        server.run(async { drop(end.await) }).await;
        Ok::<(), Failure>(())
    })?;
    ended.map(|()| Exit::Success)
}

/// Resolves when the process is asked to end.
fn end_signal() -> Result<oneshot::Receiver<()>, Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, end) = oneshot::channel();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            // The server is gone only after its end.
            let _ = sender.send(());
        }
    });
    Ok(end)
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|source| CliError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

fn users(path: &Path) -> Result<Htpasswd, CliError> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    Htpasswd::parse(&text).map_err(|error| CliError::ConfigurationValue {
        path: path.to_owned(),
        value: "htpasswd".to_owned(),
        reason: error.to_string(),
    })
}

/// A registry behind the server.
struct MirroredRegistry {
    registry: Registry,
    host: String,
}

impl Upstream for MirroredRegistry {
    type Repository = Repository;

    /// A name may say the host again, as containerd's mirrors do not but people do.
    fn reference(&self, name: &str, tag: &str) -> Option<Reference> {
        let own = format!("{}/", self.host);
        let name = name.strip_prefix(&own).unwrap_or(name);
        format!("{}/{name}:{tag}", self.host).parse().ok()
    }

    fn repository(&self, reference: &Reference) -> Repository {
        self.registry.repository(reference, Actions::Pull)
    }

    fn status(&self, error: &ContractError) -> Option<u16> {
        let own = error.downcast_ref::<RegistryError>();
        let boxed = error.downcast_ref::<Box<RegistryError>>();
        own.or(boxed.map(Box::as_ref))?.status()
    }
}

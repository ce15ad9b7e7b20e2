//! `mica logout`.

use clap::Args;

use crate::config;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::session::Session;

/// Log out from a registry
#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    /// The registry; Docker Hub when absent
    #[arg(default_value = "docker.io", hide_default_value = true)]
    server: String,
}

/// Runs the command.
pub(crate) fn run(args: &LogoutArgs, session: &Session) -> Outcome {
    let registry = super::registry_name(&args.server);
    let tokens = config::token_cache(&session.directories.runroot);
    mica_registry_client::forget_tokens(&tokens, registry);
    let shown = config::server_key(registry);
    session
        .printer
        .line(match config::forget(session.environment, registry)? {
            true => format!("Removing login credentials for {shown}"),
            false => format!("Not logged in to {shown}"),
        })?;
    Ok(Exit::Success)
}

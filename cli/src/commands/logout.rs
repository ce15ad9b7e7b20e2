//! `mica logout`.

use clap::Args;
use mica_registry_client::forget_tokens;

use crate::config;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::session::Session;

/// Log out from a registry
#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    /// Log out from all registries
    #[arg(short, long, conflicts_with = "server")]
    all: bool,
    /// The registry, or a namespace or repository of one (HOST/PATH); Docker Hub when absent
    #[arg(default_value = "docker.io", hide_default_value = true)]
    server: String,
}

/// Runs the command.
pub(crate) fn run(args: &LogoutArgs, session: &Session) -> Outcome {
    let places = match args.all {
        true => config::places(session.environment)?,
        false => [super::login_place(&args.server)].into(),
    };
    let tokens = config::token_cache(&session.directories.runroot);
    for place in places {
        forget_tokens(&tokens, super::registry_name(&place));
        let shown = config::server_key(&place);
        let line = match config::forget(session.environment, &place)? {
            true => format!("Removing login credentials for {shown}"),
            false => format!("Not logged in to {shown}"),
        };
        session.printer.line(line)?;
    }
    Ok(Exit::Success)
}

//! `mica login`.

use std::io::{self, BufRead, IsTerminal, Read};

use clap::Args;
use mica_registry_client::{Credentials, Hint, RegistryError, Secret, forget_tokens};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::config::{self, Kept};
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// Authenticate to a registry
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// Username
    #[arg(short, long)]
    username: Option<String>,
    /// Password or Personal Access Token (PAT)
    #[arg(short, long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Take the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// The registry, or a namespace or repository of one (HOST/PATH); Docker Hub when absent
    #[arg(default_value = "docker.io", hide_default_value = true)]
    server: String,
}

/// Runs the command.
pub(crate) fn run(args: &LoginArgs, session: &Session) -> Outcome {
    let place = super::login_place(&args.server);
    let registry = super::registry_name(&place);
    let username = username(args, session)?;
    let password = password(args, session)?;
    let credentials = Credentials::Basic {
        username: username.clone(),
        password: Secret::new(password),
    };
    let client = session.registry()?;
    let checked = session.block_on(client.check_login(registry, &credentials))?;
    let checked = checked.map_err(refused)?;
    let kept = match checked.identity_token {
        Some(token) => Credentials::IdentityToken(token),
        None => credentials,
    };
    forget_tokens(&config::token_cache(&session.directories.runroot), registry);
    if let Kept::File(path) = config::keep(session.environment, &place, &kept)? {
        session.printer.message(format!(
            "WARNING! Your credentials are stored unencrypted in '{}'.\n\
             Configure a credential helper to remove this warning.\n",
            path.display()
        ));
    }
    session.printer.line("Login Succeeded")?;
    Ok(Exit::Success)
}

fn refused(error: RegistryError) -> Failure {
    match error.hint() {
        Some(Hint::Login) => Failure::from(error).with_hint("check user name and password"),
        _ => error.into(),
    }
}

fn missing(message: &str) -> Failure {
    let message = message.to_owned();
    CliError::Arguments { message }.into()
}

fn username(args: &LoginArgs, session: &Session) -> Result<String, Failure> {
    if let Some(username) = &args.username {
        return Ok(username.clone());
    }
    if args.password.is_some() || args.password_stdin {
        return Err(missing("Must provide --username with --password-stdin"));
    }
    if !io::stdin().is_terminal() {
        return Err(CliError::NoTerminal(
            "Cannot perform an interactive login from a non TTY device",
        )
        .into());
    }
    session.printer.prompt("Username: ");
    match read_line()? {
        name if name.is_empty() => Err(missing("username is empty")),
        name => Ok(name),
    }
}

fn password(args: &LoginArgs, session: &Session) -> Result<String, Failure> {
    if let Some(password) = &args.password {
        session
            .printer
            .warning("Using --password via the CLI is insecure. Use --password-stdin.");
        return Ok(password.clone());
    }
    let password = match args.password_stdin {
        true => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        false => ask_password(session)?,
    };
    match password.is_empty() {
        true => Err(missing("password is empty")),
        false => Ok(password),
    }
}

fn read_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Reads a line while the terminal shows nothing of it.
fn ask_password(session: &Session) -> Result<String, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(CliError::NoTerminal(
            "Cannot perform an interactive login from a non TTY device",
        )
        .into());
    }
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    // Before the question is seen, as its answer may come at once.
    tcsetattr(&stdin, OptionalActions::Now, &hidden)?;
    session.printer.prompt("Password: ");
    let line = read_line();
    tcsetattr(&stdin, OptionalActions::Now, &shown)?;
    session.printer.prompt("\n");
    Ok(line?)
}

//! `mica exec`.

use std::path::PathBuf;

use clap::Args;
use mica_container::{AttachStdio, Containers, DetachKeys, Error, ExecOptions, Streams};

use crate::container::streams::{self, Terminal};
use crate::container::{terminal, variables};
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// Execute a command in a running container
#[derive(Args, Debug)]
pub(crate) struct ExecArgs {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Accepted as in docker, without effect: a command here ends with its client
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// The container, and what to run in it; nothing behind the container is a flag
    #[arg(
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        value_name = "CONTAINER COMMAND [ARG...]",
    )]
    container_and_command: Vec<String>,
}

/// The size of a terminal when the caller has none: that of the first ones.
const USUAL_SIZE: (u16, u16) = (24, 80);

/// Runs the command.
pub(crate) fn run(args: &ExecArgs, session: &Session) -> Outcome {
    let [name, command @ ..] = &args.container_and_command[..] else {
        return few_arguments();
    };
    if command.is_empty() {
        return few_arguments();
    }
    if !args.detach {
        super::run::check_terminal(args.interactive, args.tty)?;
    }
    let containers = session.containers()?;
    let id = super::find(&containers, name)?;
    let options = options(args, command, session)?;
    if args.detach {
        containers
            .exec_detached(&id, &options)
            .map_err(|error| failed(&containers, error))?;
        return Ok(Exit::Success);
    }
    let wanted = Streams {
        stdin: args.interactive,
        stdout: true,
        stderr: true,
    };
    let exec = containers.exec(&id, &options, AttachStdio::inherit(wanted)?);
    let exec = exec.map_err(|error| failed(&containers, error))?;
    streams::run_session(exec, Terminal::of(args.tty), args.interactive)
}

fn few_arguments() -> Outcome {
    let message = "'mica exec' requires at least 2 arguments".into();
    Err(CliError::Arguments { message }.into())
}

fn options(args: &ExecArgs, command: &[String], session: &Session) -> Result<ExecOptions, Failure> {
    let lookup = |name: &str| session.environment.passed_on(name);
    let mut env = variables::environment(&args.env_file, &args.env, &lookup)?;
    env.retain(|variable| variable.contains('='));
    let size = || terminal::window_size().map_or(USUAL_SIZE, |size| (size.rows, size.columns));
    Ok(ExecOptions {
        env,
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        terminal: args.tty.then(size),
        privileged: args.privileged,
        ..ExecOptions::new(command.to_vec())
    })
}

/// 126 and 127 say that the command cannot be run; what is wrong with the container is 1.
fn failed(containers: &Containers, error: Error) -> Failure {
    let exit = match Exit::of_start(error.exit_code()) {
        Exit::Engine => Exit::Failure,
        exit => exit,
    };
    super::container_failure(containers, error).with_exit(exit)
}

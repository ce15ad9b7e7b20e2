//! `mica shell`: a shell in the state of a build's step.

use std::io::IsTerminal;

use clap::Args;
use mica_builder::{BuildRecord, Builds, Moment, ShellRequest};
use mica_container::{AttachStdio, ExecSession, Streams};
use mica_isolation::WindowSize;

use super::step_name;
use crate::build;
use crate::container::streams::{self, Terminal};
use crate::container::terminal::window_size;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// Open a shell in the state before or after a step of a build, failed ones too
#[derive(Args, Debug)]
pub(crate) struct ShellArgs {
    /// The state before the step, not after it
    #[arg(long)]
    before: bool,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Set the networking mode: default, host or none
    #[arg(long, default_value = "default")]
    network: String,
    /// The step: @3, @builder:3, @'#7', @Dockerfile:12, or @ with a part of the instruction; a build's
    /// ID may stand before the @, the last build is meant otherwise
    #[arg(value_name = "[BUILD]@STEP")]
    step: String,
    /// What to run in place of the step's shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The size of a terminal when the caller's is not known: that of the first ones.
const USUAL_SIZE: WindowSize = WindowSize {
    rows: 24,
    columns: 80,
};

/// Runs the command.
pub(crate) fn run(args: &ShellArgs, session: &Session) -> Outcome {
    let Some((id, name)) = args.step.split_once('@') else {
        let message = format!("\"{}\" is no step: expected [BUILD]@STEP", args.step);
        let failure = Failure::from(CliError::Arguments { message });
        return Err(failure.with_hint("`mica why` lists the steps of the last build"));
    };
    let store = session.store()?;
    let builds = Builds::of(&store);
    let file = match id {
        "" => builds.last(None)?,
        id => builds.find(id)?,
    };
    let record = builds.read(&file)?;
    let step = find(&record, name)?;
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let terminal = is_terminal.then(|| window_size().unwrap_or(USUAL_SIZE));
    let request = request(args, session, terminal)?;
    let stdio = AttachStdio::inherit(Streams {
        stdin: true,
        stdout: true,
        stderr: true,
    })?;
    let (inner, stdio) = ExecSession::streams(stdio, terminal)?;
    let shell = mica_builder::open_shell(&store, step, &request, inner)?;
    let ground = shell.ground;
    let running = ExecSession::of(shell.sandbox, stdio);
    let exit = streams::run_session(running, Terminal::of(terminal.is_some()), true);
    drop(ground);
    exit
}

fn find<'r>(record: &'r BuildRecord, name: &str) -> Result<&'r mica_builder::BuildStep, Failure> {
    step_name::find(record, name).map_err(|error| {
        let steps = record.steps.iter().filter(|step| step.site.is_some());
        let names: Vec<_> = steps
            .map(|step| format!("@{}", step_name::of(step)))
            .collect();
        Failure::from(error).with_hint(&format!("its steps are {}", names.join(", ")))
    })
}

fn request(
    args: &ShellArgs,
    session: &Session,
    terminal: Option<WindowSize>,
) -> Result<ShellRequest, Failure> {
    Ok(ShellRequest {
        moment: match args.before {
            true => Moment::Before,
            false => Moment::After,
        },
        command: args.command.clone(),
        env: args.env.clone(),
        user: args.user.clone(),
        directory: args.workdir.clone(),
        terminal,
        sandbox: build::shell_sandbox(&args.network, session)?,
    })
}

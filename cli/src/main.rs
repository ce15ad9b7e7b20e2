//! The `mica` binary.
//!
//! ```text
//! arguments ─▶ commands/ ─▶ one call of a room below ─▶ printer
//!                 ▲
//!    config/ (environment, home, files)   template/ (--format)   failure ─▶ error:, hint:, exit code
//! ```
//!
//! Rules: only [`config`] reads the environment; only [`printer`] writes to the terminal; every
//! exit code is in [`exit`].

mod build;
mod commands;
mod config;
mod container;
mod exit;
mod explore;
mod failure;
mod hint;
mod listing;
mod look;
mod manifest_lists;
mod place;
mod printer;
mod progress;
mod session;
mod signals;
mod template;

use std::ffi::OsString;
use std::process::ExitCode;

use commands::Parsed;
use config::Environment;
use exit::Exit;
use failure::{Failure, Outcome};
use printer::Printer;
use session::Session;

fn main() -> ExitCode {
    // This program is also the first process of its sandboxes and the monitor of its containers.
    mica_isolation::run_child_if_requested();
    mica_container::run_monitor_if_requested();
    // A monitor outlives this command: it must not hold a lock of the shell that started it. Where
    // the kernel cannot mark them, they are passed on as before.
    let _ = mica_isolation::keep_inherited_files();
    mica_isolation::raise_open_files();
    mica_isolation::return_large_buffers();
    let printer = Printer::new(Environment.colors());
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let exit = match run(printer, &arguments) {
        Ok(exit) => exit,
        Err(failure) => end(printer, &failure),
    };
    ExitCode::from(exit.code())
}

fn run(printer: Printer, arguments: &[OsString]) -> Outcome {
    let arguments = match commands::parse(arguments)? {
        Parsed::Command(arguments) => arguments,
        Parsed::Text(text) => {
            printer.data(text)?;
            return Ok(Exit::Success);
        }
    };
    let environment = Environment;
    let directories =
        environment.directories(arguments.root.as_deref(), arguments.runroot.as_deref());
    let session = Session {
        printer,
        environment,
        directories,
    };
    arguments.command.run(&session)
}

fn end(printer: Printer, failure: &Failure) -> Exit {
    if failure.is_closed_output() {
        return Exit::OutputClosed;
    }
    if !failure.is_reported() {
        printer.report(failure);
    }
    failure.exit
}

//! `mica top`.

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mica_container::ProcessInfo;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::printer::Table;
use crate::session::Session;

/// Display the running processes of a container
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Runs the command.
pub(crate) fn run(args: &TopArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    let id = super::find(&containers, &args.container)?;
    let mut table = Table::new();
    table.row("UID\tPID\tPPID\tC\tSTIME\tTTY\tTIME\tCMD");
    for process in containers.top(&id)? {
        table.row(&describe(&process, Timestamp::now()));
    }
    session.printer.data(table.render())?;
    Ok(Exit::Success)
}

/// The columns of `ps -ef`.
fn describe(process: &ProcessInfo, now: Timestamp) -> String {
    let ProcessInfo {
        uid,
        pid,
        parent,
        terminal,
        command,
        ..
    } = process;
    let started = process.started.to_zoned_datetime(TimeZone::system());
    let start = match now.as_second() - process.started.as_second() < 24 * 3600 {
        true => started.strftime("%H:%M"),
        false => started.strftime("%b%d"),
    };
    let load = load(process, now);
    let time = clock(process.cpu_seconds);
    // A tab in a command would start a column.
    let command = command.replace(['\t', '\n'], " ");
    format!("{uid}\t{pid}\t{parent}\t{load}\t{start}\t{terminal}\t{time}\t{command}")
}

/// CPU time in percent of the time since the start, at most 99 as `ps` has it.
fn load(process: &ProcessInfo, now: Timestamp) -> u64 {
    let elapsed = u64::try_from(now.as_second() - process.started.as_second()).unwrap_or(0);
    (process.cpu_seconds * 100)
        .checked_div(elapsed)
        .unwrap_or(0)
        .min(99)
}

fn clock(seconds: u64) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_described() {
        let started: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let now: Timestamp = "2026-01-02T03:14:05Z".parse().unwrap();
        let process = ProcessInfo {
            uid: 0,
            pid: 100,
            parent: 1,
            started,
            cpu_seconds: 300,
            terminal: "?".into(),
            command: "sh -c a\tb".into(),
        };
        let line = describe(&process, now);
        let cells: Vec<&str> = line.split('\t').collect();
        assert_eq!(
            (&cells[..4], &cells[5..]),
            (
                &["0", "100", "1", "50"][..],
                &["?", "00:05:00", "sh -c a b"][..]
            )
        );
        assert_eq!(load(&process, started), 0);
    }
}

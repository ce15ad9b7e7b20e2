//! `mica logs`.

use std::io::ErrorKind;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use mica_container::{Error, LogOptions, LogStream};

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// Fetch the logs of a container
#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all", value_name = "NUMBER")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp or relative
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The container
    container: String,
}

/// Runs the command.
pub(crate) fn run(args: &LogsArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    let id = super::find(&containers, &args.container)?;
    let options = LogOptions {
        follow: args.follow,
        timestamps: args.timestamps,
        since: args
            .since
            .as_deref()
            .map(|text| moment("--since", text))
            .transpose()?,
        until: args
            .until
            .as_deref()
            .map(|text| moment("--until", text))
            .transpose()?,
        tail: tail(&args.tail)?,
    };
    let printer = session.printer;
    let mut print = |stream: LogStream, line: &[u8]| match stream {
        LogStream::Stdout => printer.data(line),
        LogStream::Stderr => {
            printer.error_data(line);
            Ok(())
        }
    };
    containers
        .logs(&id, &options, &mut print)
        .map_err(closed_output)?;
    Ok(Exit::Success)
}

/// That nobody reads on is about the output, not about the log.
fn closed_output(error: Error) -> Failure {
    match error {
        Error::Io { source, .. } if source.kind() == ErrorKind::BrokenPipe => source.into(),
        error => error.into(),
    }
}

/// Anything that is no number shows all, as in docker.
fn tail(text: &str) -> Result<Option<usize>, CliError> {
    match text {
        "all" => Ok(None),
        _ => match text.parse::<i64>() {
            Ok(count) => Ok(usize::try_from(count).ok()),
            Err(error) => Err(CliError::FlagValue {
                flag: "-n, --tail",
                value: text.to_owned(),
                reason: error.to_string(),
            }),
        },
    }
}

/// Reads a moment: RFC 3339, seconds since 1970, or how long ago.
/// Reads a moment, as a time, in seconds since 1970, or as how long ago it is.
pub(super) fn moment(flag: &'static str, text: &str) -> Result<Timestamp, CliError> {
    let error = || CliError::FlagValue {
        flag,
        value: text.to_owned(),
        reason: "expected a time such as 2024-05-06T07:08:09Z, or 42m for 42 minutes ago".into(),
    };
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let since_epoch = SignedDuration::try_from_secs_f64(seconds).map_err(|_| error())?;
        return Timestamp::from_duration(since_epoch).map_err(|_| error());
    }
    if let Ok(ago) = text.parse::<SignedDuration>() {
        return Timestamp::now().checked_sub(ago).map_err(|_| error());
    }
    let local = text.parse::<jiff::civil::DateTime>().map_err(|_| error())?;
    let zoned = local
        .to_zoned_datetime(jiff::tz::TimeZone::system())
        .map_err(|_| error())?;
    Ok(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_many_forms() {
        let exact = moment("--since", "2024-05-06T07:08:09Z").unwrap();
        assert_eq!(
            moment("--since", &exact.as_second().to_string()).unwrap(),
            exact
        );
        let ago = Timestamp::now().as_second() - moment("--since", "42m").unwrap().as_second();
        assert!((42 * 60..42 * 60 + 5).contains(&ago), "{ago}");
        assert!(moment("--since", "2024-05-06").is_ok());
        assert!(moment("--since", "yesterday").is_err());
    }
}

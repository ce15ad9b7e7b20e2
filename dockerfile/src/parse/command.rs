//! Instructions that hold a command: RUN, CMD, ENTRYPOINT, HEALTHCHECK and SHELL.

use super::Failure;
use super::duration;
use super::flags::{FlagKind, FlagValues};
use crate::error::ErrorKind;
use crate::instruction::{
    CommandForm, Healthcheck, HealthcheckCommand, Heredoc, RunInstruction, RunNetwork, RunSecurity,
};
use crate::mount::{Device, MountError, MountFlag};
use crate::tree::{Form, Node};
use std::time::Duration;

const RUN_FLAGS: &[(&str, FlagKind)] = &[
    ("device", FlagKind::List),
    ("mount", FlagKind::List),
    ("network", FlagKind::Text),
    ("security", FlagKind::Text),
];

const HEALTHCHECK_FLAGS: &[(&str, FlagKind)] = &[
    ("interval", FlagKind::Text),
    ("retries", FlagKind::Text),
    ("start-interval", FlagKind::Text),
    ("start-period", FlagKind::Text),
    ("timeout", FlagKind::Text),
];

/// Reads CMD or ENTRYPOINT, which have no flags.
pub(super) fn plain(node: &Node) -> Result<CommandForm, Failure> {
    FlagValues::read(&node.flags, &[])?;
    Ok(form(&node.arguments, node.form))
}

fn form(arguments: &[String], form: Form) -> CommandForm {
    match form {
        Form::Json => CommandForm::Exec(arguments.to_vec()),
        Form::Plain => CommandForm::Shell(arguments.join(" ")),
    }
}

pub(super) fn run(node: &Node, heredocs: &[Heredoc]) -> Result<RunInstruction, Failure> {
    let flags = FlagValues::read(&node.flags, RUN_FLAGS)?;
    Ok(RunInstruction {
        command: form(&node.arguments, node.form),
        heredocs: heredocs.to_vec(),
        mounts: values(&flags, "mount", MountFlag::parse)?,
        network: network(&flags)?,
        security: security(&flags)?,
        devices: values(&flags, "device", Device::parse)?,
        flags_used: flags.names(),
    })
}

fn values<T>(
    flags: &FlagValues,
    name: &str,
    read: impl Fn(&str) -> Result<T, MountError>,
) -> Result<Vec<T>, Failure> {
    let value = |(text, span)| {
        read(text).map_err(|error| Failure {
            span: Some(span),
            ..Failure::from(ErrorKind::Mount(error))
        })
    };
    flags.placed(name).map(value).collect()
}

fn network(flags: &FlagValues) -> Result<RunNetwork, Failure> {
    let read = |value: &str| match value {
        "default" => Ok(RunNetwork::Default),
        "none" => Ok(RunNetwork::None),
        "host" => Ok(RunNetwork::Host),
        _ => Err(ErrorKind::NetworkMode(value.to_owned())),
    };
    Ok(flags.read_as("network", read)?.unwrap_or_default())
}

fn security(flags: &FlagValues) -> Result<RunSecurity, Failure> {
    let read = |value: &str| match value {
        "sandbox" => Ok(RunSecurity::Sandbox),
        "insecure" => Ok(RunSecurity::Insecure),
        _ => Err(ErrorKind::SecurityMode(value.to_owned())),
    };
    Ok(flags.read_as("security", read)?.unwrap_or_default())
}

pub(super) fn shell(node: &Node) -> Result<Vec<String>, Failure> {
    FlagValues::read(&node.flags, &[])?;
    if node.arguments.is_empty() {
        return Err(ErrorKind::AtLeastOneArgument("SHELL").into());
    }
    match node.form {
        Form::Json => Ok(node.arguments.clone()),
        Form::Plain => Err(ErrorKind::NotJson("SHELL").into()),
    }
}

pub(super) fn healthcheck(node: &Node) -> Result<Healthcheck, Failure> {
    let Some((kind, command)) = node.arguments.split_first() else {
        return Err(ErrorKind::AtLeastOneArgument("HEALTHCHECK").into());
    };
    let kind = kind.to_uppercase();
    if kind == "NONE" {
        return match command {
            [] => Ok(Healthcheck::None),
            _ => Err(ErrorKind::HealthcheckNoneArguments.into()),
        };
    }
    let flags = FlagValues::read(&node.flags, HEALTHCHECK_FLAGS)?;
    if kind != "CMD" {
        return Err(ErrorKind::HealthcheckType(kind).into());
    }
    if command.is_empty() {
        return Err(ErrorKind::HealthcheckNoCommand.into());
    }
    Ok(Healthcheck::Command(HealthcheckCommand {
        command: form(command, node.form),
        interval: interval(&flags, "interval")?,
        timeout: interval(&flags, "timeout")?,
        start_period: interval(&flags, "start-period")?,
        start_interval: interval(&flags, "start-interval")?,
        retries: flags.read_as("retries", retries)?.unwrap_or(0),
    }))
}

/// The shortest time of a health check that docker takes.
const SHORTEST: i128 = 1_000_000;

fn interval(flags: &FlagValues, name: &str) -> Result<Duration, Failure> {
    let read = |value: &str| match duration::nanoseconds(value)? {
        0 => Ok(Duration::ZERO),
        nanoseconds if nanoseconds < SHORTEST => Err(ErrorKind::ShortInterval(name.to_owned())),
        nanoseconds => Ok(Duration::from_nanos(
            u64::try_from(nanoseconds).unwrap_or(u64::MAX),
        )),
    };
    Ok(flags.read_as(name, read)?.unwrap_or_default())
}

fn retries(value: &str) -> Result<u32, ErrorKind> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let wrong = |problem| ErrorKind::Number {
        problem,
        value: value.to_owned(),
    };
    let number: i32 =
        value
            .parse()
            .map_err(|error: std::num::ParseIntError| match error.kind() {
                NegOverflow | PosOverflow => wrong("value out of range"),
                _ => wrong("invalid syntax"),
            })?;
    u32::try_from(number).map_err(|_| ErrorKind::NegativeRetries(number.into()))
}

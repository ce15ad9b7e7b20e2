//! Arguments as docker takes them, and its words for those that it does not.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use super::Arguments;
use crate::exit::Exit;
use crate::failure::{CliError, Failure};

/// What the arguments ask for.
pub(crate) enum Parsed {
    /// A command.
    Command(Box<Arguments>),
    /// Help or the version, to be printed.
    Text(String),
}

/// Parses the arguments, the program's name among them.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Parsed, Failure> {
    let mut command = like_docker(Arguments::command(), has_switch_value(arguments));
    let matches = command.try_get_matches_from_mut(arguments);
    match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(parsed) => Ok(Parsed::Command(Box::new(parsed))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Parsed::Text(error.render().to_string()))
            }
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                let (mut command, _) = named_command(arguments);
                Ok(Parsed::Text(command.render_help().to_string()))
            }
            _ => Err(explain(&error, arguments)),
        },
    }
}

/// `--rm=true`: docker takes a value with every switch. Few people give one, and it makes the
/// help longer, so the switches take one only then.
fn has_switch_value(arguments: &[OsString]) -> bool {
    let value = |argument: &OsString| {
        let text = argument.to_string_lossy();
        let (flag, value) = text.split_once('=')?;
        (flag.starts_with('-') && parse_switch(value).is_ok()).then_some(())
    };
    arguments.iter().any(|argument| value(argument).is_some())
}

/// Reads a switch's value as Go's `strconv.ParseBool` does.
fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

fn like_docker(command: Command, switches_take_values: bool) -> Command {
    let change = |argument: Arg| match argument.get_action() {
        ArgAction::SetTrue if switches_take_values => argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(parse_switch),
        // A value may begin with a dash: `--memory-swap -1`.
        ArgAction::Set | ArgAction::Append if !argument.is_positional() => {
            argument.allow_hyphen_values(true)
        }
        _ => argument,
    };
    let names: Vec<_> = command
        .get_subcommands()
        .map(|subcommand| subcommand.get_name().to_owned())
        .collect();
    let command = command.mut_args(change);
    names.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |subcommand| {
            like_docker(subcommand, switches_take_values)
        })
    })
}

/// Puts what clap says into docker's words.
fn explain(error: &clap::Error, arguments: &[OsString]) -> Failure {
    let (named, path) = named_command(arguments);
    let dash = one_dash(&named, arguments);
    let (flag, command) = (
        texts(error, ContextKind::InvalidArg),
        texts(error, ContextKind::InvalidSubcommand),
    );
    let (cli_error, exit, given) = match (error.kind(), flag.as_slice(), command.as_slice()) {
        (ErrorKind::UnknownArgument, [flag], _) if flag.starts_with('-') => {
            let given = dash.map_or_else(|| flag.clone(), |name| format!("-{name}"));
            let error = CliError::UnknownFlag { flag: given };
            (error, Exit::Engine, flag.as_str())
        }
        (ErrorKind::InvalidSubcommand, _, [name]) => {
            let command = format!("{path} {name}");
            (
                CliError::UnknownCommand { command },
                Exit::Failure,
                name.as_str(),
            )
        }
        (ErrorKind::MissingRequiredArgument, missing, _) => {
            let message = format!("'{path}' requires {}", missing.join(" "));
            (CliError::Arguments { message }, Exit::Failure, "")
        }
        (kind, _, _) => {
            let message = first_line(error);
            let exit = match kind {
                ErrorKind::UnknownArgument => Exit::Failure,
                _ => Exit::Engine,
            };
            (CliError::Arguments { message }, exit, "")
        }
    };
    let help = format!("see '{path} --help'");
    let dashes = dash.map(|name| format!("--{name}"));
    let near = dashes.or_else(|| nearest(error, given));
    Failure::from(cli_error)
        .with_exit(exit)
        .or_hint(|| match near {
            Some(near) => Some(format!("did you mean `{near}`? {help}")),
            None => Some(help),
        })
}

/// Finds a flag with one dash that the command has with two: `-name`, as `find` has it.
fn one_dash<'a>(command: &Command, arguments: &'a [OsString]) -> Option<&'a str> {
    let words = arguments.iter().filter_map(|argument| argument.to_str());
    let mut names = words.filter_map(|word| word.strip_prefix('-')?.split('=').next());
    names.find(|name| {
        let mut flags = command.get_arguments();
        name.len() > 1 && flags.any(|flag| flag.get_long() == Some(name))
    })
}

fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// Returns the suggestion that is most like what was given; of several, the one as long.
fn nearest(error: &clap::Error, given: &str) -> Option<String> {
    let mut near = texts(error, ContextKind::SuggestedArg);
    near.extend(texts(error, ContextKind::SuggestedSubcommand));
    let distance = |text: &String| {
        let difference = text.len().abs_diff(given.len());
        (strsim::osa_distance(text, given), difference)
    };
    near.into_iter().min_by_key(distance)
}

/// What clap says, without its label and the usage.
fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let message = text.strip_prefix("error: ").unwrap_or(&text);
    let lines: Vec<_> = message
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .lines()
        .map(str::trim)
        .collect();
    lines.join(" ")
}

/// Returns the command that the arguments name, as far as they do, and its path: `mica image ls`.
fn named_command(arguments: &[OsString]) -> (Command, String) {
    let mut command = Arguments::command();
    let mut path = "mica".to_owned();
    for argument in arguments.iter().skip(1) {
        let Some(next) = argument
            .to_str()
            .and_then(|name| command.find_subcommand(name))
        else {
            continue;
        };
        let next = next.clone();
        path = format!("{path} {}", next.get_name());
        command = next;
    }
    (command.bin_name(path.clone()), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(line: &str) -> String {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        match parse(&arguments) {
            Ok(Parsed::Command(arguments)) => format!("{:?}", arguments.command),
            Ok(Parsed::Text(text)) => text,
            Err(failure) => {
                format!(
                    "{} {failure} / {}",
                    failure.exit.code(),
                    failure.hint.as_deref().unwrap_or_default()
                )
            }
        }
    }

    fn check(line: &str, expected: &[&str]) {
        let actual = outcome(line);
        for part in expected {
            assert!(actual.contains(part), "{line}: {actual} lacks {part}");
        }
    }

    #[test]
    fn the_tree_is_sound() {
        like_docker(Arguments::command(), true).debug_assert();
    }

    #[test]
    fn what_follows_the_image_is_the_container_s() {
        check(
            "mica run -it image ls -it --rm",
            &[
                r#"["image", "ls", "-it", "--rm"]"#,
                "tty: true",
                "rm: false",
            ],
        );
        check(
            "mica run -itd --rm image",
            &["detach: true", "tty: true", "interactive: true", "rm: true"],
        );
        check("mica run image -v", &[r#"["image", "-v"]"#, "volume: []"]);
        check(
            "mica run -p 4000:80 -e A=B -e C --net host -h name i",
            &[
                r#"["4000:80"]"#,
                r#"["A=B", "C"]"#,
                r#"network: Some("host")"#,
                r#"hostname: Some("name")"#,
            ],
        );
        check(
            "mica exec -it c sh -c ls",
            &[r#"["c", "sh", "-c", "ls"]"#, "interactive: true"],
        );
        check(
            "mica run --memory-swap -1 i --root x",
            &[
                "memory_swap: Some(SwapLimit(-1))",
                r#"["i", "--root", "x"]"#,
            ],
        );
    }

    #[test]
    fn switches_take_values() {
        check(
            "mica run --rm=false -it=true i",
            &["rm: false", "tty: true", "interactive: true"],
        );
        check("mica images --no-trunc=true", &["no_trunc: true"]);
        check("mica images --no-trunc=maybe", &["125 "]);
    }

    #[test]
    fn mistakes_are_explained() {
        check(
            "mica run --nmae x i",
            &[
                "125 unknown flag: --nmae",
                "did you mean `--name`",
                "mica run --help",
            ],
        );
        check(
            "mica find i -name x",
            &["125 unknown flag: -name", "did you mean `--name`"],
        );
        check(
            "mica images --foo",
            &["125 unknown flag: --foo", "see 'mica images --help'"],
        );
        check(
            "mica imagse",
            &["1 unknown command: mica imagse", "did you mean `images`"],
        );
        check("mica rmi", &["1 'mica rmi' requires <IMAGE>"]);
        check("mica image foo", &["1 unknown command: mica image foo"]);
        check("mica image", &["Usage: mica image"]);
        check("mica images --format", &["125 "]);
    }
}

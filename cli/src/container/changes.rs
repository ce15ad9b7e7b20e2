//! `commit --change`: Dockerfile instructions that change an image's configuration.

use std::time::Duration;

use mica_container::{ConfigChange, OptionError};
use mica_dockerfile::{
    CommandForm, Escape, ExpandError, Expander, Healthcheck, HealthcheckCommand, InstructionKind,
    KeyValue, ParseError,
};

/// What is wrong with a change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// Not an instruction.
    #[error("invalid change \"{text}\"")]
    Parse {
        /// The change as given.
        text: String,
        /// The parser's first complaint.
        #[source]
        source: Box<ParseError>,
    },
    /// A variable or a quote is wrong.
    #[error("invalid change \"{text}\"")]
    Expand {
        /// The change as given.
        text: String,
        /// The complaint.
        #[source]
        source: ExpandError,
    },
    /// An instruction that changes files, or none at all.
    #[error(transparent)]
    Instruction(#[from] OptionError),
}

/// The shell of shell-form commands where an image names none.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Reads one `--change`. `variables` are the container's, `shell` is the image's.
pub(crate) fn parse_change(
    text: &str,
    variables: &mica_dockerfile::Lookup<'_>,
    shell: Option<&[String]>,
) -> Result<Vec<ConfigChange>, ChangeError> {
    let parse_error = |mut errors: Vec<ParseError>| ChangeError::Parse {
        text: text.to_owned(),
        source: Box::new(errors.swap_remove(0)),
    };
    let file = mica_dockerfile::parse(&format!("FROM scratch\n{text}\n")).map_err(parse_error)?;
    let instructions = file.stages.into_iter().flat_map(|stage| stage.instructions);
    let reader = Reader {
        text,
        expander: Expander::new(Escape::Backslash, variables),
        shell,
    };
    let mut changes = Vec::new();
    for instruction in instructions {
        changes.extend(reader.read(instruction.kind)?);
    }
    Ok(changes)
}

struct Reader<'a> {
    text: &'a str,
    expander: Expander<'a>,
    shell: Option<&'a [String]>,
}

impl Reader<'_> {
    fn read(&self, kind: InstructionKind) -> Result<Vec<ConfigChange>, ChangeError> {
        let name = kind.name();
        Ok(match kind {
            InstructionKind::Cmd(form) => vec![ConfigChange::Cmd(self.command(form))],
            InstructionKind::Entrypoint(form) => vec![ConfigChange::Entrypoint(self.command(form))],
            InstructionKind::Env(pairs) => {
                self.pairs(&pairs, |name, value| ConfigChange::Env { name, value })?
            }
            InstructionKind::Label(pairs) => {
                self.pairs(&pairs, |name, value| ConfigChange::Label { name, value })?
            }
            InstructionKind::Expose(ports) => self.ports(&ports)?,
            InstructionKind::Volume(paths) => self.each(&paths, ConfigChange::Volume)?,
            InstructionKind::User(user) => vec![ConfigChange::User(self.expand(&user)?)],
            InstructionKind::Workdir(path) => vec![ConfigChange::WorkingDir(self.expand(&path)?)],
            InstructionKind::Stopsignal(signal) => {
                vec![ConfigChange::StopSignal(self.expand(&signal)?)]
            }
            InstructionKind::Onbuild(trigger) => vec![ConfigChange::OnBuild(trigger.expression)],
            InstructionKind::Healthcheck(check) => {
                vec![ConfigChange::Healthcheck(self.healthcheck(check))]
            }
            _ => {
                return Err(OptionError::Change {
                    instruction: name.to_owned(),
                }
                .into());
            }
        })
    }

    fn expand(&self, text: &str) -> Result<String, ChangeError> {
        let expanded = self.expander.expand(text);
        expanded
            .map(|expansion| expansion.value)
            .map_err(|source| self.expand_error(source))
    }

    fn expand_error(&self, source: ExpandError) -> ChangeError {
        ChangeError::Expand {
            text: self.text.to_owned(),
            source,
        }
    }

    fn each(
        &self,
        texts: &[String],
        change: impl Fn(String) -> ConfigChange,
    ) -> Result<Vec<ConfigChange>, ChangeError> {
        texts
            .iter()
            .map(|text| self.expand(text).map(&change))
            .collect()
    }

    fn pairs(
        &self,
        pairs: &[KeyValue],
        change: impl Fn(String, String) -> ConfigChange,
    ) -> Result<Vec<ConfigChange>, ChangeError> {
        let pair =
            |pair: &KeyValue| Ok(change(self.expand(&pair.name)?, self.expand(&pair.value)?));
        pairs.iter().map(pair).collect()
    }

    fn ports(&self, ports: &[String]) -> Result<Vec<ConfigChange>, ChangeError> {
        let mut changes = Vec::new();
        for text in ports {
            for word in self.expand(text)?.split_whitespace() {
                let mappings = mica_container::PortMapping::parse(word)?;
                changes.extend(mappings.iter().map(|port| ConfigChange::Expose(port.key())));
            }
        }
        Ok(changes)
    }

    fn command(&self, form: CommandForm) -> Vec<String> {
        match form {
            CommandForm::Exec(words) => words,
            CommandForm::Shell(text) => {
                let shell = self
                    .shell
                    .map_or_else(|| SHELL.map(str::to_owned).to_vec(), <[_]>::to_vec);
                shell.into_iter().chain([text]).collect()
            }
        }
    }

    fn healthcheck(&self, check: Healthcheck) -> mica_oci::Healthcheck {
        let mica_dockerfile::Healthcheck::Command(check) = check else {
            return mica_oci::Healthcheck {
                test: vec!["NONE".to_owned()],
                ..Default::default()
            };
        };
        mica_oci::Healthcheck {
            test: test(&check),
            interval: nanoseconds(check.interval),
            timeout: nanoseconds(check.timeout),
            start_period: nanoseconds(check.start_period),
            start_interval: nanoseconds(check.start_interval),
            retries: i64::from(check.retries),
        }
    }
}

fn test(check: &HealthcheckCommand) -> Vec<String> {
    match &check.command {
        CommandForm::Exec(words) => std::iter::once("CMD".to_owned())
            .chain(words.clone())
            .collect(),
        CommandForm::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read() {
        let variables = |name: &str| (name == "A").then(|| "value".to_owned());
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let check = |text: &str, expected: Option<Vec<ConfigChange>>| {
            assert_eq!(
                parse_change(text, &variables, None).ok(),
                expected,
                "{text}"
            );
        };
        check(
            "CMD [\"a\", \"b\"]",
            Some(vec![ConfigChange::Cmd(words(&["a", "b"]))]),
        );
        check(
            "CMD a b",
            Some(vec![ConfigChange::Cmd(words(&["/bin/sh", "-c", "a b"]))]),
        );
        check(
            "entrypoint [\"x\"]",
            Some(vec![ConfigChange::Entrypoint(words(&["x"]))]),
        );
        let env = |name: &str, value: &str| ConfigChange::Env {
            name: name.into(),
            value: value.into(),
        };
        check(
            "ENV X=$A Y=\"b c\"",
            Some(vec![env("X", "value"), env("Y", "b c")]),
        );
        check("ENV NEW 1", Some(vec![env("NEW", "1")]));
        check(
            "EXPOSE 80 53/udp",
            Some(vec![
                ConfigChange::Expose("80/tcp".into()),
                ConfigChange::Expose("53/udp".into()),
            ]),
        );
        check("USER me", Some(vec![ConfigChange::User("me".into())]));
        check(
            "WORKDIR /w",
            Some(vec![ConfigChange::WorkingDir("/w".into())]),
        );
        check(
            "VOLUME /a /b",
            Some(vec![
                ConfigChange::Volume("/a".into()),
                ConfigChange::Volume("/b".into()),
            ]),
        );
        check(
            "STOPSIGNAL SIGINT",
            Some(vec![ConfigChange::StopSignal("SIGINT".into())]),
        );
        check(
            "ONBUILD RUN true",
            Some(vec![ConfigChange::OnBuild("RUN true".into())]),
        );
        check("RUN true", None);
        check("COPY a b", None);
        check("NONSENSE", None);
    }
}

//! Containers by name, and one command for several of them.

use mica_container::{ContainerId, Containers, Error};

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::hint;
use crate::session::Session;

/// Names below this Jaro-Winkler similarity are no help.
const SIMILAR: f64 = 0.8;

/// More suggestions than this are noise.
const SUGGESTIONS: usize = 3;

/// Finds a container by name or ID.
pub(super) fn find(containers: &Containers, name: &str) -> Result<ContainerId, Failure> {
    containers
        .find(name)
        .map_err(|error| container_failure(containers, error))
}

/// Adds names that are much like the one that was not found.
pub(super) fn container_failure(containers: &Containers, error: Error) -> Failure {
    let near = match &error {
        Error::NoSuchContainer { name } => near(containers, name),
        _ => Vec::new(),
    };
    let is_missing = matches!(error, Error::NoSuchContainer { .. });
    Failure::from(error).or_hint(|| {
        let usual = || is_missing.then(|| "`mica ps -a` lists what there is".to_owned());
        hint::near_names(&near).or_else(usual)
    })
}

/// Returns the names of containers that are much like one.
pub(super) fn near(containers: &Containers, wanted: &str) -> Vec<String> {
    let list = containers.list().unwrap_or_default();
    let mut near: Vec<_> = list
        .into_iter()
        .map(|summary| (strsim::jaro_winkler(&summary.name, wanted), summary.name))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0));
    near.into_iter()
        .take(SUGGESTIONS)
        .map(|(_, name)| name)
        .collect()
}

/// Tells whether a failure is that there is no such container.
pub(super) fn is_no_such_container(failure: &Failure) -> bool {
    matches!(
        failure.error.downcast_ref(),
        Some(Error::NoSuchContainer { .. })
    )
}

/// What is said about a container that was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Its name, as it was given.
    Name,
    /// Nothing.
    Nothing,
}

/// Does the same to several containers; one that fails does not spare the others.
pub(super) fn for_each(
    session: &Session,
    names: &[String],
    action: impl Fn(&Containers, &ContainerId) -> Result<(), Error>,
) -> Outcome {
    for_each_named(session, names, |containers, name| {
        let id = find(containers, name)?;
        action(containers, &id)?;
        Ok(Shown::Name)
    })
}

/// As [`for_each`], for an action that finds the container itself.
pub(super) fn for_each_named(
    session: &Session,
    names: &[String],
    action: impl Fn(&Containers, &str) -> Result<Shown, Failure>,
) -> Outcome {
    let containers = session.containers()?;
    let mut failed = false;
    for name in names {
        match action(&containers, name) {
            Ok(Shown::Name) => session.printer.line(name)?,
            Ok(Shown::Nothing) => {}
            Err(failure) => {
                failed = true;
                session.printer.report(&failure);
            }
        }
    }
    match failed {
        false => Ok(Exit::Success),
        true => Err(CliError::Reported.into()),
    }
}

/// Cuts a text that is longer than a column.
pub(super) fn shorten(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

/// Returns the registry's name as it is in references, of a name or a URL.
pub(super) fn registry_name(server: &str) -> &str {
    let bare = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"));
    match bare.unwrap_or(server).split('/').next().unwrap_or(server) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// Returns what a login is for: a registry, or a namespace or repository of one. A URL, or the path of
/// an API, stands for the registry, as in docker.
pub(super) fn login_place(server: &str) -> String {
    let registry = registry_name(server);
    let path = match server.contains("://") {
        true => "",
        false => server.split_once('/').map_or("", |(_, path)| path),
    };
    match path.trim_matches('/') {
        "" | "v1" | "v2" => registry.to_owned(),
        path => format!("{registry}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        for (text, expected) in [
            ("abc", "abc"),
            ("abcd", "abcd"),
            ("abcde", "abc…"),
            ("äöüßé", "äöü…"),
        ] {
            assert_eq!(shorten(text, 4), expected);
        }
    }

    #[test]
    fn logins_are_for_registries_and_what_is_in_them() {
        for (server, expected) in [
            ("host.example", "host.example"),
            ("host.example/", "host.example"),
            ("host.example/v2/", "host.example"),
            ("https://host.example/team", "host.example"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("index.docker.io/ada", "docker.io/ada"),
            ("localhost:5000/team/app/", "localhost:5000/team/app"),
        ] {
            assert_eq!(login_place(server), expected);
        }
    }

    #[test]
    fn registries_are_named_as_in_references() {
        for (server, expected) in [
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("http://localhost:5000", "localhost:5000"),
            ("host.example/v2/", "host.example"),
        ] {
            assert_eq!(registry_name(server), expected);
        }
    }
}

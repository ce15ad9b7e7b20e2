//! `# syntax=`: the frontends whose language is served here.

use mica_builder::DockerfileSource;
use mica_dockerfile::{Directive, nearest, parse_partial};

use super::diagnostic::Diagnostic;

/// The images of BuildKit's frontend, with every tag and digest.
const KNOWN: [&str; 3] = [
    "docker/dockerfile",
    "docker/dockerfile-upstream",
    "dockerfile.v0",
];

/// Says what is wrong with the file's frontend, if it is not one that is served here.
pub(crate) fn unknown_frontend(dockerfile: &DockerfileSource) -> Option<Diagnostic> {
    let (parsed, _) = parse_partial(&dockerfile.text);
    let Directive { value, span } = parsed.directives.syntax?;
    // What follows the name are arguments for the frontend.
    let name = value.split(' ').next().unwrap_or_default();
    let bare = bare_name(name);
    if KNOWN.contains(&bare) {
        return None;
    }
    let near = nearest(bare, KNOWN).map(|near| format!("did you mean {near}?"));
    let usual = || "leave the line out, or name docker/dockerfile:1".to_owned();
    Some(Diagnostic {
        message: format!(
            "unknown frontend {name}: the language of docker/dockerfile and docker/dockerfile-upstream is built in, others cannot be run"
        ),
        code: "unknown-frontend",
        span: Some(span),
        hint: Some(near.unwrap_or_else(usual)),
        ..Diagnostic::default()
    })
}

/// Takes registry, tag and digest off a name.
fn bare_name(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let prefixes = ["docker.io/", "index.docker.io/", "registry-1.docker.io/"];
    let stripped = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    stripped.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(syntax: &str) -> Option<Diagnostic> {
        unknown_frontend(&DockerfileSource {
            name: "Dockerfile".into(),
            text: format!("# syntax={syntax}\nFROM scratch\n"),
        })
    }

    #[test]
    fn known_frontends_are_served() {
        let digest = "0".repeat(64);
        for known in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker/dockerfile:1.26-labs",
            "docker/dockerfile-upstream:master",
            "docker.io/docker/dockerfile:1 -x",
            &format!("docker/dockerfile:1@sha256:{digest}"),
        ] {
            assert_eq!(check(known), None, "{known}");
        }
        let wrong = check("docker/dockrfile:1").expect("a typo");
        assert_eq!(wrong.span.expect("a place").first_line, 1);
        assert_eq!(
            wrong.hint.as_deref(),
            Some("did you mean docker/dockerfile?")
        );
        assert!(check("example.com/own/frontend").is_some());
    }
}

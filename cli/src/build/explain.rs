//! `--explain-ignore PATH`: which pattern keeps a path out of the context, or in it.

use std::path::Path;

use mica_builder::DockerfileSource;
use mica_dockerfile::ignore::{IgnoreError, Matcher, Verdict, clean, read};

use super::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::printer::Printer;

/// An ignore file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {name}")]
struct IgnoreFileError {
    name: String,
    #[source]
    source: IgnoreError,
}

/// Says what the ignore file makes of a path.
pub(crate) fn explain_ignore(path: &str, context: &Context, printer: Printer) -> Outcome {
    let path = relative(path, context.directory.as_deref());
    let text = match &context.ignore {
        None => format!("{path}: included (there is no ignore file)"),
        Some(file) => explanation(&path, file)?,
    };
    printer.line(text)?;
    Ok(Exit::Success)
}

/// Makes a path relative to the context; it may be given as docker's COPY takes it, too.
fn relative(path: &str, context: Option<&Path>) -> String {
    let below = context.and_then(|context| Path::new(path).strip_prefix(context).ok());
    let path = below.map_or_else(|| path.to_owned(), |below| below.display().to_string());
    let rooted = clean(&format!("/{path}"));
    match rooted.trim_start_matches('/') {
        "" => ".".to_owned(),
        relative => relative.to_owned(),
    }
}

fn explanation(path: &str, file: &DockerfileSource) -> Result<String, IgnoreFileError> {
    let failed = |source| IgnoreFileError {
        name: file.name.clone(),
        source,
    };
    let matcher = Matcher::from_lines(&read(&file.text)).map_err(failed)?;
    let Some(decision) = matcher.explain(path).map_err(failed)? else {
        return Ok(format!(
            "{path}: included (no pattern of {} matches it)",
            file.name
        ));
    };
    let verdict = match decision.verdict {
        Verdict::Ignored => "ignored",
        Verdict::Kept => "included",
    };
    let line = decision.pattern.line;
    let line = line.map_or_else(String::new, |line| format!(":{line}"));
    let parent = match decision.matched == path {
        true => String::new(),
        false => format!(", which matches {}", decision.matched),
    };
    Ok(format!(
        "{path}: {verdict} by {}{line}: {}{parent}",
        file.name, decision.pattern.written
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_explained() {
        let file = DockerfileSource {
            name: ".dockerignore".into(),
            text: "# all\n*\n!src\nsrc/gen\n".into(),
        };
        let cases = [
            ("README", "README: ignored by .dockerignore:2: *"),
            (
                "src/main",
                "src/main: included by .dockerignore:3: !src, which matches src",
            ),
            (
                "src/gen/a",
                "src/gen/a: ignored by .dockerignore:4: src/gen, which matches src/gen",
            ),
        ];
        for (path, expected) in cases {
            assert_eq!(explanation(path, &file).expect("valid"), expected);
        }
    }

    #[test]
    fn paths_are_relative_to_the_context() {
        let context = Some(Path::new("/src"));
        for path in ["a/b", "./a/b", "/a/b", "/src/a/b", "a/./b/"] {
            assert_eq!(relative(path, context), "a/b", "{path}");
        }
        assert_eq!(relative(".", context), ".");
    }
}

//! The beginning and the end of a build as the user sees them.

use mica_builder::{BuildStep, DockerfileSource, Outcome, Status};
use mica_dockerfile::check::Lines;
use mica_oci::Digest;

use super::context::Context;
use super::diagnostic::{ErrorFormat, Reporting};
use super::excerpt::excerpt;
use super::progress::Display;
use super::report::kept_hint;
use super::style::ChosenStyle;
use crate::failure::Failure;
use crate::printer;

/// Tells what was read before the build began. Of what cannot be parsed nothing is told but what
/// is wrong with it.
pub(crate) fn tell(display: &Display, context: &Context) {
    let dockerfile = &context.dockerfile;
    if mica_dockerfile::parse(&dockerfile.text).is_err() {
        return;
    }
    let title = format!("[internal] load build definition from {}", dockerfile.name);
    display.tell(title, transferred("dockerfile", &dockerfile.text));
    if context.directory.is_some() {
        let ignore = context.ignore.as_ref();
        let text = ignore.map_or("", |ignore| ignore.text.as_str());
        let status = transferred("context", text);
        display.tell("[internal] load .dockerignore".to_owned(), status);
    }
}

fn transferred(what: &str, text: &str) -> Status {
    let size = printer::size(text.len() as u64);
    Status::done(format!("transferring {what}: {size}"))
}

/// Ends the display and the journal; shows what was seen of a failure before the failure itself.
pub(crate) fn end(
    display: &Display,
    style: ChosenStyle,
    made: Result<Digest, Failure>,
    reporting: &Reporting<'_>,
) -> Result<Digest, Failure> {
    let Some(journal) = display.end() else {
        return made;
    };
    let printer = reporting.printer;
    if made.is_err() && style.shows_failures() && reporting.format == ErrorFormat::Text {
        let mut text = display.failures();
        let failed = journal.steps().iter().filter(|step| is_shown(step));
        for step in failed {
            text.push_str(&place(step, reporting.dockerfile));
        }
        if !text.is_empty() {
            printer.message(text.trim_end());
        }
    }
    let hint = kept_hint(journal.steps());
    let result = match &made {
        Ok(id) => Ok(id.to_string()),
        Err(failure) => {
            let text = failure.to_string();
            Err(text.lines().next().unwrap_or_default().to_owned())
        }
    };
    if let Err(error) = journal.finish(result) {
        printer.warning(&format!("this build is not remembered: {error}"));
    }
    made.map_err(|failure| failure.or_hint(|| hint))
}

/// A failed command's place is shown with its last lines; other errors show theirs themselves.
fn is_shown(step: &BuildStep) -> bool {
    step.outcome == Outcome::Failed && step.kept.is_some()
}

/// The lines around an instruction, which is marked with `>>>`, as BuildKit prints it, and with
/// carets under its first line.
fn place(step: &BuildStep, dockerfile: &DockerfileSource) -> String {
    let lines = step.site.as_ref().and_then(|site| site.lines);
    let Some((first, last)) = lines else {
        return String::new();
    };
    let text = excerpt(&dockerfile.name, &dockerfile.text, Lines { first, last });
    let mut out = String::with_capacity(text.len() + 80);
    let mut pointed = false;
    for line in text.lines() {
        out.push_str(line);
        out.push('\n');
        if let Some((_, code)) = line.split_once(" | >>> ").filter(|_| !pointed) {
            let carets = "^".repeat(code.trim_end().chars().count().max(1));
            out.push_str(&format!("     |     {carets}\n"));
            pointed = true;
        }
    }
    out
}

//! The build checks: what a Dockerfile does that its author will hardly want.
//!
//! ```text
//!  text ─► tree ─► syntax.rs                    single instructions, as they are written
//!            └──► stages ─► syntax.rs           names and casing of all of them
//!                   └─► evaluate.rs, bases.rs   bases, target, dependencies
//!                         └─► dispatch.rs       each instruction with its variables
//!                   └─► own/                    rules that BuildKit does not have
//! ```
//!
//! The rules, their messages, their order and what stops them are BuildKit's; a file that it
//! cannot build gives what was found before the error. Facts about images come in through
//! [`Facts`].

mod bases;
mod dispatch;
mod environment;
mod evaluate;
mod files;
mod finding;
mod outline;
mod own;
mod remote;
mod request;
mod rules;
mod settings;
mod state;
mod syntax;
#[cfg(test)]
mod tests;

use crate::directive::Directives;
use crate::error::{ErrorKind, ParseError};
use crate::instruction::{Dockerfile, InstructionKind};
use crate::parse::parse_partial;
use crate::suggest::nearest_exact;
use crate::tree::{Tree, parse_tree};
use evaluate::Evaluation;
use finding::Reporter;
use settings::Settings;
use std::collections::BTreeSet;

pub use finding::{Finding, Lines, Severity};
pub use outline::{Outline, OutlineArgument, OutlineMount};
pub use request::{
    BaseImage, CheckFailure, CheckReport, CheckRequest, Facts, ImageFacts, PlatformName, Reach,
};
pub use rules::{BUILDKIT_RULES, OWN_RULES, Rule};

/// The build argument that replaces the settings of the file.
const SETTINGS_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Build arguments that need no declaration. Source: Dockerfile reference, "Predefined ARGs".
const UNDECLARED: [&str; 6] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SOURCE_DATE_EPOCH",
];

/// Checks a Dockerfile.
#[must_use]
pub fn check(text: &str, request: &CheckRequest<'_>) -> CheckReport {
    let (tree, tree_errors) = parse_tree(text);
    let (file, errors) = parse_partial(text);
    let mut reporter = Reporter::default();
    let mut report = CheckReport::default();
    let checks = Checks {
        text,
        tree: &tree,
        file: &file,
        errors: &errors,
        stops: !tree_errors.is_empty(),
    };
    let outcome = checks.run(request, &mut reporter, &mut report);
    own::check(&file, request, &mut reporter);
    report.failure = outcome
        .err()
        .or_else(|| reporter.violation().map(CheckFailure::new));
    report.is_strict = reporter.settings.error;
    report.findings = reporter.findings;
    report.unused_arguments = unused_arguments(&file, request);
    report
}

struct Checks<'c> {
    text: &'c str,
    tree: &'c Tree,
    file: &'c Dockerfile,
    errors: &'c [ParseError],
    /// Whether lines could not be read: nothing is reported then but the first of them.
    stops: bool,
}

impl Checks<'_> {
    fn run(
        &self,
        request: &CheckRequest<'_>,
        reporter: &mut Reporter,
        report: &mut CheckReport,
    ) -> Result<(), CheckFailure> {
        if self.text.is_empty() {
            return Err(CheckFailure::new(ErrorKind::Empty.to_string()));
        }
        reporter.settings = settings(&self.file.directives, request)?;
        if let Some(error) = self.errors.first().filter(|_| self.stops) {
            return Err(line_failure(error));
        }
        syntax::continuations(&self.tree.warnings, reporter);
        self.nodes(reporter)?;
        if let Some(error) = self.errors.first() {
            return Err(CheckFailure::new(error.to_string()));
        }
        syntax::stage_names(&self.file.stages, reporter);
        syntax::instruction_casing(&self.file.stages, reporter);
        let mut evaluation = Evaluation::new(request, self.file, reporter);
        let outcome = evaluation.run();
        report.outline = evaluation.outline;
        outcome
    }

    /// Checks instructions up to the first wrong one.
    fn nodes(&self, reporter: &mut Reporter) -> Result<(), CheckFailure> {
        let wrong = self
            .errors
            .first()
            .filter(|error| error.kind != ErrorKind::NoStages);
        for node in &self.tree.nodes {
            syntax::node(node, reporter);
            match wrong.filter(|error| error.instruction_line == node.span.first_line) {
                Some(error) => return Err(CheckFailure::new(error.to_string()).at(node.span)),
                None => syntax::description(node, reporter),
            }
        }
        Ok(())
    }
}

fn settings(directives: &Directives, request: &CheckRequest<'_>) -> Result<Settings, CheckFailure> {
    let (text, what) = match (request.build_args.get(SETTINGS_ARGUMENT), &directives.check) {
        (Some(given), _) => (given.as_str(), format!("build-arg:{SETTINGS_ARGUMENT}")),
        (None, Some(check)) => {
            let first = check.value.split(' ').next().unwrap_or_default();
            (first, "check options".to_owned())
        }
        (None, None) => return Ok(Settings::default()),
    };
    Settings::parse(text)
        .map_err(|error| CheckFailure::new(format!("failed to parse {what}: {error}")))
}

/// Gives an error that stops the reading of lines the place that BuildKit gives it.
fn line_failure(error: &ParseError) -> CheckFailure {
    let failure = CheckFailure::new(error.to_string());
    let (first, last) = (error.instruction_line, error.instruction_end);
    match error.kind {
        ErrorKind::Empty => failure,
        // BuildKit counts a directive's line from zero.
        ErrorKind::DuplicateDirective(_) | ErrorKind::InvalidEscape(_) => failure.at(Lines {
            first: first - 1,
            last: first - 1,
        }),
        _ => failure.at(Lines { first, last }),
    }
}

/// Finds build arguments that no `ARG` declares and that have no meaning of their own.
fn unused_arguments(
    file: &Dockerfile,
    request: &CheckRequest<'_>,
) -> Vec<(String, Option<String>)> {
    let in_stages = file.stages.iter().flat_map(|stage| &stage.instructions);
    let in_stages = in_stages.filter_map(|instruction| match &instruction.kind {
        InstructionKind::Arg(arg) => Some(arg),
        InstructionKind::Onbuild(onbuild) => match &onbuild.instruction.kind {
            InstructionKind::Arg(arg) => Some(arg),
            _ => None,
        },
        _ => None,
    });
    let all = file
        .meta_args
        .iter()
        .map(|meta| &meta.value)
        .chain(in_stages);
    let declared: BTreeSet<&str> = all
        .flat_map(|arg| &arg.arguments)
        .map(|argument| argument.name.as_str())
        .collect();
    let predefined = |name: &str| request.predefined.iter().any(|(known, _)| known == name);
    let meant = |name: &str| {
        UNDECLARED
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
            || name.starts_with("BUILDKIT_")
            || predefined(name)
    };
    let names = request.build_args.keys();
    names
        .filter(|name| !declared.contains(name.as_str()) && !meant(name))
        .map(|name| {
            let near = nearest_exact(name, declared.iter().copied());
            (name.clone(), near.map(str::to_owned))
        })
        .collect()
}

/// Words a suggestion as BuildKit does; nothing if no known word is near.
fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>, mark: &str) -> String {
    match nearest_exact(word, known) {
        Some(near) => format!(" (did you mean {mark}{near}?)"),
        None => String::new(),
    }
}

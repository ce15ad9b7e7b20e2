//! What ADD and COPY read: their sources, and what the ignore file keeps out.

use super::evaluate::Evaluation;
use super::remote::SourceKind;
use super::request::CheckFailure;
use super::rules::Rule;
use super::state::Context;
use crate::directive::Escape;
use crate::expand::{ExpandOptions, Expander};
use crate::ignore::{Matcher, clean};
use crate::instruction::CopySource;
use crate::quote::Quoted;

/// What ADD and COPY have in common.
pub(super) struct Files<'i> {
    pub(super) name: &'static str,
    pub(super) sources: &'i [CopySource],
    pub(super) destination: &'i str,
    pub(super) in_context: bool,
    pub(super) checksum: Option<&'i str>,
}

impl Files<'_> {
    fn check_checksum(&self, paths: &[String]) -> Result<(), CheckFailure> {
        if self.checksum.is_none() {
            return Ok(());
        }
        let [path] = paths else {
            let message = "checksum can't be specified for multiple sources";
            return Err(CheckFailure::new(message));
        };
        if SourceKind::of(path) == SourceKind::Local {
            let message = "checksum requires HTTP(S) or Git sources";
            return Err(CheckFailure::new(message));
        }
        Ok(())
    }
}

impl Evaluation<'_> {
    /// A stage that is copied from must come before.
    pub(super) fn check_order(
        &self,
        index: usize,
        from: Option<usize>,
        written: Option<&str>,
    ) -> Result<(), CheckFailure> {
        match from {
            Some(from) if !self.entries[from].is_done => Err(CheckFailure::new(format!(
                "cannot copy from stage {}, it needs to be defined before current stage {}",
                Quoted(written.unwrap_or_default()),
                Quoted(&self.entries[index].name)
            ))),
            _ => Ok(()),
        }
    }

    /// Expands sources and destination, and looks at what they are.
    pub(super) fn files(
        &mut self,
        index: usize,
        context: &Context<'_>,
        files: &Files<'_>,
    ) -> Result<(), CheckFailure> {
        let mut paths = Vec::new();
        for source in files.sources {
            if let CopySource::Path(path) = source {
                paths.push(self.word(index, context, path)?);
            }
        }
        self.word(index, context, files.destination)?;
        for source in files.sources {
            if let CopySource::Heredoc(heredoc) = source
                && heredoc.expand
            {
                self.heredoc(index, context, &heredoc.text())?;
            }
        }
        files.check_checksum(&paths)?;
        for path in &paths {
            match SourceKind::of(path) {
                SourceKind::Local if files.in_context => self.ignored(context, files.name, path),
                SourceKind::Git if files.name == "Copy" => {
                    return Err(CheckFailure::new("source can't be a git ref for COPY"));
                }
                SourceKind::Url if files.name == "Copy" => {
                    return Err(CheckFailure::new("source can't be a URL for COPY"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Expands the text of a heredoc, where quotes have no meaning and `\` escapes in every file.
    fn heredoc(
        &mut self,
        index: usize,
        context: &Context<'_>,
        text: &str,
    ) -> Result<(), CheckFailure> {
        let environment = &self.entries[index].state.environment;
        let lookup = |name: &str| environment.get(name).map(str::to_owned);
        let options = ExpandOptions {
            ignore_quotes: true,
            ..ExpandOptions::default()
        };
        let expander = Expander::new(Escape::Backslash, &lookup).with_options(options);
        let found = expander.expand(text);
        let found = found.map_err(|error| CheckFailure::new(error.to_string()))?;
        self.undefined(index, context, &found);
        Ok(())
    }

    /// Reports a source that the ignore file keeps out. What a pattern with `!` brings back is not
    /// to be told from the patterns alone.
    fn ignored(&mut self, context: &Context<'_>, name: &str, path: &str) {
        let matcher = match self.request.ignore {
            Some(matcher) if !matcher.has_exclusions() => matcher,
            _ => return,
        };
        let path = clean(path);
        let is_root = path == "." || path == "/";
        let ignored = if is_root {
            ignores_root(matcher, &path)
        } else {
            matcher.matches_or_parent_matches(&path).unwrap_or(false)
        };
        if ignored {
            let message = format!(
                "Attempting to {name} file {} that is excluded by .dockerignore",
                Quoted(&path)
            );
            self.reporter.report(
                context.settings,
                Rule::CopyIgnoredFile,
                context.lines,
                message,
            );
        }
    }
}

/// Tells whether patterns leave nothing of the context.
fn ignores_root(matcher: &Matcher, path: &str) -> bool {
    let all = |written: &str| match path {
        "." => matches!(written, "*" | "**" | "**/*"),
        _ => matches!(written, "**" | "**/*"),
    };
    matcher
        .patterns()
        .iter()
        .any(|pattern| all(&pattern.written))
}

//! From the syntax tree to typed stages and instructions.

mod arguments;
mod command;
mod copy;
mod duration;
mod flags;

use crate::error::{ErrorKind, ParseError};
use crate::instruction::{
    Dockerfile, Heredoc, Instruction, InstructionKind, OnbuildInstruction, Stage,
};
use crate::source::{SourceMap, Span, Spanned};
use crate::suggest::{INSTRUCTION_NAMES, nearest};
use crate::tree::{Node, parse_tree};
use flags::FlagValues;

/// Parses a Dockerfile.
///
/// Fails with all errors that were found, in the file's order: reading goes on after an
/// instruction that is wrong.
pub fn parse(text: &str) -> Result<Dockerfile, Vec<ParseError>> {
    let (dockerfile, errors) = parse_partial(text);
    if errors.is_empty() {
        Ok(dockerfile)
    } else {
        Err(errors)
    }
}

/// Parses a Dockerfile and returns what could be understood, with the errors of the rest.
///
/// Checks use it: they look at the good parts of a file also when others are wrong.
#[must_use]
pub fn parse_partial(text: &str) -> (Dockerfile, Vec<ParseError>) {
    let (tree, errors) = parse_tree(text);
    let source = SourceMap::new(text);
    let mut builder = Builder {
        source: &source,
        errors,
        seen_from: false,
        said_no_stage: false,
        dockerfile: Dockerfile {
            directives: tree.directives,
            warnings: tree.warnings,
            ..Dockerfile::default()
        },
    };
    tree.nodes.into_iter().for_each(|node| builder.add(node));
    builder.finish()
}

/// An error in an instruction: what, where if it is a part of it, and the word that may be meant.
#[derive(Debug)]
struct Failure {
    kind: Box<ErrorKind>,
    span: Option<Span>,
    suggestion: Option<String>,
}

impl From<ErrorKind> for Failure {
    fn from(kind: ErrorKind) -> Self {
        Self {
            kind: Box::new(kind),
            span: None,
            suggestion: None,
        }
    }
}

struct Builder<'s, 't> {
    source: &'s SourceMap<'t>,
    dockerfile: Dockerfile,
    errors: Vec<ParseError>,
    /// Whether a `FROM` was seen, also a wrong one.
    seen_from: bool,
    /// Whether it was said that an instruction has no stage.
    said_no_stage: bool,
}

impl Builder<'_, '_> {
    fn add(&mut self, node: Node) {
        let (span, keyword_span) = (node.span, node.keyword_span);
        let whole = Span {
            end: span.end.min(self.first_line_end(span)),
            ..span
        };
        if let Err(failure) = self.try_add(node) {
            let place = match *failure.kind {
                ErrorKind::UnknownInstruction(_) => keyword_span,
                _ => failure.span.unwrap_or(Span {
                    last_line: span.first_line,
                    ..whole
                }),
            };
            let mut error = ParseError::new(*failure.kind, place, span, self.source);
            error.suggestion = failure.suggestion;
            self.errors.push(error);
        }
    }

    fn first_line_end(&self, span: Span) -> usize {
        let line = self.source.text().get(span.start..).unwrap_or("");
        span.start + line.find(['\r', '\n']).unwrap_or(line.len())
    }

    fn try_add(&mut self, node: Node) -> Result<(), Failure> {
        let keyword = node.keyword.to_ascii_lowercase();
        if keyword == "from" {
            self.seen_from = true;
            self.dockerfile.stages.push(stage(node)?);
            return Ok(());
        }
        if keyword == "arg" && !self.seen_from {
            let value = arguments::arg(&node)?;
            let source = node.original.trim().to_owned();
            self.dockerfile.meta_args.push(Spanned {
                value,
                span: node.span,
                source,
            });
            return Ok(());
        }
        let instruction = instruction(node)?;
        match self.dockerfile.stages.last_mut() {
            Some(stage) => stage.instructions.push(instruction),
            None if self.seen_from => {}
            None => return self.no_stage(),
        }
        Ok(())
    }

    /// Says once that an instruction has no stage; the others before `FROM` follow from it.
    fn no_stage(&mut self) -> Result<(), Failure> {
        let said = std::mem::replace(&mut self.said_no_stage, true);
        if said {
            Ok(())
        } else {
            Err(ErrorKind::NoCurrentStage.into())
        }
    }

    fn finish(mut self) -> (Dockerfile, Vec<ParseError>) {
        if self.errors.is_empty() && self.dockerfile.stages.is_empty() {
            let end = self.source.text().trim_end().len();
            let span = self.source.span(end, end);
            let error = ParseError::new(ErrorKind::NoStages, span, span, self.source);
            self.errors.push(error);
        }
        self.errors.sort_by_key(|error| error.span.start);
        (self.dockerfile, self.errors)
    }
}

fn stage(node: Node) -> Result<Stage, Failure> {
    let (name, written_name, as_keyword) = match node.arguments.as_slice() {
        [_] => (None, None, None),
        [_, word, name] if word.eq_ignore_ascii_case("as") => (
            Some(stage_name(name)?),
            Some(name.clone()),
            Some(word.clone()),
        ),
        _ => return Err(ErrorKind::FromArguments.into()),
    };
    let mut flags = FlagValues::read(&node.flags, &[("platform", flags::FlagKind::Text)])?;
    let description = name
        .as_deref()
        .and_then(|name| description(&node.comments, name));
    Ok(Stage {
        name,
        written_name,
        as_keyword,
        base: node.arguments[0].clone(),
        platform: flags.text("platform"),
        span: node.span,
        source: node.original.trim().to_owned(),
        keyword: node.keyword,
        description,
        comments: node.comments,
        instructions: Vec::new(),
    })
}

fn stage_name(written: &str) -> Result<String, ErrorKind> {
    let name = written.to_lowercase();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(allowed);
    if valid {
        Ok(name)
    } else {
        Err(ErrorKind::StageName(written.to_owned()))
    }
}

/// Finds the comment `NAME TEXT` that describes a stage or a variable.
fn description(comments: &[String], name: &str) -> Option<String> {
    let text = |line: &String| {
        line.strip_prefix(name)?
            .strip_prefix(' ')
            .map(str::to_owned)
    };
    comments.iter().find_map(text)
}

fn instruction(mut node: Node) -> Result<Instruction, Failure> {
    let heredocs = std::mem::take(&mut node.heredocs);
    instruction_with(node, heredocs)
}

fn instruction_with(mut node: Node, heredocs: Vec<Heredoc>) -> Result<Instruction, Failure> {
    let kind = kind(&mut node, &heredocs)?;
    Ok(Instruction {
        kind,
        span: node.span,
        source: node.original.trim().to_owned(),
        keyword: node.keyword,
        heredocs,
        comments: node.comments,
    })
}

fn kind(node: &mut Node, heredocs: &[Heredoc]) -> Result<InstructionKind, Failure> {
    Ok(match node.keyword.to_ascii_lowercase().as_str() {
        "add" => InstructionKind::Add(copy::add(node, heredocs)?),
        "arg" => InstructionKind::Arg(arguments::arg(node)?),
        "cmd" => InstructionKind::Cmd(command::plain(node)?),
        "copy" => InstructionKind::Copy(copy::copy(node, heredocs)?),
        "entrypoint" => InstructionKind::Entrypoint(command::plain(node)?),
        "env" => InstructionKind::Env(arguments::pairs(node, "ENV")?),
        "expose" => InstructionKind::Expose(arguments::some(node, "EXPOSE")?),
        "healthcheck" => InstructionKind::Healthcheck(command::healthcheck(node)?),
        "label" => InstructionKind::Label(arguments::pairs(node, "LABEL")?),
        "maintainer" => InstructionKind::Maintainer(arguments::one(node, "MAINTAINER")?),
        "onbuild" => InstructionKind::Onbuild(onbuild(node, heredocs)?),
        "run" => InstructionKind::Run(command::run(node, heredocs)?),
        "shell" => InstructionKind::Shell(command::shell(node)?),
        "stopsignal" => InstructionKind::Stopsignal(arguments::signal(node)?),
        "user" => InstructionKind::User(arguments::one(node, "USER")?),
        "volume" => InstructionKind::Volume(arguments::volumes(node)?),
        "workdir" => InstructionKind::Workdir(arguments::one(node, "WORKDIR")?),
        _ => return Err(unknown_instruction(&node.keyword)),
    })
}

/// Suggests in capitals what was written in capitals.
fn unknown_instruction(keyword: &str) -> Failure {
    let near = nearest(keyword, INSTRUCTION_NAMES.iter().copied());
    let capitals = keyword == keyword.to_uppercase();
    let same_case = |near: &str| match capitals {
        true => near.to_owned(),
        false => near.to_lowercase(),
    };
    Failure {
        suggestion: near.map(same_case),
        ..Failure::from(ErrorKind::UnknownInstruction(keyword.to_owned()))
    }
}

fn onbuild(node: &mut Node, heredocs: &[Heredoc]) -> Result<OnbuildInstruction, Failure> {
    let Some(nested) = node.nested.take() else {
        return Err(ErrorKind::AtLeastOneArgument("ONBUILD").into());
    };
    FlagValues::read(&node.flags, &[])?;
    match nested.keyword.to_ascii_lowercase().as_str() {
        "onbuild" => return Err(ErrorKind::OnbuildChain.into()),
        "maintainer" => return Err(ErrorKind::OnbuildTrigger("MAINTAINER").into()),
        "from" => return Err(ErrorKind::OnbuildTrigger("FROM").into()),
        _ => {}
    }
    let mut expression = nested.original.trim().to_owned();
    for heredoc in heredocs {
        expression.push('\n');
        expression.push_str(&heredoc.content);
        expression.push_str(&heredoc.name);
    }
    let instruction = Box::new(instruction_with(*nested, heredocs.to_vec())?);
    Ok(OnbuildInstruction {
        instruction,
        expression,
    })
}

#[cfg(test)]
mod tests;

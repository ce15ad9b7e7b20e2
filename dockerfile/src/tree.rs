//! The syntax tree: instructions as keyword, flags and arguments, before they are understood.
//!
//! A tree knows no more than how each instruction splits its line. Unknown instructions, unknown
//! flags and wrong numbers of arguments are found later, by [`parse`](crate::parse()).

use crate::directive::{self, Directives, Escape};
use crate::error::{ErrorKind, ParseError};
use crate::heredoc::{self, HeredocHead};
use crate::instruction::{Heredoc, Warning};
use crate::json::{self, JsonArray};
use crate::lines::{LineReader, LogicalLine};
use crate::quote::Quoted;
use crate::source::{SourceMap, Span};
use crate::split;
use std::fmt;

/// A Dockerfile as a list of syntax nodes.
///
/// Displays as s-expressions, a line each: `(keyword ["--flag"] "argument")`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// The parser directives at the head of the file.
    pub directives: Directives,
    /// The instructions, `FROM` included, in order.
    pub nodes: Vec<Node>,
    /// What the parser accepted but finds doubtful.
    pub warnings: Vec<Warning>,
}

/// An instruction as keyword, flags and arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The keyword as it was written.
    pub keyword: String,
    /// Where the keyword stands.
    pub keyword_span: Span,
    /// The flags, with their dashes.
    pub flags: Vec<Flag>,
    /// The arguments. ENV and LABEL have three a pair: name, value, and `=` or nothing; the shell
    /// form of a command is a single one. Quotes and escapes stay.
    pub arguments: Vec<String>,
    /// Whether the arguments were written as a JSON array.
    pub form: Form,
    /// The inner instruction of ONBUILD.
    pub nested: Option<Box<Node>>,
    /// The heredocs; those of an ONBUILD's inner instruction stand at the ONBUILD.
    pub heredocs: Vec<Heredoc>,
    /// The line with its continuations joined, without heredocs.
    pub original: String,
    /// Where the instruction stands, heredocs included.
    pub span: Span,
    /// The comment lines right above it, without `#`.
    pub comments: Vec<String>,
}

/// A flag of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag with its dashes, and its value without quotes and escapes: `--mount=type=bind`.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// How arguments were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// As words or as one text.
    #[default]
    Plain,
    /// As a JSON array of strings.
    Json,
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nodes.iter().try_for_each(|node| writeln!(f, "{node}"))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}", self.keyword.to_lowercase())?;
        if !self.flags.is_empty() {
            let flags = self.flags.iter().map(|flag| Quoted(&flag.text).to_string());
            write!(f, " [{}]", flags.collect::<Vec<_>>().join(" "))?;
        }
        for argument in &self.arguments {
            write!(f, " {}", Quoted(argument))?;
        }
        if let Some(nested) = &self.nested {
            write!(f, " {nested}")?;
        }
        f.write_str(")")
    }
}

impl Node {
    /// Tells whether the line may announce heredocs: RUN, COPY and ADD, also below ONBUILD.
    fn may_have_heredocs(&self) -> bool {
        let inner = self.nested.as_deref().unwrap_or(self);
        let keyword = inner.keyword.to_ascii_lowercase();
        matches!(keyword.as_str(), "run" | "copy" | "add") && inner.form == Form::Plain
    }
}

/// Instructions inside ONBUILD inside ONBUILD ...: one is allowed, and more are seen as an error.
const DEEPEST_NESTING: usize = 2;

/// Reads a Dockerfile into its syntax tree.
///
/// What can be read is in the tree, also when there are errors; they are in the file's order.
#[must_use]
pub fn parse_tree(text: &str) -> (Tree, Vec<ParseError>) {
    let source = SourceMap::new(text);
    let (directives, wrong) = directive::scan(&source);
    let escape = directives.escape.character();
    let mut parser = TreeParser {
        reader: LineReader::new(&source, escape),
        source: &source,
        escape,
        tree: Tree {
            directives,
            ..Tree::default()
        },
        errors: Vec::new(),
    };
    for (kind, span) in wrong {
        parser.report(kind, span, span);
    }
    parser.run();
    (parser.tree, parser.errors)
}

struct TreeParser<'s, 't> {
    reader: LineReader<'s, 't>,
    source: &'s SourceMap<'t>,
    escape: char,
    tree: Tree,
    errors: Vec<ParseError>,
}

/// An error in a line: what and, as offsets in the line, where.
type LineError = (ErrorKind, Option<(usize, usize)>);

impl TreeParser<'_, '_> {
    fn report(&mut self, kind: ErrorKind, span: Span, instruction: Span) {
        self.errors
            .push(ParseError::new(kind, span, instruction, self.source));
    }

    fn run(&mut self) {
        while let Some(line) = self.reader.next_line() {
            if line.has_empty_continuation {
                self.tree
                    .warnings
                    .push(Warning::EmptyContinuation { span: line.span });
            }
            let reader = NodeReader {
                line: &line,
                source: self.source,
                escape: self.escape,
            };
            match reader.node(0, line.text.len(), 0) {
                Ok(node) => self.finish(node, line),
                Err((kind, place)) => {
                    let span = match place {
                        Some((start, end)) => line.span_of(self.source, start, end),
                        None => line.span,
                    };
                    self.report(kind, span, line.span);
                }
            }
        }
        if self.tree.nodes.is_empty() && self.errors.is_empty() {
            self.report_missing();
        }
    }

    fn report_missing(&mut self) {
        let text = self.source.text();
        let kind = if text.is_empty() {
            ErrorKind::Empty
        } else {
            ErrorKind::NoInstructions
        };
        let line = self.reader.last_line().max(1);
        let end = Span {
            first_line: line,
            last_line: line,
            ..self.source.span(text.len(), text.len())
        };
        self.report(kind, self.source.span(text.len(), text.len()), end);
    }

    /// Adds the heredocs to a node, and the node to the tree.
    fn finish(&mut self, mut node: Node, line: LogicalLine) {
        match heads_of(&node, &line) {
            Err(kind) => return self.report(kind, line.span, line.span),
            Ok(heads) => {
                for head in heads {
                    let name = head.name.clone();
                    let Some(heredoc) = self.reader.heredoc(head) else {
                        let kind = ErrorKind::UnterminatedHeredoc { name };
                        let to_the_end = Span {
                            last_line: self.reader.last_line(),
                            ..line.span
                        };
                        return self.report(kind, line.span, to_the_end);
                    };
                    node.span.end = heredoc.span.end;
                    node.span.last_line = heredoc.span.last_line;
                    node.heredocs.push(heredoc);
                }
            }
        }
        node.comments = line.comments;
        self.tree.nodes.push(node);
    }
}

/// Finds the heredocs that the line of a node announces.
fn heads_of(node: &Node, line: &LogicalLine) -> Result<Vec<HeredocHead>, ErrorKind> {
    if node.may_have_heredocs() {
        heredoc::heads_of(&line.text)
    } else {
        Ok(Vec::new())
    }
}

/// Reads a text that is one instruction; the contents of its heredocs do not follow.
pub(crate) fn parse_line(text: &str, escape: Escape) -> Option<(Node, Vec<HeredocHead>)> {
    let source = SourceMap::new(text);
    let escape = escape.character();
    let line = LineReader::new(&source, escape).next_line()?;
    let node = NodeReader {
        line: &line,
        source: &source,
        escape,
    };
    let node = node.node(0, line.text.len(), 0).ok()?;
    let heads = heads_of(&node, &line).ok()?;
    Some((node, heads))
}

/// Reads nodes from a logical line.
struct NodeReader<'l, 's, 't> {
    line: &'l LogicalLine,
    source: &'s SourceMap<'t>,
    escape: char,
}

impl NodeReader<'_, '_, '_> {
    /// Reads the instruction that the range of the line holds.
    fn node(&self, start: usize, end: usize, depth: usize) -> Result<Node, LineError> {
        let text = &self.line.text[start..end];
        let parts = split::parts(text);
        let span_of =
            |from: usize, to: usize| self.line.span_of(self.source, start + from, start + to);
        let keyword_end = parts.keyword_start + parts.keyword.len();
        let flags = parts.flags.iter();
        let mut node = Node {
            keyword: parts.keyword.to_owned(),
            keyword_span: span_of(parts.keyword_start, keyword_end),
            flags: flags
                .map(|it| Flag {
                    text: it.text.clone(),
                    span: span_of(it.start, it.end),
                })
                .collect(),
            arguments: Vec::new(),
            form: Form::Plain,
            nested: None,
            heredocs: Vec::new(),
            original: text.to_owned(),
            span: self.line.span,
            comments: Vec::new(),
        };
        let rest = Rest {
            text: parts.rest,
            start: start + parts.rest_start,
        };
        self.arguments(&mut node, &rest, depth)?;
        Ok(node)
    }

    fn arguments(&self, node: &mut Node, rest: &Rest<'_>, depth: usize) -> Result<(), LineError> {
        let keyword = node.keyword.to_ascii_lowercase();
        let text = rest.text;
        match keyword.as_str() {
            "onbuild" => return self.nested(node, rest, depth),
            "env" => node.arguments = self.pairs(rest, "ENV")?,
            "label" => node.arguments = self.pairs(rest, "LABEL")?,
            "arg" => {
                let words = split::words(text, self.escape).into_iter();
                node.arguments = words.map(|word| word.text).collect();
            }
            "expose" | "from" => node.arguments = split::list(text),
            "add" | "copy" | "volume" => {
                self.maybe_json(node, rest)?;
                if node.form == Form::Plain {
                    node.arguments = split::list(text);
                }
            }
            "cmd" | "entrypoint" | "run" | "shell" => self.maybe_json(node, rest)?,
            "healthcheck" => self.healthcheck(node, rest)?,
            "maintainer" | "stopsignal" | "user" | "workdir" => node.arguments = whole(text),
            // BuildKit gives an unknown instruction one empty argument.
            _ => node.arguments = vec![String::new()],
        }
        Ok(())
    }

    fn nested(&self, node: &mut Node, rest: &Rest<'_>, depth: usize) -> Result<(), LineError> {
        if rest.text.is_empty() {
            return Ok(());
        }
        if depth >= DEEPEST_NESTING {
            return Err((ErrorKind::OnbuildChain, None));
        }
        let nested = self.node(rest.start, rest.start + rest.text.len(), depth + 1)?;
        node.nested = Some(Box::new(nested));
        Ok(())
    }

    fn maybe_json(&self, node: &mut Node, rest: &Rest<'_>) -> Result<(), LineError> {
        match json::array(rest.text) {
            JsonArray::Strings(strings) => {
                node.arguments.extend(strings);
                node.form = Form::Json;
            }
            JsonArray::OtherValues => return Err((ErrorKind::NotStringArray, Some(rest.range()))),
            JsonArray::Not => node.arguments.extend(whole(rest.text)),
        }
        Ok(())
    }

    fn healthcheck(&self, node: &mut Node, rest: &Rest<'_>) -> Result<(), LineError> {
        let length = rest
            .text
            .find(char::is_whitespace)
            .unwrap_or(rest.text.len());
        let (kind, after) = rest.text.split_at(length);
        let command = after.trim_start();
        node.arguments = whole(kind);
        let start = rest.start + rest.text.len() - command.len();
        self.maybe_json(
            node,
            &Rest {
                text: command,
                start,
            },
        )
    }

    /// Reads `name=value ...` or the old form `name value`.
    fn pairs(&self, rest: &Rest<'_>, keyword: &'static str) -> Result<Vec<String>, LineError> {
        let words = split::words(rest.text, self.escape);
        let Some(first) = words.first() else {
            return Ok(Vec::new());
        };
        if !first.text.contains('=') {
            return old_pair(rest, keyword);
        }
        let mut pairs = Vec::with_capacity(words.len() * 3);
        for word in words {
            let Some((name, value)) = word.text.split_once('=') else {
                let place = (rest.start + word.start, rest.start + word.end);
                return Err((ErrorKind::MissingEquals(word.text), Some(place)));
            };
            pairs.extend([name.to_owned(), value.to_owned(), "=".to_owned()]);
        }
        Ok(pairs)
    }
}

/// The arguments of an instruction: a text and its offset in the line.
struct Rest<'l> {
    text: &'l str,
    start: usize,
}

impl Rest<'_> {
    fn range(&self) -> (usize, usize) {
        (self.start, self.start + self.text.len())
    }
}

fn old_pair(rest: &Rest<'_>, keyword: &'static str) -> Result<Vec<String>, LineError> {
    let missing = || (ErrorKind::TwoArguments(keyword), Some(rest.range()));
    let (name, value) = rest
        .text
        .split_once(split::is_separator)
        .ok_or_else(missing)?;
    let value = value.trim_start_matches(split::is_separator);
    Ok(vec![name.to_owned(), value.to_owned(), String::new()])
}

/// Makes a text the only argument, if there is any.
fn whole(text: &str) -> Vec<String> {
    if text.is_empty() {
        Vec::new()
    } else {
        vec![text.to_owned()]
    }
}

//! The second step: tokens to the syntax tree.

use std::collections::HashMap;

use serde_json::Value;

use super::error::TemplateError;
use super::functions;
use super::lex::{Token, TokenKind, lex, line_of};
use super::syntax::{Binding, Branch, Call, Command, List, Located, Node, Operand, Pipeline, Term};

/// A template with the ones that it defines.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) text: String,
    pub(super) root: List,
    pub(super) defined: HashMap<String, List>,
}

/// Parses a template.
pub(super) fn parse(text: &str) -> Result<Parsed> {
    let mut parser = Parser {
        text,
        tokens: lex(text),
        next: 0,
        variables: vec!["$".into()],
        loops: 0,
        defined: HashMap::new(),
    };
    let (root, end) = parser.list()?;
    if end != Terminator::End {
        return parser.error(format!("unexpected {}", end.text()));
    }
    Ok(Parsed {
        text: text.to_owned(),
        root,
        defined: parser.defined,
    })
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    next: usize,
    variables: Vec<String>,
    loops: usize,
    defined: HashMap<String, List>,
}

/// What ended a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Terminator {
    Else,
    EndKeyword,
    End,
}

/// Whether an `{{else if}}` belongs to the block it stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    If,
    With,
    Range,
}

impl Terminator {
    fn text(self) -> &'static str {
        match self {
            Self::Else => "{{else}}",
            Self::EndKeyword => "{{end}}",
            Self::End => "EOF",
        }
    }
}

impl Block {
    fn keyword(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }

    fn node(self, branch: Branch) -> Node {
        match self {
            Self::If => Node::If(branch),
            Self::With => Node::With(branch),
            Self::Range => Node::Range(branch),
        }
    }
}

type Result<T> = std::result::Result<T, TemplateError>;

impl Parser<'_> {
    fn peek(&self) -> &Token {
        // The last token is the end, and is never passed.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(TemplateError::Parse {
            line: line_of(self.text, self.peek().position.min(self.text.len())),
            message: message.into(),
        })
    }

    fn unexpected<T>(&self, token: &Token, place: &str) -> Result<T> {
        let what = match &token.kind {
            TokenKind::Error(message) => return self.error(message),
            TokenKind::End => "EOF".to_owned(),
            TokenKind::Keyword => format!("<{}>", token.text),
            _ if token.text.len() > 10 => {
                format!("{:?}...", token.text.chars().take(10).collect::<String>())
            }
            _ => format!("{:?}", token.text),
        };
        self.error(format!("unexpected {what} in {place}"))
    }

    fn at_keyword(&self, word: &str) -> bool {
        self.peek().kind == TokenKind::Keyword && self.peek().text == word
    }

    fn list(&mut self) -> Result<(List, Terminator)> {
        let mut list = List::new();
        loop {
            let token = self.take();
            match token.kind {
                TokenKind::End => return Ok((list, Terminator::End)),
                TokenKind::Text => list.push(Node::Text(token.text)),
                TokenKind::Error(message) => return self.error(message),
                _ => {
                    if self.at_keyword("end") {
                        self.take();
                        self.close("end")?;
                        return Ok((list, Terminator::EndKeyword));
                    }
                    if self.at_keyword("else") {
                        self.take();
                        return Ok((list, Terminator::Else));
                    }
                    list.extend(self.action()?);
                }
            }
        }
    }

    fn close(&mut self, place: &str) -> Result<()> {
        let token = self.take();
        match token.kind {
            TokenKind::Close => Ok(()),
            _ => self.unexpected(&token, place),
        }
    }

    fn action(&mut self) -> Result<Option<Node>> {
        if self.peek().kind == TokenKind::Keyword && self.peek().text != "nil" {
            let keyword = self.take();
            return match keyword.text.as_str() {
                "if" => self.control(Block::If).map(Some),
                "with" => self.control(Block::With).map(Some),
                "range" => self.control(Block::Range).map(Some),
                "define" => self.definition().map(|()| None),
                "template" => self.call().map(Some),
                "block" => self.block().map(Some),
                _ => self.jump(&keyword).map(Some),
            };
        }
        let pipeline = self.pipeline("command", &TokenKind::Close)?;
        Ok(Some(Node::Action(pipeline)))
    }

    fn jump(&mut self, keyword: &Token) -> Result<Node> {
        let place = format!("{{{{{}}}}}", keyword.text);
        if self.loops == 0 {
            return self.error(format!("{place} outside {{{{range}}}}"));
        }
        self.close(&place)?;
        Ok(if keyword.text == "break" {
            Node::Break
        } else {
            Node::Continue
        })
    }

    /// `if`, `with` and `range`, after their keyword.
    fn control(&mut self, block: Block) -> Result<Node> {
        let scope = self.variables.len();
        let pipeline = self.pipeline(block.keyword(), &TokenKind::Close)?;
        let in_loop = usize::from(block == Block::Range);
        self.loops += in_loop;
        let (body, end) = self.list()?;
        self.loops -= in_loop;
        let otherwise = match end {
            Terminator::EndKeyword => List::new(),
            Terminator::End => return self.error("unexpected EOF"),
            Terminator::Else => self.otherwise(block)?,
        };
        self.variables.truncate(scope);
        Ok(block.node(Branch {
            pipeline,
            body,
            otherwise,
        }))
    }

    /// What follows `else`: a list, or another block that shares this one's `end`.
    fn otherwise(&mut self, block: Block) -> Result<List> {
        for nested in [Block::If, Block::With] {
            if block == nested && self.at_keyword(nested.keyword()) {
                self.take();
                return Ok(vec![self.control(nested)?]);
            }
        }
        self.close("else")?;
        match self.list()? {
            (list, Terminator::EndKeyword) => Ok(list),
            (_, Terminator::Else) => self.error("expected end; found {{else}}"),
            (_, Terminator::End) => self.error("unexpected EOF"),
        }
    }

    fn name(&mut self, place: &str) -> Result<String> {
        let token = self.take();
        match token.kind {
            TokenKind::Quoted(name) => Ok(name),
            _ => self.unexpected(&token, place),
        }
    }

    fn definition(&mut self) -> Result<()> {
        let name = self.name("define clause")?;
        self.close("define clause")?;
        self.named_list(name)
    }

    fn named_list(&mut self, name: String) -> Result<()> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let (list, end) = self.list()?;
        self.variables = variables;
        if end != Terminator::EndKeyword {
            return self.error(format!("unexpected {}", end.text()));
        }
        self.defined.insert(name, list);
        Ok(())
    }

    fn call(&mut self) -> Result<Node> {
        let position = self.peek().position;
        let name = self.name("template clause")?;
        let argument = match self.peek().kind {
            TokenKind::Close => {
                self.take();
                None
            }
            _ => Some(self.pipeline("template clause", &TokenKind::Close)?),
        };
        let node = Call { name, argument };
        Ok(Node::Template(Located { position, node }))
    }

    fn block(&mut self) -> Result<Node> {
        let position = self.peek().position;
        let name = self.name("block clause")?;
        let argument = Some(self.pipeline("block clause", &TokenKind::Close)?);
        self.named_list(name.clone())?;
        let node = Call { name, argument };
        Ok(Node::Template(Located { position, node }))
    }

    /// Parses a pipeline and the token that ends it.
    fn pipeline(&mut self, place: &str, end: &TokenKind) -> Result<Pipeline> {
        let position = self.peek().position;
        let (variables, binding) = self.variables(place)?;
        let mut commands = Vec::new();
        loop {
            let token = self.peek().clone();
            if token.kind == *end {
                self.take();
                break;
            }
            match token.kind {
                TokenKind::Close
                | TokenKind::RightParenthesis
                | TokenKind::End
                | TokenKind::Error(_) => {
                    return self.unexpected(&token, place);
                }
                _ => commands.push(self.command(end)?),
            }
        }
        self.check(&commands, place)?;
        // A variable can be used only after the pipeline that sets it.
        if binding == Binding::Declare {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline {
            position,
            variables,
            binding,
            commands,
        })
    }

    fn check(&self, commands: &[Command], place: &str) -> Result<()> {
        if commands.is_empty() {
            return self.error(format!("missing value for {place}"));
        }
        for (index, command) in commands.iter().enumerate().skip(1) {
            let constant = matches!(
                command.operands[0].node,
                Term::Constant(..) | Term::Nil | Term::Dot
            );
            if constant {
                let stage = index + 1;
                return self.error(format!("non executable command in pipeline stage {stage}"));
            }
        }
        Ok(())
    }

    /// `$x :=`, `$x =`, and in a `range` `$i, $x :=`.
    fn variables(&mut self, place: &str) -> Result<(Vec<String>, Binding)> {
        let none = Ok((Vec::new(), Binding::Declare));
        let kind = |offset: usize| self.tokens.get(self.next + offset).map(|token| &token.kind);
        if kind(0) != Some(&TokenKind::Variable) {
            return none;
        }
        let count = match (kind(1), kind(2)) {
            (Some(TokenKind::Comma), Some(TokenKind::Variable)) if place == "range" => 2,
            _ => 1,
        };
        let binding = match kind(2 * count - 1) {
            Some(TokenKind::Declare) => Binding::Declare,
            Some(TokenKind::Assign) => Binding::Assign,
            _ => return none,
        };
        let names = (0..count)
            .map(|index| self.tokens[self.next + 2 * index].text.clone())
            .collect::<Vec<_>>();
        if binding == Binding::Assign {
            names
                .iter()
                .try_for_each(|name| self.check_variable(name))?;
        }
        self.next += 2 * count;
        Ok((names, binding))
    }

    fn check_variable(&self, name: &str) -> Result<()> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        self.error(format!("undefined variable {name:?}"))
    }

    /// One command, and the pipe after it.
    fn command(&mut self, end: &TokenKind) -> Result<Command> {
        let position = self.peek().position;
        let mut operands = Vec::new();
        loop {
            let Some(operand) = self.operand()? else {
                let token = self.peek().clone();
                if operands.is_empty() {
                    return match token.kind {
                        TokenKind::Pipe => self.error("missing value for command"),
                        _ => self.unexpected(&token, "command"),
                    };
                }
                return self.unexpected(&token, "operand");
            };
            operands.push(operand);
            let token = self.peek();
            if token.kind == *end {
                break;
            }
            if token.kind == TokenKind::Pipe {
                self.take();
                break;
            }
            if !token.spaced {
                let token = token.clone();
                return self.unexpected(&token, "operand");
            }
        }
        Ok(Command { position, operands })
    }

    fn operand(&mut self) -> Result<Option<Operand>> {
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        let mut fields = Vec::new();
        let position = self.peek().position;
        while self.peek().kind == TokenKind::Field && !self.peek().spaced {
            fields.push(self.take().text[1..].to_owned());
        }
        if fields.is_empty() {
            return Ok(Some(term));
        }
        let node = match term.node {
            Term::Field(first) => Term::Field([first, fields].concat()),
            Term::Variable(name, _) => Term::Variable(name, fields),
            Term::Constant(..) | Term::Nil | Term::Dot => {
                return self.error(format!(
                    "unexpected . after term {:?}",
                    term.node.to_string()
                ));
            }
            _ => Term::Chain(Box::new(term), fields),
        };
        Ok(Some(Located { position, node }))
    }

    fn term(&mut self) -> Result<Option<Operand>> {
        let token = self.peek().clone();
        let position = token.position;
        let node = match token.kind {
            TokenKind::Identifier => self.identifier(&token.text)?,
            TokenKind::Dot => Term::Dot,
            TokenKind::Keyword if token.text == "nil" => Term::Nil,
            TokenKind::Variable => {
                self.check_variable(&token.text)?;
                Term::Variable(token.text, Vec::new())
            }
            TokenKind::Field => Term::Field(vec![token.text[1..].to_owned()]),
            TokenKind::Number(value) => Term::Constant(value, token.text),
            TokenKind::Quoted(value) => Term::Constant(Value::String(value), token.text),
            TokenKind::LeftParenthesis => {
                self.take();
                let pipeline =
                    self.pipeline("parenthesized pipeline", &TokenKind::RightParenthesis)?;
                let node = Term::Pipeline(pipeline);
                return Ok(Some(Located { position, node }));
            }
            _ => return Ok(None),
        };
        self.take();
        Ok(Some(Located { position, node }))
    }

    fn identifier(&self, name: &str) -> Result<Term> {
        match name {
            "true" | "false" => Ok(Term::Constant(Value::Bool(name == "true"), name.to_owned())),
            _ if functions::exists(name) => Ok(Term::Function(name.to_owned())),
            _ => self.error(format!("function {name:?} not defined")),
        }
    }
}

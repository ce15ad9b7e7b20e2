//! The syntax tree, and how Go writes it in messages.

use std::fmt;

use serde_json::Value;

/// Some part of the tree and the byte it stands at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Located<T> {
    pub(super) position: usize,
    pub(super) node: T,
}

/// A list of nodes that are executed in turn.
pub(super) type List = Vec<Node>;

/// One step of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template(Located<Call>),
    Break,
    Continue,
}

/// A condition and what depends on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) body: List,
    pub(super) otherwise: List,
}

/// The call of a named template.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) argument: Option<Pipeline>,
}

/// Commands, each of which is given the former's value as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    pub(super) position: usize,
    /// Variables with their `$`.
    pub(super) variables: Vec<String>,
    pub(super) binding: Binding,
    pub(super) commands: Vec<Command>,
}

/// What happens to a pipeline's variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    Declare,
    Assign,
}

/// A function or value with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) position: usize,
    pub(super) operands: Vec<Operand>,
}

/// A value or the name of a function.
pub(super) type Operand = Located<Term>;

/// What an operand is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    Dot,
    Nil,
    /// A constant, and how it is written.
    Constant(Value, String),
    Function(String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`
    Variable(String, Vec<String>),
    /// `(…)`
    Pipeline(Pipeline),
    /// `(…).A.B`
    Chain(Box<Operand>, Vec<String>),
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, fields: &[String]| {
            fields.iter().try_for_each(|field| write!(f, ".{field}"))
        };
        match self {
            Self::Dot => f.write_str("."),
            Self::Nil => f.write_str("nil"),
            Self::Constant(_, text) | Self::Function(text) => f.write_str(text),
            Self::Field(names) => fields(f, names),
            Self::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            Self::Pipeline(pipeline) => write!(f, "({pipeline})"),
            Self::Chain(operand, names) => {
                write!(f, "{}", operand.node)?;
                fields(f, names)
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, operand) in self.operands.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{}", operand.node)?;
        }
        Ok(())
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = match self.binding {
                Binding::Declare => ":=",
                Binding::Assign => "=",
            };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            let pipe = if index > 0 { " | " } else { "" };
            write!(f, "{pipe}{command}")?;
        }
        Ok(())
    }
}

//! The last step: a syntax tree and its data to text.

use serde_json::Value;

use super::datum::{Datum, Shape, Shapes};
use super::error::TemplateError;
use super::functions::{self, Fault};
use super::lex::line_of;
use super::parse::Parsed;
use super::print;
use super::syntax::{Binding, Branch, Call, Command, Located, Node, Operand, Pipeline, Term};

/// What becomes of a key that an object does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingKey {
    /// It is an error: Go's `missingkey=error`.
    Error,
    /// It is a field that the type does not have, in a listing.
    NoField(&'static str),
}

/// Renders a parsed template.
pub(super) fn render(
    parsed: &Parsed,
    data: &Value,
    missing_key: MissingKey,
    shapes: Shapes,
) -> Result<String> {
    let data = Datum::borrowed(data, Shape::Plain);
    let mut state = State {
        parsed,
        missing_key,
        shapes,
        variables: vec![("$".into(), data.clone())],
        out: String::new(),
        depth: 0,
    };
    state.list(&parsed.root, &data)?;
    Ok(state.out)
}

// Templates that call themselves end here instead of at the end of the stack.
const DEEPEST: usize = 100;

struct State<'t, 'd> {
    parsed: &'t Parsed,
    missing_key: MissingKey,
    shapes: Shapes,
    variables: Vec<(String, Datum<'d>)>,
    out: String,
    depth: usize,
}

/// Whether a loop goes on after a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Whether a block's value becomes its dot.
#[derive(Clone, Copy)]
enum Rebind {
    No,
    Value,
}

type Result<T> = std::result::Result<T, TemplateError>;

impl<'d> State<'_, 'd> {
    fn fail<T>(&self, position: usize, context: &str, message: impl Into<String>) -> Result<T> {
        let text = &self.parsed.text;
        let line_start = text[..position]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        Err(TemplateError::Execute {
            line: line_of(text, position),
            column: position - line_start,
            context: context.to_owned(),
            message: message.into(),
        })
    }

    fn fail_at<T>(&self, operand: &Operand, message: impl Into<String>) -> Result<T> {
        self.fail(operand.position, &operand.node.to_string(), message)
    }

    fn list(&mut self, list: &[Node], dot: &Datum<'d>) -> Result<Flow> {
        for node in list {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Datum<'d>) -> Result<Flow> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&print::action(&value));
                }
            }
            Node::If(branch) => return self.branch(branch, dot, Rebind::No),
            Node::With(branch) => return self.branch(branch, dot, Rebind::Value),
            Node::Range(branch) => return self.range(branch, dot),
            Node::Template(call) => self.template(call, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// Runs `if` or `with`.
    fn branch(&mut self, branch: &Branch, dot: &Datum<'d>, rebind: Rebind) -> Result<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let flow = match (value.is_true(), rebind) {
            (true, Rebind::Value) => self.list(&branch.body, &value),
            (true, Rebind::No) => self.list(&branch.body, dot),
            (false, _) => self.list(&branch.otherwise, dot),
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Datum<'d>) -> Result<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        // The pipeline's own binding is that of each element, not of the whole.
        self.variables.truncate(scope);
        let items = self.items(branch, &value)?;
        if items.is_empty() {
            let flow = self.list(&branch.otherwise, dot);
            self.variables.truncate(scope);
            return flow;
        }
        for (key, item) in items {
            self.bind_item(&branch.pipeline, key, &item);
            let flow = self.list(&branch.body, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn items(&self, branch: &Branch, value: &Datum<'d>) -> Result<Vec<(Value, Datum<'d>)>> {
        match value.value.as_ref() {
            Value::Array(list) => Ok((0..list.len())
                .filter_map(|index| Some((Value::from(index), value.element(index)?)))
                .collect()),
            Value::Object(_) => Ok(value
                .sorted_keys()
                .into_iter()
                .filter_map(|key| {
                    let item = value.member(&key, Shape::Plain)?;
                    Some((Value::String(key), item))
                })
                .collect()),
            Value::Number(count) if count.is_u64() => Ok((0..count.as_u64().unwrap_or(0))
                .map(|index| (Value::from(index), Datum::new(index)))
                .collect()),
            Value::Null => Ok(Vec::new()),
            other => {
                let context = branch.pipeline.to_string();
                let message = format!("range can't iterate over {}", print::text(other));
                let command = &branch.pipeline.commands[0];
                let position = command.operands[0].position;
                self.fail(position, &context, message)
            }
        }
    }

    fn bind_item(&mut self, pipeline: &Pipeline, key: Value, item: &Datum<'d>) {
        match pipeline.variables.as_slice() {
            [] => {}
            [value] => self.bind(value, pipeline.binding, item.clone()),
            [index, value, ..] => {
                self.bind(index, pipeline.binding, Datum::new(key));
                self.bind(value, pipeline.binding, item.clone());
            }
        }
    }

    fn bind(&mut self, name: &str, binding: Binding, value: Datum<'d>) {
        let known = self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name);
        match (binding, known) {
            (Binding::Assign, Some((_, place))) => *place = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn template(&mut self, call: &Located<Call>, dot: &Datum<'d>) -> Result<()> {
        let Call { name, argument } = &call.node;
        let context = || format!("{{{{template {}}}}}", print::quote(name));
        let Some(list) = self.parsed.defined.get(name) else {
            let message = format!("template {} not defined", print::quote(name));
            return self.fail(call.position, &context(), message);
        };
        if self.depth == DEEPEST {
            let message = format!("exceeded maximum template depth ({DEEPEST})");
            return self.fail(call.position, &context(), message);
        }
        let data = match argument {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Datum::null(),
        };
        let own = vec![("$".to_owned(), data.clone())];
        let variables = std::mem::replace(&mut self.variables, own);
        self.depth += 1;
        self.list(list, &data)?;
        self.depth -= 1;
        self.variables = variables;
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Datum<'d>) -> Result<Datum<'d>> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or_else(Datum::null);
        if let [name] = pipeline.variables.as_slice() {
            self.bind(name, pipeline.binding, value.clone());
        }
        Ok(value)
    }

    /// Runs a command; `last` is what the command before the pipe yielded.
    fn command(
        &mut self,
        command: &Command,
        dot: &Datum<'d>,
        last: Option<Datum<'d>>,
    ) -> Result<Datum<'d>> {
        let first = &command.operands[0];
        if let Term::Function(name) = &first.node {
            return self.call(name, command, dot, last);
        }
        if command.operands.len() > 1 || last.is_some() {
            return self.fail_at(first, self.not_a_function(first));
        }
        match first.node {
            Term::Nil => self.fail_at(first, "nil is not a command"),
            _ => self.operand(first, dot),
        }
    }

    fn not_a_function(&self, operand: &Operand) -> String {
        match &operand.node {
            Term::Field(names) | Term::Variable(_, names) | Term::Chain(_, names)
                if !names.is_empty() =>
            {
                format!(
                    "{} is not a method but has arguments",
                    names[names.len() - 1]
                )
            }
            other => format!("can't give argument to non-function {other}"),
        }
    }

    fn call(
        &mut self,
        name: &str,
        command: &Command,
        dot: &Datum<'d>,
        last: Option<Datum<'d>>,
    ) -> Result<Datum<'d>> {
        let mut arguments = Vec::new();
        for operand in &command.operands[1..] {
            let argument = self.operand(operand, dot)?;
            // `and` and `or` do not look at what follows the argument that decides.
            let decided = match name {
                "and" => !argument.is_true(),
                "or" => argument.is_true(),
                _ => false,
            };
            arguments.push(argument);
            if decided {
                return Ok(arguments.remove(arguments.len() - 1));
            }
        }
        arguments.extend(last);
        let first = &command.operands[0];
        functions::call(name, &arguments).or_else(|fault| match fault {
            Fault::Count(message) => self.fail_at(first, message),
            Fault::Argument(index, message) => {
                let operand = command.operands.get(index + 1).unwrap_or(first);
                self.fail_at(operand, message)
            }
            Fault::Call(message) => self.fail(command.position, &command.to_string(), message),
        })
    }

    fn operand(&mut self, operand: &Operand, dot: &Datum<'d>) -> Result<Datum<'d>> {
        match &operand.node {
            Term::Dot => Ok(dot.clone()),
            Term::Nil => Ok(Datum::null()),
            Term::Constant(value, _) => Ok(Datum::new(value.clone())),
            Term::Function(name) => {
                let command = Command {
                    position: operand.position,
                    operands: vec![operand.clone()],
                };
                self.call(name, &command, dot, None)
            }
            Term::Field(names) => self.fields(operand, dot.clone(), names),
            Term::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = known.map_or_else(Datum::null, |(_, value)| value.clone());
                self.fields(operand, value, names)
            }
            Term::Pipeline(pipeline) => self.pipeline(pipeline, dot),
            Term::Chain(inner, names) => {
                let value = self.operand(inner, dot)?;
                self.fields(operand, value, names)
            }
        }
    }

    fn fields(&self, operand: &Operand, start: Datum<'d>, names: &[String]) -> Result<Datum<'d>> {
        names
            .iter()
            .try_fold(start, |value, name| self.field(operand, &value, name))
    }

    fn field(&self, operand: &Operand, value: &Datum<'d>, name: &str) -> Result<Datum<'d>> {
        let is_map = matches!(value.shape, Shape::Map | Shape::TextMap);
        if let Some(member) = value.member(name, self.shapes.of(name)) {
            return Ok(member);
        }
        if is_map || value.shape == Shape::Missing {
            return Ok(Datum::missing());
        }
        if value.value.is_object()
            && let Some(empty) = self.shapes.absent(name)
        {
            return Ok(empty);
        }
        match (value.value.as_ref(), self.missing_key) {
            (Value::Object(_), MissingKey::Error) => self.fail_at(
                operand,
                format!("map has no entry for key {}", print::quote(name)),
            ),
            (Value::Object(_), MissingKey::NoField(name_of_type)) => {
                let message = format!("can't evaluate field {name} in type {name_of_type}");
                self.fail_at(operand, message)
            }
            (Value::Null, _) => self.fail_at(
                operand,
                format!("nil pointer evaluating interface {{}}.{name}"),
            ),
            _ => self.fail_at(
                operand,
                format!("can't evaluate field {name} in type interface {{}}"),
            ),
        }
    }
}

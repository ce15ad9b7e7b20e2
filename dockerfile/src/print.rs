//! Printing a syntax tree as a Dockerfile that parses to the same tree.
//!
//! Each instruction comes out on a line of its own with single blanks; continuations, comments and
//! blank lines are not kept, heredocs are.

use crate::directive::{Directives, Escape};
use crate::heredoc::HeredocHead;
use crate::json;
use crate::lines::without_continuation;
use crate::tree::{self, Form, Node, Tree};

/// Prints a tree as the text of a Dockerfile.
#[must_use]
pub fn print(tree: &Tree) -> String {
    let mut text = String::new();
    print_directives(&tree.directives, &mut text);
    for node in &tree.nodes {
        let line = line(node, tree.directives.escape);
        if text.is_empty() && line.starts_with('\u{feff}') {
            // At the start of a file it would be a byte order mark.
            text.push('\n');
        }
        text.push_str(&line);
        text.push('\n');
        for heredoc in &node.heredocs {
            text.push_str(&heredoc.content);
            text.push_str(&heredoc.name);
            text.push('\n');
        }
    }
    text
}

fn print_directives(directives: &Directives, text: &mut String) {
    if let Some(syntax) = &directives.syntax {
        text.push_str(&format!("# syntax={}\n", syntax.value));
    }
    if let Some(check) = &directives.check {
        text.push_str(&format!("# check={}\n", check.value));
    }
    if directives.escape != Escape::default() {
        text.push_str(&format!("# escape={}\n", directives.escape.character()));
    }
}

/// Prints an instruction's line.
///
/// In odd cases the very blanks between words matter, e.g. those after an escape or a `<<`: where
/// the plain form does not read back as the node, the line is printed as it was written.
fn line(node: &Node, escape: Escape) -> String {
    let plain = ended(instruction(node), escape);
    if reads_back(&plain, node, escape) {
        return plain;
    }
    ended(node.original.trim_start().to_owned(), escape)
}

/// Keeps an escape at the end of a line from continuing it.
fn ended(mut line: String, escape: Escape) -> String {
    let escape = escape.character();
    if line.is_empty() {
        // Only a continuation at the end of a file makes an instruction of nothing.
        line.push(escape);
    } else if without_continuation(&line, escape).is_some() {
        // A vertical tab is a blank that ends the line.
        line.push('\u{b}');
    }
    line
}

fn reads_back(line: &str, node: &Node, escape: Escape) -> bool {
    let names = |heredocs: Vec<HeredocHead>| heredocs.into_iter().map(|it| it.name);
    tree::parse_line(line, escape).is_some_and(|(read, heads)| {
        read.to_string() == node.to_string()
            && names(heads).eq(node.heredocs.iter().map(|it| it.name.clone()))
    })
}

fn instruction(node: &Node) -> String {
    let mut line = node.keyword.clone();
    for flag in &node.flags {
        line.push(' ');
        line.push_str(&escaped_flag(&flag.text));
    }
    let arguments = arguments(node);
    if arguments.starts_with("--") {
        line.push_str(" --");
    }
    if !arguments.is_empty() {
        line.push(' ');
        line.push_str(&arguments);
    }
    line
}

/// Writes a flag so that it is one word; its escape is always a backslash.
fn escaped_flag(flag: &str) -> String {
    let text = flag.strip_prefix("--").unwrap_or(flag);
    match text.split_once('=') {
        Some((name, value)) => format!("--{}={}", quoted(name), quoted(value)),
        None => format!("--{}", quoted(text)),
    }
}

/// Writes a part of a flag between quotes if it has blanks.
fn quoted(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '"' | '\'') {
            written.push('\\');
        }
        written.push(character);
    }
    if text.contains(char::is_whitespace) {
        format!("\"{written}\"")
    } else {
        written
    }
}

fn arguments(node: &Node) -> String {
    if let Some(nested) = &node.nested {
        return instruction(nested);
    }
    match node.keyword.to_ascii_lowercase().as_str() {
        "env" | "label" => pairs(&node.arguments),
        "healthcheck" => healthcheck(node),
        _ if node.form == Form::Json => json::write(&node.arguments),
        _ => node.arguments.join(" "),
    }
}

fn pairs(arguments: &[String]) -> String {
    let pair = |triple: &[String]| match triple {
        [name, value, delimiter] if delimiter == "=" => format!("{name}={value}"),
        _ => triple.join(" ").trim_end().to_owned(),
    };
    arguments.chunks(3).map(pair).collect::<Vec<_>>().join(" ")
}

fn healthcheck(node: &Node) -> String {
    match (node.arguments.split_first(), node.form) {
        (Some((kind, command)), Form::Json) => format!("{kind} {}", json::write(command)),
        _ => node.arguments.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_a_line_an_instruction() {
        let cases = [
            ("from  a \\\n as b\n# c\nRUN x\n", "from a as b\nRUN x\n"),
            ("# escape=`\nRUN a `\n  b\n", "# escape=`\nRUN a   b\n"),
            ("COPY --a='b c' -- --x  y", "COPY --a=\"b c\" -- --x y\n"),
            ("CMD [ \"a\",\"\\u0001\" ]", "CMD [\"a\", \"\\u0001\"]\n"),
            ("ENV a=\"b c\"   d=e", "ENV a=\"b c\" d=e\n"),
            ("LABEL a   b  c", "LABEL a b  c\n"),
            (
                "HEALTHCHECK --x=1  CMD  [ \"a\" ]",
                "HEALTHCHECK --x=1 CMD [\"a\"]\n",
            ),
            (
                "ONBUILD  run <<a\n\tb\na\nUSER x",
                "ONBUILD run <<a\n\tb\na\nUSER x\n",
            ),
            ("RUN a\\ \\\n", "RUN a\\\u{b}\n"),
            ("COPY [\u{b}\"a\", \"b\"]", "COPY [\u{b}\"a\", \"b\"]\n"),
        ];
        for (text, expected) in cases {
            let (tree, errors) = tree::parse_tree(text);
            assert!(errors.is_empty(), "{errors:?}");
            let printed = print(&tree);
            assert_eq!(printed, expected, "{text:?}");
            assert_eq!(
                tree::parse_tree(&printed).0.to_string(),
                tree.to_string(),
                "{text:?}"
            );
        }
    }
}

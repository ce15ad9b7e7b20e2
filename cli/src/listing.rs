//! Lists as docker prints them: a table, or a template for each row.

use clap::Args;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::look;
use crate::printer::{Printer, Table};
use crate::template::{MissingKey, Shapes, Template};

/// How a list is shown.
#[derive(Args, Debug)]
pub(crate) struct ListingArgs {
    /// Format output using a Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
}

impl ListingArgs {
    /// Tells whether a table for people is shown, in which fields are short.
    pub(crate) fn is_short(&self) -> bool {
        let format = self.format.as_deref().unwrap_or_default();
        !self.no_trunc && (format.is_empty() || format.starts_with(TABLE))
    }
}

/// A kind of list.
#[derive(Debug)]
pub(crate) struct Listing {
    /// What a row is called when a template asks for a field that it does not have.
    pub(crate) row: &'static str,
    /// Fields and their headers.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// The template used when none is given; begins with `table `.
    pub(crate) default: &'static str,
}

const TABLE: &str = "table";

impl Listing {
    /// Prints rows as `--format` says.
    pub(crate) fn print(
        &self,
        printer: Printer,
        format: Option<&str>,
        rows: &[Value],
    ) -> Result<(), Failure> {
        let text = match printer.is_terminal() {
            true => self.render(format, &rows.iter().map(printable_row).collect::<Vec<_>>())?,
            false => self.render(format, rows)?,
        };
        printer.data(text)?;
        Ok(())
    }

    fn render(&self, format: Option<&str>, rows: &[Value]) -> Result<String, Failure> {
        let format = match format {
            None | Some("" | TABLE) => self.default,
            Some("json") => "{{json .}}",
            Some(format) => format,
        };
        let table = format
            .strip_prefix(TABLE)
            .filter(|rest| rest.starts_with([' ', '\\', '\t']));
        let text = unescape(table.unwrap_or(format).trim_matches(' '));
        let template = Template::parse(&text)?
            .with_missing_key(MissingKey::NoField(self.row))
            .with_shapes(Shapes::default());
        let rendered = rows.iter().map(|row| template.render(row));
        if table.is_none() {
            return rendered.map(|row| Ok(row? + "\n")).collect();
        }
        let mut out = Table::new();
        out.row(&template.render(&self.header())?);
        for row in rendered {
            out.row(&row?);
        }
        Ok(out.render())
    }

    fn header(&self) -> Value {
        let pairs = self.headers.iter();
        Value::Object(
            pairs
                .map(|(field, header)| ((*field).into(), (*header).into()))
                .collect(),
        )
    }
}

/// Makes a row; `json .` shows the fields sorted by name, as Go does.
pub(crate) fn row<const N: usize>(mut fields: [(&str, String); N]) -> Value {
    fields.sort_by_key(|(name, _)| *name);
    let pairs = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::String(value)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// Returns a row for a terminal: what images say of themselves may hold sequences that change it.
fn printable_row(row: &Value) -> Value {
    let Value::Object(fields) = row else {
        return row.clone();
    };
    let safe = fields.iter().map(|(name, value)| {
        let value = match value {
            Value::String(text) => Value::String(look::printable(text.as_bytes())),
            value => value.clone(),
        };
        (name.clone(), value)
    });
    Value::Object(safe.collect())
}

/// Replaces `\t` and `\n` outside of actions: people write them in single quotes.
fn unescape(format: &str) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(open) = rest.find("{{") {
        let end = rest[open..]
            .find("}}")
            .map_or(rest.len(), |close| open + close + 2);
        out.push_str(&rest[..open].replace("\\t", "\t").replace("\\n", "\n"));
        out.push_str(&rest[open..end]);
        rest = &rest[end..];
    }
    out.push_str(&rest.replace("\\t", "\t").replace("\\n", "\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Listing = Listing {
        row: "thing",
        headers: &[("ID", "THING ID"), ("Name", "NAME")],
        default: "table {{.ID}}\t{{.Name}}",
    };

    fn check(format: Option<&str>, expected: &str) {
        let rows = [
            row([("Name", "one".into()), ("ID", "1".into())]),
            row([("Name", "two".into()), ("ID", "2".into())]),
        ];
        let actual = match LISTING.render(format, &rows) {
            Ok(text) => text,
            Err(failure) => failure.to_string(),
        };
        assert_eq!(actual, expected, "{format:?}");
    }

    #[test]
    fn formats_are_those_of_docker() {
        let table = "THING ID   NAME\n1          one\n2          two\n";
        check(None, table);
        check(Some("table"), table);
        check(Some(r"table {{.ID}}\t{{.Name}}"), table);
        check(Some("{{.ID}}:{{.Name}}"), "1:one\n2:two\n");
        check(
            Some(r#"{{.ID}}\t{{.Name}}{{"\n"}}"#),
            "1\tone\n\n2\ttwo\n\n",
        );
        check(
            Some("json"),
            "{\"ID\":\"1\",\"Name\":\"one\"}\n{\"ID\":\"2\",\"Name\":\"two\"}\n",
        );
        check(
            Some("{{.Nam}}"),
            "template parsing error: template: :1:2: executing \"\" at <.Nam>: \
             can't evaluate field Nam in type thing",
        );
    }
}

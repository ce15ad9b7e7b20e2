//! One record of comma-separated values, as the values of `--mount` and `--device` are written.

use thiserror::Error;

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CsvError {
    /// A quote inside a field that does not begin with one.
    #[error("bare \" in non-quoted-field")]
    BareQuote,
    /// A quoted field that does not end, or goes on after its quote.
    #[error("extraneous or missing \" in quoted-field")]
    Quote,
    /// No record at all.
    #[error("EOF")]
    Empty,
}

/// Splits a record into its fields; a field may be quoted, with `""` for a quote (RFC 4180).
pub fn fields(record: &str) -> Result<Vec<String>, CsvError> {
    if record.is_empty() {
        return Err(CsvError::Empty);
    }
    let mut fields = Vec::new();
    let mut rest = Some(record);
    while let Some(text) = rest {
        let (field, after) = match text.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => bare_field(text)?,
        };
        fields.push(field);
        rest = after;
    }
    Ok(fields)
}

fn bare_field(text: &str) -> Result<(String, Option<&str>), CsvError> {
    let (field, after) = match text.split_once(',') {
        Some((field, after)) => (field, Some(after)),
        None => (text, None),
    };
    if field.contains('"') {
        return Err(CsvError::BareQuote);
    }
    Ok((field.to_owned(), after))
}

fn quoted_field(mut text: &str) -> Result<(String, Option<&str>), CsvError> {
    let mut field = String::new();
    loop {
        let (part, after) = text.split_once('"').ok_or(CsvError::Quote)?;
        field.push_str(part);
        if let Some(more) = after.strip_prefix('"') {
            field.push('"');
            text = more;
        } else if after.is_empty() {
            return Ok((field, None));
        } else {
            return Ok((field, Some(after.strip_prefix(',').ok_or(CsvError::Quote)?)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let ok = |fields: &[&str]| Ok(fields.iter().map(|field| (*field).to_owned()).collect());
        let cases = [
            ("a,b=c,", ok(&["a", "b=c", ""])),
            ("\"a,b\",c", ok(&["a,b", "c"])),
            ("\"a\"\"b\"", ok(&["a\"b"])),
            ("a\"b", Err(CsvError::BareQuote)),
            ("\"a", Err(CsvError::Quote)),
            ("\"a\"b", Err(CsvError::Quote)),
            ("", Err(CsvError::Empty)),
        ];
        for (record, expected) in cases {
            assert_eq!(fields(record), expected, "{record}");
        }
    }
}

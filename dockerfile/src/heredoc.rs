//! Finding heredocs in an instruction's line.

use crate::directive::Escape;
use crate::error::ErrorKind;
use crate::expand::{ExpandOptions, Expander, Expansion};

/// The head of a heredoc, as it stands in the instruction's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeredocHead {
    pub(crate) name: String,
    pub(crate) file_descriptor: u32,
    pub(crate) expand: bool,
    pub(crate) strip_tabs: bool,
}

/// Finds the heredocs that a line announces.
pub(crate) fn heads_of(line: &str) -> Result<Vec<HeredocHead>, ErrorKind> {
    if !line.contains("<<") {
        return Ok(Vec::new());
    }
    let keep = ExpandOptions {
        keep_quotes: true,
        keep_escapes: true,
        ..ExpandOptions::default()
    };
    // A line that is no proper sequence of words has no heredocs: the shell may still know more.
    let words = lex(line, keep).map(|found| found.words).unwrap_or_default();
    words
        .iter()
        .filter_map(|word| head(word).transpose())
        .collect()
}

/// Reads a word such as `<<EOF`, `3<<-'EOF'` as the head of a heredoc, if it is one.
pub(crate) fn head(word: &str) -> Result<Option<HeredocHead>, ErrorKind> {
    let after_digits = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &word[..word.len() - after_digits.len()];
    let Some(rest) = after_digits.strip_prefix("<<") else {
        return Ok(None);
    };
    let strip_tabs = rest.starts_with('-');
    let rest = rest
        .strip_prefix('-')
        .unwrap_or(rest)
        .trim_start_matches(is_blank);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let Some((name, expand)) = delimiter(rest)? else {
        return Ok(None);
    };
    // A number too large for a descriptor saturates, as in Go.
    let file_descriptor = digits
        .parse()
        .unwrap_or(if digits.is_empty() { 0 } else { u32::MAX });
    Ok(Some(HeredocHead {
        name,
        file_descriptor,
        expand,
        strip_tabs,
    }))
}

/// Reads the delimiter: its text without quotes, and whether there were none.
fn delimiter(word: &str) -> Result<Option<(String, bool)>, ErrorKind> {
    let wrong = || ErrorKind::InvalidHeredoc(word.to_owned());
    let plain = lex(word, ExpandOptions::default()).ok_or_else(wrong)?.words;
    let [name] = plain.as_slice() else {
        return Ok(None);
    };
    let keep = ExpandOptions {
        keep_quotes: true,
        ..ExpandOptions::default()
    };
    let quoted = lex(word, keep).ok_or_else(wrong)?.words;
    let [written] = quoted.as_slice() else {
        return Err(wrong());
    };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some((name.clone(), quotes(name) == quotes(written))))
}

/// Splits into words; variables stay. A heredoc's delimiter is escaped by `\` in every file.
fn lex(text: &str, options: ExpandOptions) -> Option<Expansion> {
    let options = ExpandOptions {
        keep_unset: true,
        ..options
    };
    Expander::new(Escape::Backslash, &|_| None)
        .with_options(options)
        .expand(text)
        .ok()
}

/// Tells whether a command is nothing but the head of a heredoc.
pub(crate) fn is_only_heredoc(command: &str) -> bool {
    matches!(head(command), Ok(Some(_)))
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[(&str, u32, bool, bool)]) {
        let found = heads_of(line).expect("valid heredocs");
        let found: Vec<_> = found
            .iter()
            .map(|it| {
                (
                    it.name.as_str(),
                    it.file_descriptor,
                    it.expand,
                    it.strip_tabs,
                )
            })
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn heads() {
        check("RUN <<EOF", &[("EOF", 0, true, false)]);
        check("RUN << EOF", &[("EOF", 0, true, false)]);
        check(
            "RUN 3<<-'E O F' cat <<\"X\" 4<<Y",
            &[
                ("E O F", 3, false, true),
                ("X", 0, false, false),
                ("Y", 4, true, false),
            ],
        );
        check("RUN <<EO\"F\"", &[("EOF", 0, false, false)]);
        check("RUN <<$EOF", &[("$EOF", 0, true, false)]);
        check("RUN cat <<<EOF", &[]);
        check("RUN cat << ", &[]);
        check("RUN echo it's <<EOF", &[]);
        check("RUN echo $((1<<2))", &[]);
        check("RUN a<<EOF", &[]);
        check(
            "COPY <<a <<b /",
            &[("a", 0, true, false), ("b", 0, true, false)],
        );
    }
}

//! Lines of a Dockerfile as BuildKit shows them with a warning.

use std::fmt::Write;

use mica_dockerfile::check::Lines;

/// What frames the lines.
const RULE: &str = "--------------------";

/// How many lines are shown around a single one, and around several.
const AROUND_ONE: usize = 4;
const AROUND_SEVERAL: usize = 2;

/// Draws the lines with those around them; nothing if they are not in the text.
pub(crate) fn excerpt(name: &str, text: &str, marked: Lines) -> String {
    let lines: Vec<_> = text.split('\n').collect();
    if marked.first < 1 || marked.first > lines.len() {
        return String::new();
    }
    let (mut first, mut last) = (marked.first, marked.last.min(lines.len()));
    let around = if first == last {
        AROUND_ONE
    } else {
        AROUND_SEVERAL
    };
    let mut shown = 0;
    while shown < around {
        if first > 1 {
            first -= 1;
            shown += 1;
        }
        if last < lines.len() {
            last += 1;
            shown += 1;
        }
        shown += 1;
    }
    let mut out = format!("{name}:{}\n{RULE}\n", marked.first);
    for number in first..=last {
        let mark = if (marked.first..=marked.last).contains(&number) {
            ">>>"
        } else {
            "   "
        };
        let line = lines[number - 1];
        // Writing to a text cannot fail.
        let _ = writeln!(out, " {number:>3} | {mark} {line}");
    }
    out.push_str(RULE);
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_drawn_as_buildkit_draws_them() {
        let text = "FROM alpine\n\nCMD echo\n";
        let drawn = excerpt("Dockerfile", text, Lines { first: 3, last: 3 });
        let expected = "Dockerfile:3\n--------------------\n   1 |     FROM alpine\n   2 |     \n   3 | >>> CMD echo\n   4 |     \n--------------------\n";
        assert_eq!(drawn, expected);
        assert_eq!(excerpt("Dockerfile", text, Lines { first: 9, last: 9 }), "");
        let all = excerpt("d", "a\nb", Lines { first: 1, last: 2 });
        assert_eq!(all.matches(">>>").count(), 2);
    }
}

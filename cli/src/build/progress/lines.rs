//! Cutting output into lines, and lines into what a terminal would show.

/// What a step's output is cut into: whole lines.
#[derive(Debug, Default)]
pub(in crate::build) struct Lines {
    rest: Vec<u8>,
}

/// A line without an end is cut when it gets so long, so that memory stays bounded.
const LONGEST: usize = 64 << 10;

impl Lines {
    /// Takes bytes as they come; returns the lines that they end.
    pub(in crate::build) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let end = match self.rest.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => end,
            None if self.rest.len() > LONGEST => return self.finish().into_iter().collect(),
            None => return Vec::new(),
        };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        let text = String::from_utf8_lossy(&whole[..end]).into_owned();
        text.split('\n')
            .map(|line| shown(line).to_owned())
            .collect()
    }

    /// Returns what is left without an end.
    pub(in crate::build) fn finish(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| shown(&String::from_utf8_lossy(&rest)).to_owned())
    }

    /// Returns the beginning of a line that has not ended yet.
    pub(super) fn unfinished(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.rest);
        let line = shown(&text);
        (!line.trim().is_empty()).then(|| line.to_owned())
    }
}

/// A line as a terminal would leave it: what a carriage return overwrote is gone.
fn shown(line: &str) -> &str {
    line.trim_end_matches('\r')
        .rsplit('\r')
        .next()
        .unwrap_or(line)
}

/// A text that moves no cursor: without control sequences and control characters, and with blanks
/// for tabs.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => skip_sequence(&mut characters),
            '\t' => out.push_str("    "),
            character if character.is_control() => {}
            character => out.push(character),
        }
    }
    out
}

/// Skips what follows an escape character. Source: ECMA-48, 5.4 (CSI) and 5.6 (OSC).
fn skip_sequence(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match characters.next() {
        Some('[') => {
            for character in characters.by_ref() {
                if ('\x40'..='\x7e').contains(&character) {
                    break;
                }
            }
        }
        Some(']') => {
            while let Some(character) = characters.next() {
                if character == '\x07' || (character == '\x1b' && characters.next().is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

/// Seconds with BuildKit's precision in front of a line of output.
pub(in crate::build) fn line_time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 10.0 => format!("{seconds:.3}"),
        seconds if seconds < 100.0 => format!("{seconds:.2}"),
        seconds => format!("{seconds:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\ntw"), ["one"]);
        assert_eq!(lines.unfinished().as_deref(), Some("tw"));
        assert_eq!(lines.push(b"o\r\n10%\r20%"), ["two"]);
        assert_eq!(lines.finish().as_deref(), Some("20%"));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn nothing_moves_the_cursor() {
        let text = "\x1b[31mred\x1b[0m\x1b]0;title\x07 a\tb\x08\x1b(c";
        assert_eq!(harmless(text), "red a    bc");
    }

    #[test]
    fn times_have_buildkits_precision() {
        for (seconds, expected) in [(0.1234, "0.123"), (12.345, "12.35"), (123.45, "123.5")] {
            assert_eq!(line_time(seconds), expected);
        }
    }
}

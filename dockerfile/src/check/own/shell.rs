//! The commands of a shell script, as far as their words show them.

/// A simple command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShellCommand {
    /// Its words without quotes, and without variables set in front and words such as `sudo`.
    pub(super) words: Vec<String>,
    /// What stands between it and the command before it.
    pub(super) joint: Joint,
}

/// What stands before a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joint {
    /// `;`, `&`, `&&`, `||`, a line's end, or nothing.
    Next,
    /// `|`: it reads what the one before writes.
    Pipe,
}

/// Words that run the command that follows them.
const WRAPPERS: [&str; 8] = [
    "sudo", "exec", "command", "time", "env", "then", "do", "else",
];

impl ShellCommand {
    /// Makes a command of words that need no shell.
    pub(super) fn of(words: Vec<String>) -> Self {
        Self {
            words: without_prefix(words),
            joint: Joint::Next,
        }
    }

    /// Returns the program without its directory.
    pub(super) fn program(&self) -> &str {
        let first = self.words.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }

    /// Returns the words after the program that are no flags.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &str> {
        let words = self.words.iter().skip(1).map(String::as_str);
        words.filter(|word| !word.starts_with('-'))
    }

    /// Tells whether the command has one of these words.
    pub(super) fn has_word(&self, wanted: &[&str]) -> bool {
        self.words
            .iter()
            .any(|word| wanted.contains(&word.as_str()))
    }

    /// Returns the first word after the program that is no flag.
    pub(super) fn verb(&self) -> &str {
        self.arguments().next().unwrap_or_default()
    }
}

/// Splits a script into its commands.
pub(super) fn commands(text: &str) -> Vec<ShellCommand> {
    let mut splitter = Splitter::default();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (splitter.quote, character) {
            (Some(open), _) if character == open => splitter.quote = None,
            (Some('"') | None, '\\') => {
                if let Some(escaped) = characters.next().filter(|c| *c != '\n') {
                    splitter.push(escaped);
                }
            }
            (Some(_), _) => splitter.push(character),
            (None, '\'' | '"') => {
                splitter.quote = Some(character);
                splitter.in_word = true;
            }
            (None, '|') if characters.next_if_eq(&'|').is_none() => {
                splitter.end_command(Joint::Pipe);
            }
            (None, '|' | '&' | ';' | '\n' | '(' | ')' | '{' | '}') => {
                splitter.end_command_unless_expansion(character);
            }
            (None, _) if character.is_whitespace() => splitter.end_word(),
            (None, _) => splitter.push(character),
        }
    }
    splitter.end_command(Joint::Next);
    splitter.done
}

#[derive(Default)]
struct Splitter {
    quote: Option<char>,
    word: String,
    in_word: bool,
    words: Vec<String>,
    joint: Option<Joint>,
    done: Vec<ShellCommand>,
}

impl Splitter {
    fn push(&mut self, character: char) {
        self.word.push(character);
        self.in_word = true;
    }

    fn end_word(&mut self) {
        if std::mem::take(&mut self.in_word) {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    /// Ends a command; braces of `${name}` and of a list in a word do not.
    fn end_command_unless_expansion(&mut self, character: char) {
        if matches!(character, '{' | '}') && self.in_word {
            self.push(character);
        } else {
            self.end_command(Joint::Next);
        }
    }

    fn end_command(&mut self, next: Joint) {
        self.end_word();
        let words = without_prefix(std::mem::take(&mut self.words));
        let joint = self.joint.take().unwrap_or(Joint::Next);
        if words.is_empty() {
            // A line's end after a pipe, or the second half of `&&`: what stands first decides.
            self.joint = Some(if joint == Joint::Pipe { joint } else { next });
            return;
        }
        self.done.push(ShellCommand { words, joint });
        self.joint = Some(next);
    }
}

/// Takes away variables that are set for the command, and words that only run it.
fn without_prefix(words: Vec<String>) -> Vec<String> {
    let is_prefix = |word: &String| {
        let name = word.split('=').next().unwrap_or_default();
        let sets = word.contains('=') && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        (sets && !name.is_empty()) || WRAPPERS.contains(&word.as_str())
    };
    words.into_iter().skip_while(is_prefix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_scripts() {
        let script = "A=1 sudo apt-get update && \\\n apt-get install -y 'a b' ${X}|cat||true;(cd /x)\necho \"a|b\"";
        let found: Vec<_> = commands(script)
            .into_iter()
            .map(|command| (command.words.join(","), command.joint))
            .collect();
        let expected = [
            ("apt-get,update", Joint::Next),
            ("apt-get,install,-y,a b,${X}", Joint::Next),
            ("cat", Joint::Pipe),
            ("true", Joint::Next),
            ("cd,/x", Joint::Next),
            ("echo,a|b", Joint::Next),
        ];
        let expected = expected.map(|(words, joint)| (words.to_owned(), joint));
        assert_eq!(found, expected);
    }
}

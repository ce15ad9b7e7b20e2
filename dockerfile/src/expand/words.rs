//! Splitting a text into words while it is being expanded.

/// Collects characters and splits them at blanks that are not quoted.
#[derive(Debug, Default)]
pub(super) struct Words {
    word: String,
    done: Vec<String>,
    in_word: bool,
}

impl Words {
    /// Adds a character; a blank ends the word.
    pub(super) fn add(&mut self, character: char) {
        if !character.is_whitespace() {
            self.add_quoted(character);
        } else if self.in_word && !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
            self.in_word = false;
        }
    }

    /// Adds a character as it is.
    pub(super) fn add_quoted(&mut self, character: char) {
        self.word.push(character);
        self.in_word = true;
    }

    /// Adds a text; blanks in it end words.
    pub(super) fn add_text(&mut self, text: &str) {
        text.chars().for_each(|character| self.add(character));
    }

    /// Adds a text as it is.
    pub(super) fn add_quoted_text(&mut self, text: &str) {
        self.word.push_str(text);
        self.in_word = true;
    }

    /// Returns the words, the last one included.
    pub(super) fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

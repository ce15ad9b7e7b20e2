//! The general form of a pattern, for those that are more than a text, a prefix or a suffix.
//!
//! Docker's matcher translates such a pattern into a regular expression. The pieces here are the
//! pieces of that expression, and so is what is peculiar about them: a negated class matches a
//! slash, `[[:alpha:]]` and `\d` are classes, and `^` outside a class matches only at the start.

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A character.
    Literal(char),
    /// `?`: a character other than a slash.
    NotSlash,
    /// `*`: any number of characters other than a slash.
    NotSlashes,
    /// `**` at the end: anything.
    Anything,
    /// `**/` or `**`: nothing, or anything up to a slash.
    Directories,
    /// `[...]`, or a class of Perl such as `\d`.
    Class(Class),
    /// `^`: the start of the path.
    Start,
}

/// A set of characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
    /// Sets of which everything else is taken, such as `\D` in a class.
    complements: Vec<&'static [(char, char)]>,
}

const DIGITS: &[(char, char)] = &[('0', '9')];
const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
const BLANKS: &[(char, char)] = &[('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')];

/// The classes that may be named in brackets, as in `[[:alpha:]]`.
const NAMED: [(&str, &[(char, char)]); 14] = [
    ("alnum", &[('0', '9'), ('A', 'Z'), ('a', 'z')]),
    ("alpha", &[('A', 'Z'), ('a', 'z')]),
    ("ascii", &[('\0', '\u{7f}')]),
    ("blank", &[('\t', '\t'), (' ', ' ')]),
    ("cntrl", &[('\0', '\u{1f}'), ('\u{7f}', '\u{7f}')]),
    ("digit", DIGITS),
    ("graph", &[('!', '~')]),
    ("lower", &[('a', 'z')]),
    ("print", &[(' ', '~')]),
    ("punct", &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
    ("space", &[('\t', '\r'), (' ', ' ')]),
    ("upper", &[('A', 'Z')]),
    ("word", WORD),
    ("xdigit", &[('0', '9'), ('A', 'F'), ('a', 'f')]),
];

fn contains(ranges: &[(char, char)], character: char) -> bool {
    ranges
        .iter()
        .any(|(low, high)| (*low..=*high).contains(&character))
}

impl Class {
    fn has(&self, character: char) -> bool {
        let complement = |set: &&[(char, char)]| !contains(set, character);
        let inside = contains(&self.ranges, character) || self.complements.iter().any(complement);
        inside != self.negated
    }

    fn add_escaped(&mut self, escaped: Escaped) {
        match escaped {
            Escaped::Character(character) => self.ranges.push((character, character)),
            Escaped::Set(set) => self.ranges.extend(set),
            Escaped::Complement(set) => self.complements.push(set),
        }
    }

    /// Reads a class after its `[`, through its `]`; nothing if it is wrong.
    pub(super) fn parse(text: &str) -> Option<(Self, &str)> {
        let mut class = Self {
            negated: text.starts_with('^'),
            ..Self::default()
        };
        let mut rest = text.strip_prefix('^').unwrap_or(text);
        let mut first = true;
        loop {
            if let Some(after) = rest.strip_prefix(']').filter(|_| !first) {
                return Some((class, after));
            }
            first = false;
            rest = match named(rest)? {
                Some((set, after)) => {
                    class.add_escaped(set);
                    after
                }
                None => class.range(rest)?,
            };
        }
    }

    /// Reads a character, a range or an escaped set.
    fn range<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let (low, rest) = member(text)?;
        let Escaped::Character(low) = low else {
            self.add_escaped(low);
            return Some(rest);
        };
        let to = rest
            .strip_prefix('-')
            .filter(|after| !after.starts_with(']'));
        let Some(to) = to else {
            self.ranges.push((low, low));
            return Some(rest);
        };
        let (Escaped::Character(high), rest) = member(to)? else {
            return None;
        };
        self.ranges.push((low, high));
        (low <= high).then_some(rest)
    }
}

/// What a backslash and a character stand for.
pub(super) enum Escaped {
    Character(char),
    Set(&'static [(char, char)]),
    Complement(&'static [(char, char)]),
}

impl Escaped {
    /// Reads the character after a backslash; a letter without a meaning is an error.
    pub(super) fn parse(character: char) -> Option<Self> {
        Some(match character {
            'd' => Self::Set(DIGITS),
            'D' => Self::Complement(DIGITS),
            's' => Self::Set(BLANKS),
            'S' => Self::Complement(BLANKS),
            'w' => Self::Set(WORD),
            'W' => Self::Complement(WORD),
            'a' => Self::Character('\u{7}'),
            'f' => Self::Character('\u{c}'),
            'n' => Self::Character('\n'),
            'r' => Self::Character('\r'),
            't' => Self::Character('\t'),
            'v' => Self::Character('\u{b}'),
            _ if character.is_ascii() && !character.is_ascii_alphanumeric() => {
                Self::Character(character)
            }
            _ => return None,
        })
    }

    /// Makes a piece of it.
    pub(super) fn piece(self) -> Piece {
        if let Self::Character(character) = self {
            return Piece::Literal(character);
        }
        let mut class = Class::default();
        class.add_escaped(self);
        Piece::Class(class)
    }
}

/// Reads `[:name:]` if it stands here; fails if the name is unknown.
fn named(text: &str) -> Option<Option<(Escaped, &str)>> {
    let Some((name, after)) = text
        .strip_prefix("[:")
        .and_then(|rest| rest.split_once(":]"))
    else {
        return Some(None);
    };
    let (negated, name) = match name.strip_prefix('^') {
        Some(name) => (true, name),
        None => (false, name),
    };
    let (_, set) = NAMED.iter().find(|(known, _)| *known == name)?;
    let set = if negated {
        Escaped::Complement(set)
    } else {
        Escaped::Set(set)
    };
    Some(Some((set, after)))
}

fn member(text: &str) -> Option<(Escaped, &str)> {
    let mut characters = text.chars();
    let character = characters.next()?;
    if character != '\\' {
        return Some((Escaped::Character(character), characters.as_str()));
    }
    let escaped = Escaped::parse(characters.next()?)?;
    Some((escaped, characters.as_str()))
}

/// Tells whether the pieces match a whole path.
///
/// Follows all ways at once, so that the time is at most pieces times characters.
pub(super) fn matches(pieces: &[Piece], path: &str) -> bool {
    if let Some(Piece::Literal(first)) = pieces.first()
        && !path.starts_with(*first)
    {
        return false;
    }
    let text: Vec<char> = path.chars().collect();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for piece in pieces {
        reached = piece.advance(&text, &reached);
        if !reached.contains(&true) {
            return false;
        }
    }
    reached[text.len()]
}

impl Piece {
    /// Returns the places that can be reached from others by matching this piece.
    fn advance(&self, text: &[char], from: &[bool]) -> Vec<bool> {
        let mut reached = vec![false; from.len()];
        match self {
            Self::NotSlashes => spread(text, from, &mut reached, |c| c != '/'),
            Self::Anything => spread(text, from, &mut reached, |c| c != '\n'),
            Self::Directories => through_directories(text, from, &mut reached),
            Self::Start => reached[0] = from[0],
            Self::Literal(_) | Self::NotSlash | Self::Class(_) => {
                for (at, character) in text.iter().enumerate() {
                    reached[at + 1] = from[at] && self.takes(*character);
                }
            }
        }
        reached
    }

    fn takes(&self, character: char) -> bool {
        match self {
            Self::Literal(wanted) => *wanted == character,
            Self::Class(class) => class.has(character),
            _ => character != '/',
        }
    }
}

fn spread(text: &[char], from: &[bool], reached: &mut [bool], takes: impl Fn(char) -> bool) {
    reached.copy_from_slice(from);
    for (at, character) in text.iter().enumerate() {
        reached[at + 1] |= reached[at] && takes(*character);
    }
}

fn through_directories(text: &[char], from: &[bool], reached: &mut [bool]) {
    reached.copy_from_slice(from);
    let mut on_the_way = false;
    for (at, character) in text.iter().enumerate() {
        on_the_way |= from[at];
        reached[at + 1] |= on_the_way && *character == '/';
        on_the_way &= *character != '\n';
    }
}

//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Go up or down by rows.
    Rows(isize),
    /// Go up or down by screens.
    Screens(isize),
    /// Go to the first row.
    First,
    /// Go to the last row.
    Last,
    /// Fold, or go to the directory above.
    Left,
    /// Unfold.
    Right,
    /// Open: unfold, show the content, or follow the link.
    Open,
    /// Go to the other pane.
    Pane,
    /// Show the merged files or those of the layer.
    Scope,
    /// Go to the layer below or above.
    Layer(isize),
    /// Sort by name or size.
    Order,
    /// Unfold all directories, or fold them.
    All,
    /// Type what to search.
    Search,
    /// Go to the next place that was searched, or the one before.
    Match(Way),
    /// Type what paths have to hold.
    Filter,
    /// Show all about the file.
    Details,
    /// Show content as text or in hexadecimal.
    Hex,
    /// Show the keys.
    Help,
    /// Leave what is open, or what was typed.
    Back,
    /// Leave, or leave what is open.
    Quit,
    /// Leave at once.
    Interrupt,
}

/// A direction to search in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the end, then on from the start.
    Forward,
    /// To the start, then on from the end.
    Backward,
}

/// The keys on one line of 80 columns.
pub(super) const SHORT: &str =
    "Tab pane  ↑↓←→ move  Enter open  s one layer  / search  f filter  ? keys  q quit";

/// The keys while content is shown.
pub(super) const OF_PAGER: &str =
    "↑↓ PgUp PgDn ←→ move  / search  n next  N previous  x text/hex  q back";

/// All keys.
pub(super) const ALL: &str = "\
Tab          layers or files
↑ ↓ j k      one row; PgUp PgDn a screen; Home End (g G) the first, the last
→ l, ← h     unfold, fold a directory; ← again goes to the directory above
Enter        unfold a directory, show a file, follow a symbolic link
[ ]          the layer below, above
s            all files up to the layer, or only what the layer changed
o            sort by name or by size
e            unfold all directories, or fold them
/            search a path, in a file a text (Esc ends it); n N next, previous
f            show only paths that hold a text; Esc shows all again
i            all about a file, and which layers put it here, changed or hid it
x            of a file that is shown: text or hexadecimal; in a search `\\x7f` is a byte
q, Ctrl-C    leave

A, C and D before a file: the selected layer added, changed or deleted it.
* before a directory: something in it is changed.
What is deleted can still be opened: it is read from the layer below.
";

/// Tells whether a key ends a search that goes on.
pub(super) fn breaks_off(key: KeyEvent) -> bool {
    matches!(action(key), Some(Action::Back | Action::Interrupt))
}

/// Returns what a key does; nothing for most keys.
pub(super) fn action(key: KeyEvent) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Interrupt),
            KeyCode::Char('f') => Some(Action::Screens(1)),
            KeyCode::Char('b') => Some(Action::Screens(-1)),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Up | KeyCode::Char('k') => Action::Rows(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Rows(1),
        KeyCode::PageUp => Action::Screens(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => Action::Screens(1),
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        KeyCode::Left | KeyCode::Char('h') => Action::Left,
        KeyCode::Right | KeyCode::Char('l') => Action::Right,
        KeyCode::Enter => Action::Open,
        KeyCode::Tab | KeyCode::BackTab => Action::Pane,
        KeyCode::Char('s') => Action::Scope,
        KeyCode::Char('[') => Action::Layer(-1),
        KeyCode::Char(']') => Action::Layer(1),
        KeyCode::Char('o') => Action::Order,
        KeyCode::Char('e') => Action::All,
        KeyCode::Char('/') => Action::Search,
        KeyCode::Char('n') => Action::Match(Way::Forward),
        KeyCode::Char('N') => Action::Match(Way::Backward),
        KeyCode::Char('f') => Action::Filter,
        KeyCode::Char('i') => Action::Details,
        KeyCode::Char('x') => Action::Hex,
        KeyCode::Char('?') => Action::Help,
        KeyCode::Esc => Action::Back,
        KeyCode::Char('q') => Action::Quit,
        _ => return None,
    })
}

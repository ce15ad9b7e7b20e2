//! What is looked at, and what a key makes of it.

use std::collections::HashSet;

use mica_inspect::{ChangeKind, Follow, Image, InspectError, Kind, Stack, Summary, shown};
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::details;
use super::files::{Files, Item, Order, Row, Shown, View, holds};
use super::keys::{self, Action, Way};
use super::pager::Pager;
use super::reading::Wanted;
use crate::look;
use crate::printer;

/// A pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    /// The layers.
    Layers,
    /// The files.
    Files,
}

/// What is typed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To go to a path, or to a place in what is shown.
    Search,
    /// To leave paths out.
    Filter,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for another key.
    Key,
    /// End.
    End,
}

/// The state of the interface.
pub(super) struct Explorer<'i> {
    /// The image.
    pub(super) image: &'i Image,
    /// All layers merged: it knows what becomes of a file later.
    pub(super) whole: Stack<'i>,
    /// The figures of each layer.
    pub(super) summaries: Vec<Summary>,
    /// The selected layer.
    pub(super) layer: usize,
    /// Which files are shown.
    pub(super) shown: Shown,
    /// The files.
    pub(super) files: Files,
    /// Those that are rows.
    pub(super) rows: Vec<Row>,
    /// The selected row.
    pub(super) cursor: usize,
    /// The pane that keys go to.
    pub(super) pane: Pane,
    /// What of the files is unfolded.
    pub(super) view: View,
    /// What is being typed.
    pub(super) typed: Option<(Purpose, String)>,
    /// What is shown on the whole screen.
    pub(super) pager: Option<Pager>,
    /// A word about what was asked last.
    pub(super) message: String,
    /// How many rows the panes have: set by who draws.
    pub(super) height: usize,
    /// How many columns the content has that is shown: set by who draws.
    pub(super) width: usize,
    /// The first layer and the first row on the screen: set by who draws.
    pub(super) tops: (usize, usize),
    /// What is to be read.
    pub(super) wanted: Option<Wanted>,
    /// The bytes that were searched in a file.
    pub(super) needle: Vec<u8>,
    stack: Stack<'i>,
    searched: String,
}

impl<'i> Explorer<'i> {
    /// Looks at the topmost layer of an image, all files merged.
    pub(super) fn new(image: &'i Image) -> Result<Self, InspectError> {
        let whole = image.full_stack()?;
        let stack = image.full_stack()?;
        let files = Files::of(&stack, Shown::Stack);
        let mut explorer = Self {
            image,
            summaries: whole.summaries(),
            whole,
            layer: image.layers.len().saturating_sub(1),
            shown: Shown::Stack,
            files,
            rows: Vec::new(),
            cursor: 0,
            pane: Pane::Layers,
            view: View {
                unfolded: HashSet::new(),
                filter: String::new(),
                order: Order::Name,
            },
            typed: None,
            pager: None,
            message: String::new(),
            height: 1,
            width: 1,
            tops: (0, 0),
            wanted: None,
            needle: Vec::new(),
            stack,
            searched: String::new(),
        };
        explorer.rows = explorer.files.rows(&explorer.view);
        Ok(explorer)
    }

    /// Returns the selected file.
    pub(super) fn selected(&self) -> Option<&Item> {
        let row = self.rows.get(self.cursor)?;
        Some(&self.files.items[row.item])
    }

    /// Takes a key.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub(super) fn key(&mut self, key: KeyEvent) -> Result<Next, InspectError> {
        let action = keys::action(key);
        if action == Some(Action::Interrupt) {
            return Ok(Next::End);
        }
        if self.typed.is_some() {
            self.type_key(key.code);
            return Ok(Next::Key);
        }
        let Some(action) = action else {
            return Ok(Next::Key);
        };
        self.message.clear();
        match (&self.pager, action) {
            (Some(_), _) => self.page(action),
            (None, Action::Quit) => return Ok(Next::End),
            (None, _) => self.act(action)?,
        }
        Ok(Next::Key)
    }

    fn type_key(&mut self, key: KeyCode) {
        let Some((purpose, text)) = &mut self.typed else {
            return;
        };
        match key {
            KeyCode::Char(letter) => text.push(letter),
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Esc => {
                text.clear();
                self.filter_as_typed();
                self.typed = None;
                return;
            }
            KeyCode::Enter => {
                let (purpose, text) = (*purpose, std::mem::take(text));
                self.typed = None;
                if purpose == Purpose::Search {
                    self.search(&text);
                }
                return;
            }
            _ => return,
        }
        self.filter_as_typed();
    }

    fn search(&mut self, text: &str) {
        if self.pager.is_some() {
            self.find_typed(text);
        } else {
            self.searched = text.to_lowercase();
            self.go_to_match(Way::Forward);
        }
    }

    fn filter_as_typed(&mut self) {
        if let Some((Purpose::Filter, text)) = &self.typed {
            self.view.filter = text.to_lowercase();
            self.show_again();
        }
    }

    fn act(&mut self, action: Action) -> Result<(), InspectError> {
        match action {
            Action::Rows(rows) => self.go(rows)?,
            Action::Screens(screens) => self.go(screens * self.height.cast_signed())?,
            Action::First => self.go(isize::MIN)?,
            Action::Last => self.go(isize::MAX)?,
            Action::Layer(layers) => self.select_layer(self.layer.saturating_add_signed(layers))?,
            Action::Pane => {
                self.pane = match self.pane {
                    Pane::Layers => Pane::Files,
                    Pane::Files => Pane::Layers,
                };
            }
            Action::Scope => {
                self.shown = match self.shown {
                    Shown::Stack => Shown::Layer,
                    Shown::Layer => Shown::Stack,
                };
                self.files = Files::of(&self.stack, self.shown);
                self.show_again();
            }
            Action::Order => {
                self.view.order = match self.view.order {
                    Order::Name => Order::Size,
                    Order::Size => Order::Name,
                };
                self.show_again();
            }
            Action::All => self.unfold_all(),
            Action::Left => self.fold(),
            Action::Right => self.unfold(),
            Action::Open => self.open(),
            Action::Search => self.start_search(),
            Action::Filter => self.typed = Some((Purpose::Filter, self.view.filter.clone())),
            Action::Match(way) => self.go_to_match(way),
            Action::Details => self.show_details(),
            Action::Help => self.pager = Some(Pager::of_text("Keys".into(), keys::ALL.into())),
            Action::Back => {
                self.view.filter.clear();
                self.show_again();
            }
            Action::Hex | Action::Quit | Action::Interrupt => {}
        }
        Ok(())
    }

    /// Lets a path, or what content holds, be typed.
    pub(super) fn start_search(&mut self) {
        self.typed = Some((Purpose::Search, String::new()));
    }

    fn go(&mut self, rows: isize) -> Result<(), InspectError> {
        match self.pane {
            Pane::Layers => self.select_layer(self.layer.saturating_add_signed(rows)),
            Pane::Files => {
                let last = self.rows.len().saturating_sub(1);
                self.cursor = self.cursor.saturating_add_signed(rows).min(last);
                Ok(())
            }
        }
    }

    fn select_layer(&mut self, layer: usize) -> Result<(), InspectError> {
        let layer = layer.min(self.image.layers.len().saturating_sub(1));
        if layer != self.layer {
            self.stack = self.image.stack(layer + 1)?;
            self.files = Files::of(&self.stack, self.shown);
            self.layer = layer;
            self.show_again();
        }
        Ok(())
    }

    /// Makes the rows again, and stays at the selected path, or the nearest above it.
    fn show_again(&mut self) {
        let path = self.selected().map(|item| item.path.clone());
        self.rows = self.files.rows(&self.view);
        self.cursor = self.cursor.min(self.rows.len().saturating_sub(1));
        let mut path = path.as_deref().unwrap_or_default();
        while !path.is_empty() {
            let is_it = |row: &Row| *self.files.items[row.item].path == *path;
            if let Some(row) = self.rows.iter().position(is_it) {
                self.cursor = row;
                return;
            }
            let slash = path.iter().rposition(|byte| *byte == b'/');
            path = &path[..slash.unwrap_or(0)];
        }
    }

    fn unfold_all(&mut self) {
        match self.view.unfolded.is_empty() {
            true => {
                let directories = self.files.items.iter().filter(|item| item.is_directory());
                self.view.unfolded = directories.map(|item| item.path.clone()).collect();
            }
            false => self.view.unfolded.clear(),
        }
        self.show_again();
    }

    fn fold(&mut self) {
        let Some(row) = self.rows.get(self.cursor).copied() else {
            return;
        };
        if self.view.unfolded.remove(&self.files.items[row.item].path) {
            self.show_again();
            return;
        }
        let above = self.rows[..self.cursor].iter();
        if let Some(above) = above.rev().position(|other| other.depth < row.depth) {
            self.cursor -= above + 1;
        }
    }

    fn unfold(&mut self) {
        let Some(item) = self.selected() else {
            return;
        };
        if item.is_directory() {
            self.view.unfolded.insert(item.path.clone());
            self.show_again();
        }
    }

    fn open(&mut self) {
        if self.pane == Pane::Layers {
            self.pane = Pane::Files;
            return;
        }
        let Some(item) = self.selected() else {
            return;
        };
        match (item.kind, item.data) {
            (Kind::Directory, _) if self.view.unfolded.contains(&item.path) => self.fold(),
            (Kind::Directory, _) => self.unfold(),
            (Kind::File, Some(file)) => {
                let gone = match item.change {
                    Some(ChangeKind::Removed) => format!(", removed by layer {}", self.layer),
                    _ => String::new(),
                };
                let path = look::printable(shown(&item.path).as_bytes());
                let size = item.size;
                let title = format!("{path} ({}{gone})", printer::size(size));
                self.want(Wanted::File { title, file, size });
            }
            (Kind::Symlink, _) => self.follow_link(),
            (kind, _) => self.message = format!("a {} has no content", kind.word()),
        }
    }

    fn follow_link(&mut self) {
        let Some(path) = self.selected().map(|item| item.path.clone()) else {
            return;
        };
        let tree = &self.stack.tree;
        match tree.resolve(&path, Follow::All).map(|id| tree.path(id)) {
            Ok(target) => self.select_path(&target),
            Err(error) => self.message = format!("the link leads nowhere: {error}"),
        }
    }

    /// Selects a path; the directories above are unfolded, and a filter that hides it ends.
    fn select_path(&mut self, path: &[u8]) {
        let Some(item) = self.files.find(path).filter(|item| *item > 0) else {
            let path = look::printable(shown(path).as_bytes());
            self.message = format!("{path} is not shown");
            return;
        };
        let above = self.files.above(item).map(|item| item.path.clone());
        self.view.unfolded.extend(above);
        if !holds(path, &self.view.filter) {
            self.view.filter.clear();
        }
        self.rows = self.files.rows(&self.view);
        let row = self.rows.iter().position(|row| row.item == item);
        self.cursor = row.unwrap_or(self.cursor);
        self.pane = Pane::Files;
    }

    /// Goes to the next path that holds what was searched, or to the one before; from the last to
    /// the first.
    fn go_to_match(&mut self, way: Way) {
        if self.searched.is_empty() {
            return;
        }
        let all = self.files.all(self.view.order);
        let here = self.rows.get(self.cursor).map(|row| row.item);
        let is_here = |row: &Row| Some(row.item) == here;
        let start = all.iter().position(is_here).unwrap_or(0);
        let count = all.len();
        let at = |step: usize| match way {
            Way::Forward => (start + step) % count,
            Way::Backward => (start + count - step) % count,
        };
        let is_match = |row: &Row| holds(self.files.items[row.item].name(), &self.searched);
        match (1..=count).map(|step| all[at(step)]).find(is_match) {
            Some(row) => {
                let path = self.files.items[row.item].path.clone();
                self.select_path(&path);
            }
            None => self.message = format!("no name holds `{}`", self.searched),
        }
    }

    fn show_details(&mut self) {
        self.pager = Some(match (self.pane, self.selected()) {
            (Pane::Files, Some(item)) => {
                let title = look::printable(shown(&item.path).as_bytes());
                Pager::of_text(title, details::of_file(self, item))
            }
            _ => Pager::of_text(
                format!("Layer {}", self.layer),
                details::of_layer(self, self.layer),
            ),
        });
    }
}

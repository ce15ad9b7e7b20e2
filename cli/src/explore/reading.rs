//! What keys do while content is shown, and what is read for it.

use std::io::{self, Read};

use mica_inspect::{EntryId, InspectError};

use super::explorer::Explorer;
use super::find::{Hit, Search, needle};
use super::keys::{Action, Way};
use super::pager::Pager;
use super::window::{MOST, Window};
use crate::look;

/// What is to be read before the screen can be drawn as asked.
#[derive(Debug)]
pub(super) enum Wanted {
    /// The start of a file.
    File {
        /// What it is.
        title: String,
        /// Where it is.
        file: EntryId,
        /// Its size in bytes.
        size: u64,
    },
    /// The part of the shown file around an offset, to go by so many rows from there.
    Part(u64, isize),
    /// What is found in the shown file.
    Match(Search),
}

impl Explorer<'_> {
    /// Tells whether something is to be read: the screen says so before it is.
    pub(super) fn is_waiting(&self) -> bool {
        self.wanted.is_some()
    }

    /// Reads what was asked for. A search passes through all of a file: it ends when `is_enough` says so.
    pub(super) fn fetch(&mut self, is_enough: &mut dyn FnMut() -> bool) {
        let Some(wanted) = self.wanted.take() else {
            return;
        };
        self.message.clear();
        let fetched = match wanted {
            Wanted::File { title, file, size } => self.fetch_file(title, file, size),
            Wanted::Part(offset, rows) => self.fetch_part(offset, rows),
            Wanted::Match(search) => self.fetch_match(&search, is_enough),
        };
        if let Err(error) = fetched {
            self.message = look::printable(error.to_string().as_bytes());
        }
    }

    /// Asks for something to be read.
    pub(super) fn want(&mut self, wanted: Wanted) {
        self.message = match wanted {
            Wanted::Match(_) => "searching…  Esc break off".into(),
            Wanted::File { .. } | Wanted::Part(..) => "reading…".into(),
        };
        self.wanted = Some(wanted);
    }

    /// Does what a key stands for while content is shown.
    pub(super) fn page(&mut self, action: Action) {
        let (width, height) = (self.width, self.height);
        let Some(pager) = &mut self.pager else {
            return;
        };
        let (offset, size) = (pager.offset(), pager.window.size);
        match action {
            Action::Quit | Action::Back => self.pager = None,
            Action::Rows(rows) => self.scroll(offset, rows),
            Action::Screens(screens) => self.scroll(offset, screens * height.cast_signed()),
            Action::First => self.scroll(0, isize::MIN),
            Action::Last => self.scroll(size, isize::MAX),
            Action::Left => pager.left = pager.left.saturating_sub(8),
            Action::Right => pager.left += 8,
            Action::Hex => pager.toggle((width, height)),
            Action::Search => self.start_search(),
            Action::Match(way) => self.find(way),
            _ => {}
        }
    }

    /// Goes by rows; where the window ends, from an offset on in another one.
    fn scroll(&mut self, offset: u64, rows: isize) {
        let pager = self.pager.as_mut();
        if pager.is_some_and(|pager| !pager.scroll(rows, self.height)) {
            self.want(Wanted::Part(offset, rows));
        }
    }

    /// Searches what was typed, from the first row on the screen on.
    pub(super) fn find_typed(&mut self, typed: &str) {
        self.needle = needle(typed);
        if let Some(pager) = &mut self.pager {
            pager.found = None;
        }
        self.find(Way::Forward);
    }

    /// Goes to the next place, or the one before: from what was found last where that is on the
    /// screen. What is in memory is not read again.
    fn find(&mut self, way: Way) {
        let pager = self.pager.as_ref().filter(|_| !self.needle.is_empty());
        let Some(pager) = pager else {
            return;
        };
        let found = pager.found.as_ref();
        let found = found.filter(|found| pager.shows(found, self.height));
        let search = Search {
            needle: self.needle.clone(),
            from: match (way, found) {
                (Way::Forward, Some(found)) => found.start + 1,
                (Way::Backward, Some(found)) => found.start,
                (_, None) => pager.offset(),
            },
            way,
        };
        let window = &pager.window;
        let is_whole = window.is_first() && window.is_last();
        match search.run(&mut &window.bytes[..], window.from) {
            Ok(Some(hit)) if is_whole || (!hit.is_around && pager.holds(hit.at)) => {
                self.go_to_hit(hit, way);
            }
            Ok(None) if is_whole => self.say_nothing_found(),
            _ => self.want(Wanted::Match(search)),
        }
    }

    fn go_to_hit(&mut self, hit: Hit, way: Way) {
        self.message = match (hit.is_around, way) {
            (true, Way::Forward) => "none up to the end: searched on from the start".into(),
            (true, Way::Backward) => "none up to the start: searched on from the end".into(),
            (false, _) => String::new(),
        };
        let size = (self.width, self.height);
        if let Some(pager) = &mut self.pager {
            pager.go_to(hit.at..hit.at + self.needle.len() as u64, size);
        }
    }

    fn say_nothing_found(&mut self) {
        let needle = look::printable(&self.needle);
        self.message = format!("nothing here is `{needle}`");
    }

    fn fetch_file(&mut self, title: String, file: EntryId, size: u64) -> Result<(), InspectError> {
        let window = self.window(file, 0, size)?;
        self.pager = Some(Pager::new(title, Some(file), window));
        Ok(())
    }

    fn fetch_part(&mut self, offset: u64, rows: isize) -> Result<(), InspectError> {
        self.move_window(offset)?;
        if let Some(pager) = &mut self.pager {
            pager.scroll(rows, self.height);
        }
        Ok(())
    }

    fn fetch_match(
        &mut self,
        search: &Search,
        is_enough: &mut dyn FnMut() -> bool,
    ) -> Result<(), InspectError> {
        let Some(file) = self.pager.as_ref().and_then(|pager| pager.file) else {
            return Ok(());
        };
        let (mut hit, mut is_broken_off) = (None, false);
        let read = self.image.read_with(file, |content| {
            let mut content = Breakable {
                content,
                is_enough,
                is_broken_off: &mut is_broken_off,
            };
            hit = search.run(&mut content, 0)?;
            Ok(())
        });
        if is_broken_off {
            self.message = "the search was broken off".into();
            return Ok(());
        }
        read?;
        let Some(hit) = hit else {
            self.say_nothing_found();
            return Ok(());
        };
        if self
            .pager
            .as_ref()
            .is_some_and(|pager| !pager.holds(hit.at))
        {
            self.move_window(hit.at)?;
        }
        self.go_to_hit(hit, search.way);
        Ok(())
    }

    fn move_window(&mut self, offset: u64) -> Result<(), InspectError> {
        let pager = self.pager.as_ref();
        let Some((file, size)) = pager.and_then(|pager| Some((pager.file?, pager.window.size)))
        else {
            return Ok(());
        };
        let window = self.window(file, offset, size)?;
        if let Some(pager) = &mut self.pager {
            pager.replace(window, offset, self.height);
        }
        Ok(())
    }

    fn window(&self, file: EntryId, offset: u64, size: u64) -> Result<Window, InspectError> {
        let from = Window::start_around(offset, size);
        let bytes = self.image.read_part(file, from, MOST)?;
        Ok(Window::new(bytes, from, size))
    }
}

/// Content that is read until somebody has had enough; then it fails.
struct Breakable<'c> {
    content: &'c mut dyn Read,
    is_enough: &'c mut dyn FnMut() -> bool,
    is_broken_off: &'c mut bool,
}

impl Read for Breakable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        *self.is_broken_off |= (self.is_enough)();
        match *self.is_broken_off {
            true => Err(io::Error::other("broken off")),
            false => self.content.read(buffer),
        }
    }
}

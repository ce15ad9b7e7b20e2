//! `mica ls`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::iter;
use std::os::unix::ffi::OsStrExt;

use clap::{ArgAction, Args};
use mica_inspect::{Follow, Kind, NodeId, Tree};

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::look::{self, Format, SizeStyle};
use crate::session::Session;

/// List files of an image, or of one of its layers
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct LsArgs {
    /// Show names that begin with a dot, which are always shown
    #[arg(short, long)]
    all: bool,
    /// List what is in directories as well, with full paths
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Show type, rights, owner, size, time and link target
    #[arg(short, long)]
    long: bool,
    /// Show sizes with a unit
    #[arg(short = 'h', long)]
    human_readable: bool,
    /// List a directory itself, not what is in it
    #[arg(short, long)]
    directory: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    at: look::FilesArgs,
}

/// Runs the command.
pub(crate) fn run(args: &LsArgs, session: &Session) -> Outcome {
    let looked = args.at.open(session)?;
    let tree = looked.tree(session)?;
    // As `ls` does, a link is shown itself unless its directory is asked for.
    let follow = match args.long || args.directory {
        true => Follow::Parents,
        false => Follow::All,
    };
    let paths = args.at.paths.iter();
    let find = |path: &OsString| looked.image.find(&tree, path.as_bytes(), follow);
    let found: Vec<_> = paths.map(find).collect::<Result<_, _>>()?;
    let mut list = List {
        tree: &tree,
        args,
        is_terminal: session.printer.is_terminal(),
        out: session.printer.buffered(),
    };
    for id in &found {
        list.add(*id, found.len() > 1)?;
    }
    list.out.flush()?;
    Ok(Exit::Success)
}

/// A list in the making.
struct List<'l, 'i, W> {
    tree: &'l Tree<'i>,
    args: &'l LsArgs,
    is_terminal: bool,
    out: W,
}

impl<'l, W: Write> List<'l, '_, W> {
    fn add(&mut self, id: NodeId, has_heading: bool) -> io::Result<()> {
        let is_itself = self.args.directory || !self.tree.is_directory(id);
        if self.args.at.format == Format::Json {
            return look::write_rows(self.tree, self.files(id, is_itself), &mut self.out);
        }
        if is_itself || self.args.recursive {
            let mut files = self.files(id, is_itself);
            return files.try_for_each(|(path, id)| self.line(&[b"/", &*path].concat(), id));
        }
        if has_heading {
            let path = look::text_path(&self.tree.path(id), self.is_terminal);
            self.out.write_all(&path)?;
            self.out.write_all(b":\n")?;
        }
        let mut children = self.tree.children(id);
        children.try_for_each(|child| self.line(self.tree.node(child).name, child))
    }

    /// Returns what is listed, with full paths.
    fn files(
        &self,
        id: NodeId,
        is_itself: bool,
    ) -> Box<dyn Iterator<Item = (Vec<u8>, NodeId)> + 'l> {
        let tree = self.tree;
        match is_itself {
            true => Box::new(iter::once((tree.path(id), id))),
            false if self.args.recursive => Box::new(tree.walk(id).skip(1)),
            false => Box::new(tree.children(id).map(|child| (tree.path(child), child))),
        }
    }

    fn line(&mut self, name: &[u8], id: NodeId) -> io::Result<()> {
        if self.args.long {
            let style = match self.args.human_readable {
                true => SizeStyle::Unit,
                false => SizeStyle::Bytes,
            };
            write!(self.out, "{} ", look::long_line(self.tree, id, style))?;
        }
        self.text(name)?;
        let target = match (self.args.long, self.tree.kind(id)) {
            (true, Kind::Symlink) => self.tree.data(id).map(|entry| &*entry.link),
            _ => None,
        };
        if let Some(target) = target {
            self.out.write_all(b" -> ")?;
            self.text(target)?;
        }
        self.out.write_all(b"\n")
    }

    fn text(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.is_terminal {
            true => self.out.write_all(look::printable(bytes).as_bytes()),
            false => self.out.write_all(bytes),
        }
    }
}

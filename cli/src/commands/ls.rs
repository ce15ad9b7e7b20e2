//! `mica ls`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use clap::{ArgAction, Args};
use mica_inspect::{Follow, Kind, NodeId, Tree};

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::look::{self, FileRow, Format, SizeStyle};
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

impl<W: Write> List<'_, '_, W> {
    fn add(&mut self, id: NodeId, has_heading: bool) -> io::Result<()> {
        if self.args.directory || !self.tree.is_directory(id) {
            return self.file(&self.tree.path(id), id);
        }
        if self.args.recursive {
            for (path, id) in self.tree.walk(id).skip(1) {
                self.file(&path, id)?;
            }
            return Ok(());
        }
        let path = self.tree.path(id);
        if has_heading && self.args.at.format == Format::Text {
            self.out
                .write_all(&look::text_path(&path, self.is_terminal))?;
            self.out.write_all(b":\n")?;
        }
        for child in self.tree.children(id).collect::<Vec<_>>() {
            match self.args.at.format {
                Format::Json => self.file(&self.tree.path(child), child)?,
                Format::Text => self.line(self.tree.node(child).name, child)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &[u8], id: NodeId) -> io::Result<()> {
        if self.args.at.format == Format::Json {
            return FileRow::new(self.tree, path, id).write(&mut self.out);
        }
        let path = [b"/", path].concat();
        self.line(&path, id)
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

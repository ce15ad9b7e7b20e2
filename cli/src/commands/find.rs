//! `mica find`.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use clap::{Args, ValueEnum};
use mica_inspect::{Case, Filter, Follow, Kind, ModeTest, Pattern, SizeTest};

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::look::{self, Format, SizeStyle};
use crate::session::Session;

/// Find files of an image, or of one of its layers
#[derive(Args, Debug)]
pub(crate) struct FindArgs {
    /// The last name fits a shell pattern
    #[arg(long, value_name = "PATTERN")]
    name: Vec<String>,
    /// As --name, in upper or lower case
    #[arg(long, value_name = "PATTERN")]
    iname: Vec<String>,
    /// The whole path fits a shell pattern; `*` also stands for slashes
    #[arg(long, value_name = "PATTERN")]
    path: Vec<String>,
    /// The type of file
    #[arg(long, value_enum, value_delimiter = ',')]
    r#type: Vec<FileType>,
    /// The size: more (+), less (-) or just that many; units c, w, b (512 bytes), k, M, G
    #[arg(long, value_name = "[+-]N[cwbkMG]")]
    size: Vec<SizeTest>,
    /// The rights in octal: just these, all of these (-) or any of these (/)
    #[arg(long, value_name = "[-/]MODE")]
    perm: Vec<ModeTest>,
    /// The owner's number
    #[arg(long)]
    uid: Option<u32>,
    /// The group's number
    #[arg(long)]
    gid: Option<u32>,
    /// Look no more than that many levels below each path
    #[arg(long, alias = "maxdepth", value_name = "N")]
    max_depth: Option<usize>,
    /// End each line with a zero byte, for `xargs -0`
    #[arg(short = '0', long, conflicts_with = "format")]
    print0: bool,
    /// Show type, rights, owner, size and time
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    at: look::FilesArgs,
}

/// Types of file, with find's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FileType {
    /// A regular file
    #[value(name = "f", alias = "file")]
    File,
    /// A directory
    #[value(name = "d", alias = "dir")]
    Directory,
    /// A symbolic link
    #[value(name = "l", alias = "symlink")]
    Symlink,
    /// A block device
    #[value(name = "b", alias = "block")]
    Block,
    /// A character device
    #[value(name = "c", alias = "char")]
    Character,
    /// A named pipe
    #[value(name = "p", alias = "fifo")]
    Pipe,
    /// A removed file, in a layer by itself
    #[value(name = "w", alias = "whiteout")]
    Whiteout,
}

impl FileType {
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::File => &[Kind::File, Kind::HardLink],
            Self::Directory => &[Kind::Directory],
            Self::Symlink => &[Kind::Symlink],
            Self::Block => &[Kind::BlockDevice],
            Self::Character => &[Kind::CharacterDevice],
            Self::Pipe => &[Kind::Fifo],
            Self::Whiteout => &[Kind::Whiteout],
        }
    }
}

impl FindArgs {
    fn filter(&self) -> Filter {
        let patterns = |texts: &[String], case| {
            let pattern = move |text: &String| Pattern {
                text: text.clone().into_bytes(),
                case,
            };
            texts.iter().map(pattern).collect::<Vec<_>>()
        };
        let mut names = patterns(&self.name, Case::Sensitive);
        names.extend(patterns(&self.iname, Case::Ignored));
        let kinds = self.r#type.iter().flat_map(|kind| kind.kinds());
        Filter {
            names,
            paths: patterns(&self.path, Case::Sensitive),
            kinds: kinds.copied().collect(),
            sizes: self.size.clone(),
            modes: self.perm.clone(),
            uid: self.uid,
            gid: self.gid,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &FindArgs, session: &Session) -> Outcome {
    let looked = args.at.open(session)?;
    let tree = looked.tree(session)?;
    let filter = args.filter();
    let is_terminal = session.printer.is_terminal();
    let mut out = session.printer.buffered();
    let paths = args.at.paths.iter();
    let find = |path: &OsString| looked.image.find(&tree, path.as_bytes(), Follow::All);
    let found: Vec<_> = paths.map(find).collect::<Result<_, _>>()?;
    let end: &[u8] = if args.print0 { b"\0" } else { b"\n" };
    for from in found {
        let top = look::depth(&tree.path(from));
        let files = tree.walk(from).filter(|(path, id)| {
            let level = look::depth(path) - top;
            let is_deeper = args.max_depth.is_some_and(|deepest| level > deepest);
            !is_deeper && filter.fits(path, tree.data(*id))
        });
        if args.at.format == Format::Json {
            look::write_rows(&tree, files, &mut out)?;
            continue;
        }
        for (path, id) in files {
            if args.long {
                write!(out, "{} ", look::long_line(&tree, id, SizeStyle::Bytes))?;
            }
            out.write_all(&look::text_path(&path, is_terminal))?;
            out.write_all(end)?;
        }
    }
    out.flush()?;
    Ok(Exit::Success)
}

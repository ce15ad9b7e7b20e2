//! Files of an image as rows of text and as data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::thread;

use jiff::Timestamp;
use mica_inspect::{Entry, Kind, NodeId, Tree, shown};
use mica_oci::Digest;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::printer;

/// A file as data: one JSON object.
#[derive(Serialize)]
pub(crate) struct FileRow<'a> {
    path: String,
    /// The path's bytes in hexadecimal, where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    r#type: &'static str,
    mode: Octal,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: Seconds,
    link: Option<Cow<'a, str>>,
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<[u32; 2]>,
    xattrs: BTreeMap<Cow<'a, str>, String>,
    layer: usize,
}

impl<'a> FileRow<'a> {
    /// Describes a node.
    pub(crate) fn new(tree: &Tree<'a>, path: &[u8], id: NodeId) -> Self {
        let entry = tree.data(id);
        let link = tree.hard_link(id).map(|name| Cow::Owned(shown(&name)));
        let link = link.or_else(|| {
            let target = entry.map(|entry| &*entry.link);
            let target = target.filter(|target| !target.is_empty());
            target.map(String::from_utf8_lossy)
        });
        let is_text = std::str::from_utf8(path).is_ok();
        let attributes = entry.map(|entry| entry.attributes.iter());
        let attributes = attributes.into_iter().flatten().map(|(name, value)| {
            let hex = value.iter().map(|byte| format!("{byte:02x}"));
            (name.to_string_lossy(), hex.collect())
        });
        let is_device =
            |entry: &&Entry| matches!(entry.kind, Kind::CharacterDevice | Kind::BlockDevice);
        Self {
            path: shown(path),
            path_hex: (!is_text).then(|| path.iter().map(|byte| format!("{byte:02x}")).collect()),
            r#type: tree.kind(id).word(),
            mode: Octal(entry.map_or(0o755, |entry| entry.mode)),
            uid: entry.map_or(0, |entry| entry.uid),
            gid: entry.map_or(0, |entry| entry.gid),
            size: entry.map_or(0, |entry| entry.size),
            mtime: Seconds::of(entry.map_or((0, 0), |entry| entry.modified)),
            link,
            digest: entry.and_then(Entry::digest),
            device: entry
                .filter(is_device)
                .map(|entry| [entry.device.0, entry.device.1]),
            xattrs: attributes.collect(),
            layer: tree.node(id).layer,
        }
    }
}

/// Files that are described at a time.
const SHARE: usize = 1024;

/// Some files with their paths, and the lines that describe them.
#[derive(Default)]
struct Share {
    files: Vec<(Vec<u8>, NodeId)>,
    lines: Vec<u8>,
}

impl Share {
    /// Takes the next files in the place of those it has.
    fn fill(&mut self, files: &mut impl Iterator<Item = (Vec<u8>, NodeId)>) {
        self.files.clear();
        self.files.extend(files.take(SHARE));
    }

    fn describe(&mut self, tree: &Tree<'_>) -> io::Result<()> {
        self.lines.clear();
        for (path, id) in &self.files {
            serde_json::to_writer(&mut self.lines, &FileRow::new(tree, path, *id))?;
            self.lines.push(b'\n');
        }
        Ok(())
    }
}

/// Writes files as data, an object a line, in their order. Of many, another thread describes every
/// other share.
pub(crate) fn write_rows(
    tree: &Tree<'_>,
    mut files: impl Iterator<Item = (Vec<u8>, NodeId)>,
    out: &mut impl Write,
) -> io::Result<()> {
    let (mut own, mut other) = (Share::default(), Share::default());
    own.fill(&mut files);
    if own.files.len() < SHARE {
        own.describe(tree)?;
        return out.write_all(&own.lines);
    }
    thread::scope(|scope| {
        let (to_helper, asked) = sync_channel::<Share>(1);
        let (answer, from_helper) = sync_channel(1);
        scope.spawn(move || {
            for mut share in asked {
                let described = share.describe(tree).map(|()| share);
                // Nobody listens when the output failed.
                let _ = answer.send(described);
            }
        });
        while !own.files.is_empty() {
            other.fill(&mut files);
            let _ = to_helper.send(other);
            own.describe(tree)?;
            out.write_all(&own.lines)?;
            other = from_helper.recv().map_err(io::Error::other)??;
            out.write_all(&other.lines)?;
            own.fill(&mut files);
        }
        Ok(())
    })
}

/// Permission bits as four octal digits.
struct Octal(u32);

impl Serialize for Octal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = [9, 6, 3, 0].map(|shift| b'0' + (self.0 >> shift & 7) as u8);
        serializer.serialize_str(std::str::from_utf8(&digits).expect("digits are UTF-8"))
    }
}

/// Seconds since 1970 as a JSON number, with as many digits as there are.
#[derive(Serialize)]
#[serde(untagged)]
enum Seconds {
    Whole(i64),
    Exact(Box<RawValue>),
}

impl Seconds {
    fn of((seconds, nanoseconds): (i64, u32)) -> Self {
        match nanoseconds {
            0 => Self::Whole(seconds),
            _ => Self::Exact(fraction(seconds, nanoseconds)),
        }
    }
}

fn fraction(seconds: i64, nanoseconds: u32) -> Box<RawValue> {
    let sign = if seconds < 0 { "-" } else { "" };
    // Before 1970 the fraction counts forward from the second before.
    let (whole, part) = match (seconds < 0, nanoseconds) {
        (true, 1..) => ((seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
        _ => (seconds.unsigned_abs(), nanoseconds),
    };
    let text = format!("{sign}{whole}.{part:09}");
    RawValue::from_string(text.trim_end_matches('0').to_owned()).expect("it is a number")
}

/// How a size is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeStyle {
    /// The number of bytes.
    Bytes,
    /// With a unit, for people.
    Unit,
}

/// Returns how many names a path has.
pub(crate) fn depth(path: &[u8]) -> usize {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .count()
}

/// Describes a node as `ls -l` does.
pub(crate) fn long_line(tree: &Tree<'_>, id: NodeId, style: SizeStyle) -> String {
    facts_line(tree.kind(id), tree.data(id), style)
}

/// Describes what is at a path as `ls -l` does; nothing describes a directory that is implied.
pub(crate) fn facts_line(kind: Kind, entry: Option<&Entry>, style: SizeStyle) -> String {
    let mode = rights(kind, entry.map_or(0o755, |entry| entry.mode));
    let (uid, gid) = entry.map_or((0, 0), |entry| (entry.uid, entry.gid));
    let size = match (kind, entry) {
        (Kind::CharacterDevice | Kind::BlockDevice, Some(entry)) => {
            format!("{}, {}", entry.device.0, entry.device.1)
        }
        (_, entry) => {
            let size = entry.map_or(0, |entry| entry.size);
            match style {
                SizeStyle::Bytes => size.to_string(),
                SizeStyle::Unit => printer::size(size),
            }
        }
    };
    let seconds = entry.map_or(0, |entry| entry.modified.0);
    let time =
        Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d %H:%M").to_string());
    let time = time.unwrap_or_else(|_| seconds.to_string());
    format!("{mode} {uid:>5} {gid:>5} {size:>10} {time}")
}

/// Writes kind and permission bits as `ls` does.
fn rights(kind: Kind, mode: u32) -> String {
    let mut out = String::from(kind.letter());
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    for (index, (bit, with, without)) in special.into_iter().enumerate() {
        let bits = mode >> (6 - 3 * index);
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (bits & 1 != 0, mode & bit != 0) {
            (true, true) => with,
            (false, true) => without,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    out
}

/// Returns a name's bytes for a terminal: an image's names may hold anything, such as sequences that
/// change the terminal.
pub(crate) fn printable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let safe = |letter: char| if letter.is_control() { '?' } else { letter };
    text.chars().map(safe).collect()
}

/// Writes an instruction on one line: that of a heredoc has several, and a hostile one anything.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    printable(words.join(" ").as_bytes())
}

/// Returns a path's bytes for people: from the root, and for a terminal without control characters.
pub(crate) fn text_path(path: &[u8], is_terminal: bool) -> Vec<u8> {
    let full = [b"/", path].concat();
    match is_terminal {
        true => printable(&full).into_bytes(),
        false => full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_those_of_ls() {
        let cases = [
            (Kind::File, 0o644, "-rw-r--r--"),
            (Kind::Directory, 0o1777, "drwxrwxrwt"),
            (Kind::File, 0o4755, "-rwsr-xr-x"),
            (Kind::File, 0o6640, "-rwSr-S---"),
            (Kind::Symlink, 0o777, "lrwxrwxrwx"),
        ];
        for (kind, mode, expected) in cases {
            assert_eq!(rights(kind, mode), expected, "{mode:o}");
        }
    }

    #[test]
    fn times_are_numbers() {
        let cases = [
            ((0, 0), "0"),
            ((12, 500_000_000), "12.5"),
            ((-1, 750_000_000), "-0.25"),
            ((-3, 0), "-3"),
            ((1, 1), "1.000000001"),
        ];
        for (time, expected) in cases {
            assert_eq!(serde_json::to_string(&Seconds::of(time)).unwrap(), expected);
        }
    }

    #[test]
    fn terminals_are_spared() {
        assert_eq!(printable(b"a\x1b[31m\nb\xff"), "a?[31m?b\u{fffd}");
    }
}

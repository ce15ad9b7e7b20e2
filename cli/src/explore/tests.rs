//! Keys in, the screen of 80 columns and 24 rows out.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use mica_inspect::Image;
use mica_oci::{Digest, Platform};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Modifier;

use super::draw::draw;
use super::explorer::{Explorer, Next};
use super::find::Search;
use super::keys::Way;
use super::reading::Wanted;

/// Names and contents; a name that ends with a slash is a directory's.
type Layer = &'static [(&'static str, &'static [u8])];

const LAYERS: &[(&str, Layer)] = &[
    (
        "COPY a /",
        &[
            ("bin/", b""),
            ("bin/tool", b"\x7fELF\0\x01\x02\x03"),
            ("etc/", b""),
            ("etc/one", b"first\n\tsecond\x1b[31m\n"),
            ("etc/two", b"22"),
        ],
    ),
    (
        "RUN change",
        &[("etc/one", b"other\n"), ("etc/.wh.two", b"")],
    ),
    (
        "RUN add",
        &[("etc/three", b"3"), ("var/log/x\u{e9}\u{7}", b"4444")],
    ),
];

fn tar(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_ustar();
        let is_directory = name.ends_with('/');
        header.set_entry_type(match is_directory {
            true => tar::EntryType::Directory,
            false => tar::EntryType::Regular,
        });
        header.set_mode(if is_directory { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        builder
            .append_data(&mut header, name, &content[..])
            .expect("memory takes all");
    }
    builder.into_inner().expect("memory takes all")
}

/// Writes a docker archive of the layers above.
fn write_archive(path: &Path) {
    let (mut files, mut ids, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (instruction, entries)) in LAYERS.iter().enumerate() {
        let entries = entries
            .iter()
            .map(|(name, content)| (*name, content.to_vec()));
        let layer = tar(&entries.collect::<Vec<_>>());
        ids.push(Digest::of(&layer).to_string());
        steps.push(serde_json::json!({ "created_by": instruction }));
        files.push((format!("{number}/layer.tar"), layer));
    }
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {}, "history": steps,
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let layers: Vec<_> = files.iter().map(|(name, _)| name.clone()).collect();
    let manifest = serde_json::json!([
        { "Config": "config.json", "RepoTags": ["some:latest"], "Layers": layers }
    ]);
    files.push(("config.json".into(), config.to_string().into()));
    files.push(("manifest.json".into(), manifest.to_string().into()));
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| (&**name, bytes.clone()))
        .collect();
    let mut file = File::create(path).expect("the directory is ours");
    file.write_all(&tar(&files)).expect("the directory is ours");
}

/// Types keys and returns the screen: letters are themselves, `<Name>` is another key.
fn screen_after(keys: &str) -> String {
    let directory = tempfile::tempdir().expect("there is one");
    let path = directory.path().join("image.tar");
    write_archive(&path);
    let image = Image::of_archive(&path, None, &Platform::host()).expect("it is an archive");
    let mut explorer = Explorer::new(&image).expect("it can be read");
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("memory takes all");
    let mut draw_it = |explorer: &mut Explorer<'_>| {
        let drawn = terminal.draw(|frame| draw(frame, explorer));
        drawn.expect("memory takes all").buffer.clone()
    };
    let mut buffer = draw_it(&mut explorer);
    for key in parse(keys) {
        let next = explorer.key(KeyEvent::new(key, KeyModifiers::NONE));
        assert_eq!(next.expect("it can be read"), Next::Key);
        explorer.fetch(&mut || false);
        buffer = draw_it(&mut explorer);
    }
    let mut out = String::new();
    for y in 0..24 {
        let row = row_of(&buffer, y);
        writeln!(out, "{}", row.trim_end()).expect("memory takes all");
    }
    out
}

/// Returns a row; what was found in content is in brackets.
fn row_of(buffer: &Buffer, y: u16) -> String {
    let row: Vec<_> = (0..80).map(|x| &buffer[(x, y)]).collect();
    let mark = Modifier::REVERSED | Modifier::BOLD;
    let is_marked = |cell: &Cell| cell.modifier.contains(mark);
    let parts = row.chunk_by(|one, other| is_marked(one) == is_marked(other));
    let text = |part: &[&Cell]| part.iter().map(|cell| cell.symbol()).collect::<String>();
    let show = |part: &[&Cell]| match is_marked(part[0]) {
        true => format!("[{}]", text(part)),
        false => text(part),
    };
    parts.map(show).collect()
}

fn parse(keys: &str) -> Vec<KeyCode> {
    let mut out = Vec::new();
    let mut rest = keys;
    while let Some(letter) = rest.chars().next() {
        let (name, after) = match rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
            Some((name, after)) => (name, after),
            None => ("", &rest[letter.len_utf8()..]),
        };
        out.push(match name {
            "" => KeyCode::Char(letter),
            "Tab" => KeyCode::Tab,
            "Enter" => KeyCode::Enter,
            "Esc" => KeyCode::Esc,
            "Up" => KeyCode::Up,
            "Down" => KeyCode::Down,
            other => panic!("{other} is no key"),
        });
        rest = after;
    }
    out
}

#[track_caller]
fn check(keys: &str, shown: &[&str], hidden: &[&str]) {
    let screen = screen_after(keys);
    for part in shown {
        assert!(screen.contains(part), "{part:?} is not shown:\n{screen}");
    }
    for part in hidden {
        assert!(!screen.contains(part), "{part:?} is shown:\n{screen}");
    }
}

#[test]
fn the_first_screen() {
    let expected = "\
┌ some:latest ─────────────────────┐┌ Files up to layer 2 ─────────────────────┐
│  0     29B COPY a /              ││       8B ▸ bin/                          │
│  1      6B RUN change            ││*      7B ▸ etc/                          │
│  2      5B RUN add               ││A      4B ▸ var/                          │
";
    let screen = screen_after("");
    assert!(screen.starts_with(expected), "{screen}");
    assert!(screen.ends_with("? keys  q quit\n"), "{screen}");
    assert!(
        screen.contains("5B in 2 added, 0 changed, 0 removed files"),
        "{screen}"
    );
}

#[test]
fn changes_are_marked() {
    check(
        "<Up><Tab>e",
        &[
            "C      6B     one",
            "D      2B     two",
            "Files up to layer 1",
        ],
        &["three"],
    );
    check(
        "se",
        &["Changes of layer 2", "A      1B     three"],
        &["bin", "    one", "two"],
    );
    check(
        "[[<Tab>e",
        &["A     19B     one", "Files up to layer 0"],
        &["three"],
    );
}

#[test]
fn who_put_changed_and_hid_it() {
    check(
        "[[/two<Enter>",
        &[
            "/etc/two",
            "*layer   0 added     COPY a /",
            "layer   1 removed   RUN change",
        ],
        &[],
    );
    check(
        "[/two<Enter>i",
        &["(gone)", "sha256:", "layer   0 added"],
        &[],
    );
}

#[test]
fn files_are_viewed() {
    check(
        "[[/one<Enter><Enter>",
        &[
            "/etc/one (19B)",
            "│first",
            "│    second?[31m",
            "text, rows 1 to 2 of 2",
        ],
        &["\x1b"],
    );
    check(
        "/tool<Enter><Enter>",
        &["7f 45 4c 46 00 01 02 03", "|.ELF....|", "hex"],
        &[],
    );
    check(
        "/tool<Enter><Enter>x",
        &["text, rows 1 to 1 of 1"],
        &["|.ELF"],
    );
    // What layer 1 removed is read from layer 0.
    check("[/two<Enter><Enter>", &["removed by layer 1", "│22"], &[]);
    check("[/two<Enter><Enter>q", &["? keys"], &["removed by"]);
}

#[test]
fn content_is_searched() {
    // What stands out is in brackets.
    check(
        "[[/one<Enter><Enter>/SECOND<Enter>",
        &["│    [second]?[31m"],
        &[],
    );
    check(
        "[[/one<Enter><Enter>/s<Enter>",
        &["│fir[s]t", "│    second"],
        &[],
    );
    check(
        "[[/one<Enter><Enter>/s<Enter>n",
        &["│first", "│    [s]econd"],
        &[],
    );
    check(
        "[[/one<Enter><Enter>/s<Enter>nn",
        &["│fir[s]t", "none up to the end"],
        &[],
    );
    check(
        "[[/one<Enter><Enter>/s<Enter>N",
        &["│    [s]econd", "none up to the start"],
        &[],
    );
    check(
        r"/tool<Enter><Enter>/\x01\x02<Enter>",
        &["46 00 [01] [02] 03", "|.ELF.[..].|"],
        &[],
    );
    check(
        "[[/one<Enter><Enter>/third<Enter>",
        &["nothing here is `third`"],
        &[],
    );
    check("[[/one<Enter><Enter>/third", &["search: third"], &[]);
    check("[[/one<Enter><Enter>n", &["/ search  n next"], &[]);
    check("?/byte<Enter>", &["is a [byte]"], &[]);
}

#[test]
fn filters_and_searches() {
    check("fTWQ", &["with `twq`", "filter: TWQ"], &["bin", "    one"]);
    check("fthr<Enter>", &["three", "▾ etc/"], &["    one", "bin"]);
    check("fthr<Esc>", &["bin"], &["three"]);
    check("/nothing<Enter>", &["no name holds `nothing`"], &[]);
    check("/e<Enter>n", &["/etc/one"], &[]);
    check("/e<Enter>nN", &["/etc ─"], &[]);
    check("?", &["follow a symbolic link"], &[]);
    check("o", &["by size"], &[]);
}

#[test]
fn a_search_is_broken_off() {
    let directory = tempfile::tempdir().expect("there is one");
    let path = directory.path().join("image.tar");
    write_archive(&path);
    let image = Image::of_archive(&path, None, &Platform::host()).expect("it is an archive");
    let mut explorer = Explorer::new(&image).expect("it can be read");
    for key in parse("/tool<Enter><Enter>") {
        let next = explorer.key(KeyEvent::new(key, KeyModifiers::NONE));
        assert_eq!(next.expect("it can be read"), Next::Key);
        explorer.fetch(&mut || false);
    }
    for (is_enough, said) in [(true, "the search was broken off"), (false, "")] {
        explorer.want(Wanted::Match(Search {
            needle: b"elf".to_vec(),
            from: 0,
            way: Way::Forward,
        }));
        explorer.fetch(&mut || is_enough);
        assert_eq!(explorer.message, said);
    }
}

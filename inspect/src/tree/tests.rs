//! Layers by hand, merged.

use super::{Follow, Scope, Tree};
use crate::error::PathError;
use crate::image::Stack;
use crate::index::LayerIndex;

/// Makes a layer: `d/` a directory, `a=text` a file, `a>b` a symbolic link, `a&b` a hard link, and
/// `.wh.a` a marker.
fn layer(entries: &[&str]) -> LayerIndex {
    let mut out = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        let (name, kind, rest) = match entry.find(['=', '>', '&']) {
            Some(at) => (&entry[..at], entry.as_bytes()[at], &entry[at + 1..]),
            None if entry.ends_with('/') => (*entry, b'/', ""),
            None => (*entry, b'=', ""),
        };
        let content = if kind == b'=' { rest } else { "" };
        header.set_entry_type(match kind {
            b'/' => tar::EntryType::Directory,
            b'>' => tar::EntryType::Symlink,
            b'&' => tar::EntryType::Link,
            _ => tar::EntryType::Regular,
        });
        if matches!(kind, b'>' | b'&') {
            header.set_link_name(rest).unwrap();
        }
        header.set_size(content.len() as u64);
        out.append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    LayerIndex::build(&*out.into_inner().unwrap()).unwrap()
}

/// Shows a tree: each path, with the size of a file and the layer that put it there.
fn shown(tree: &Tree<'_>) -> String {
    let line = |(path, id): (Vec<u8>, super::NodeId)| {
        let path = String::from_utf8(path).unwrap();
        let size = tree.data(id).map_or(0, |entry| entry.size);
        format!("{path}:{size}@{}", tree.node(id).layer)
    };
    let lines: Vec<_> = tree.walk(tree.root()).skip(1).map(line).collect();
    lines.join(" ")
}

fn check(layers: &[&[&str]], expected: &str) {
    let indexes: Vec<_> = layers.iter().map(|entries| layer(entries)).collect();
    let stack = stack(&indexes);
    assert_eq!(shown(&stack.tree), expected, "{layers:?}");
    let mut files = Tree::new(Scope::Stack);
    for (layer, index) in indexes.iter().enumerate() {
        files.add(layer, index);
    }
    assert_eq!(shown(&files), expected, "{layers:?}, files only");
}

fn stack(indexes: &[LayerIndex]) -> Stack<'_> {
    let mut tree = Tree::new(Scope::Stack);
    let layers = indexes.iter().enumerate();
    let changes = layers
        .map(|(layer, index)| tree.apply(layer, index))
        .collect();
    Stack { tree, changes }
}

#[test]
fn layers_are_merged() {
    check(
        &[&["a=1", "d/", "d/b=22"], &["d/c=333"]],
        "a:1@0 d:0@0 d/b:2@0 d/c:3@1",
    );
    check(&[&["a=1", "a=22"]], "a:2@0");
    check(&[&["d/", "d/a=1"], &["d=22"]], "d:2@1");
    check(&[&["a=1"], &["a/", "a/b=1"]], "a:0@1 a/b:1@1");
    check(&[&["x/y/z=1"]], "x:0@0 x/y:0@0 x/y/z:1@0");
}

#[test]
fn markers_hide_lower_layers_alone() {
    check(&[&["a=1", "b=1"], &[".wh.a"]], "b:1@0");
    check(&[&["a=1"], &["a=22", ".wh.a"]], "a:2@1");
    check(&[&["d/a=1", "d/b=1"], &["d/c=1", ".wh.d"]], "d:0@0 d/c:1@1");
    check(&[&["d/a=1"], &["d/b=1", "d/.wh..wh..opq"]], "d:0@0 d/b:1@1");
    check(&[&["d/a=1"], &[".wh..wh..opq", "e=1"]], "e:1@1");
    check(&[&["a=1"], &["none/.wh.a", "a/.wh.b"]], "a:1@0");
}

#[test]
fn links_stay_inside() {
    check(&[&["d/", "l>../../d"], &["l/a=1"]], "d:0@0 d/a:1@1 l:0@0");
    check(&[&["l>/gone"], &["l/a=1"]], "gone:0@1 gone/a:1@1 l:0@0");
    check(&[&["l>no/../d", "d/"], &["l/a=1"]], "d:0@0 d/a:1@1 l:0@0");
    check(&[&["a=1"], &["b&../../a"], &["a=22"]], "a:2@2 b:1@1");
    // What cannot be applied is left out.
    check(
        &[&["l>l"], &["l/a=1", "b&none", "c&/", "k=1"]],
        "k:1@1 l:0@0",
    );
}

#[test]
fn names_of_one_file_are_told() {
    let check = |layers: &[&[&str]], expected: &str| {
        let indexes: Vec<_> = layers.iter().map(|entries| layer(entries)).collect();
        let tree = stack(&indexes).tree;
        let names = tree.walk(tree.root()).filter_map(|(path, id)| {
            let first = tree.hard_link(id)?;
            let [path, first] = [path, first].map(|path| String::from_utf8(path).unwrap());
            Some(format!("{path}&{first}"))
        });
        assert_eq!(names.collect::<Vec<_>>().join(" "), expected, "{layers:?}");
    };
    let first: &[&str] = &["m=1", "a&m", "z&a", "o=1"];
    check(&[first], "m&a z&a");
    check(&[first, &[".wh.a"]], "z&m");
    check(&[first, &["m=2", "a=3"]], "");
    check(&[first, &["m=2", "n&z"]], "n&a z&a");
    check(&[&["m=1"], &["a&m"]], "m&a");
}

#[test]
fn paths_are_resolved() {
    let indexes = [layer(&["d/a=1", "l>d", "m>/l/a", "o>o", "g>gone"])];
    let tree = stack(&indexes).tree;
    let find = |path: &str| tree.resolve(path.as_bytes(), Follow::All);
    let found = |path: &str| find(path).map(|id| String::from_utf8(tree.path(id)).unwrap());
    assert_eq!(found("/l/../m"), Ok("d/a".into()));
    assert_eq!(found("../../d/"), Ok("d".into()));
    assert_eq!(found("l/a/"), Err(PathError::NotADirectory));
    assert_eq!(found("m/x"), Err(PathError::NotADirectory));
    assert_eq!(found("o"), Err(PathError::Loop));
    assert_eq!(found("g"), Err(PathError::Missing));
    let link = tree.resolve(b"/m", Follow::Parents).unwrap();
    assert_eq!(tree.path(link), b"m");
}

#[test]
fn changes_are_noted() {
    let layers: [&[&str]; 3] = [
        &["a=1", "b=1", "d/x=1", "d/y=1"],
        &["a=22", ".wh.b", "c=1"],
        &[".wh.d", "b=1", "d/", "d/x=1", "e=1", "f/", "f=1"],
    ];
    let indexes: Vec<_> = layers.iter().map(|entries| layer(entries)).collect();
    let stack = stack(&indexes);
    let shown = |layer: usize| {
        let changes = stack.changes[layer].iter();
        let shown = changes.map(|(path, change)| {
            format!("{}{}", change.kind.letter(), String::from_utf8_lossy(path))
        });
        shown.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown(0), "Aa Ab Ad Ad/x Ad/y");
    assert_eq!(shown(1), "Ca Db Ac");
    assert_eq!(shown(2), "Ab Cd Cd/x Dd/y Ae Af");
    let waste: Vec<_> = stack.summaries().iter().map(|layer| layer.waste).collect();
    assert_eq!(waste, [4, 0, 0]);
}

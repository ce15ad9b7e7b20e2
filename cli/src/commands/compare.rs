//! Two images side by side: the second form of `mica diff`.

use std::collections::BTreeMap;

use mica_inspect::{
    Aspect, ChangeKind, Difference, FileDifference, Image, Kind, NodeId, Package, Stack, Tree,
    compare_config, compare_files, compare_history, compare_maps, shown,
};
use serde_json::{Value, json};

use super::compare_text;
use super::diff::{DiffArgs, Format};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::look::{self, FileRow, Looked};
use crate::session::Session;

/// Text files up to this size are compared line by line.
const LONGEST_TEXT: u64 = 1 << 20;

/// What differs.
pub(super) struct Comparison {
    /// What was compared.
    pub(super) names: [String; 2],
    /// The bytes of the files of both.
    pub(super) sizes: [u64; 2],
    /// The bytes that both have where they are stored.
    pub(super) stored: [Option<u64>; 2],
    /// The files.
    pub(super) files: Vec<FileChange>,
    /// The configuration.
    pub(super) config: Vec<Difference>,
    /// The history.
    pub(super) history: Vec<Difference>,
    /// The packages.
    pub(super) packages: Vec<Difference>,
}

/// A file that differs.
pub(super) struct FileChange {
    /// The path, from the root.
    pub(super) path: String,
    /// New, gone or different.
    pub(super) kind: ChangeKind,
    /// In what.
    pub(super) aspects: Vec<Aspect>,
    /// It in both, as data; absent where it is not there.
    pub(super) facts: [Option<Value>; 2],
    /// Its lines that differ, as `diff -u` writes them.
    pub(super) text: Option<String>,
}

/// One side.
struct Side<'s> {
    image: &'s Image,
    tree: Tree<'s>,
}

/// Opens two images and compares them.
pub(super) fn of(
    args: &DiffArgs,
    first: &str,
    second: &str,
    session: &Session,
) -> Result<Comparison, Failure> {
    let open = |text: &str| look::open(session, text, args.platform.as_deref());
    let looked = [open(first)?, open(second)?];
    compare(args, [first, second], &looked, session)
}

/// Runs the comparison.
pub(super) fn run(args: &DiffArgs, first: &str, second: &str, session: &Session) -> Outcome {
    let comparison = of(args, first, second, session)?;
    session.printer.data(match args.format {
        Format::Text => compare_text::text(&comparison),
        Format::Json => format!("{:#}\n", json(&comparison)),
        Format::Markdown => compare_text::markdown(&comparison),
        Format::Html => compare_text::html(&comparison),
    })?;
    Ok(match args.exit_code && !comparison.is_empty() {
        true => Exit::Failure,
        false => Exit::Success,
    })
}

fn compare(
    args: &DiffArgs,
    names: [&str; 2],
    looked: &[Looked; 2],
    session: &Session,
) -> Result<Comparison, Failure> {
    let [one, other] = looked;
    let sides = [
        Side {
            image: &one.image,
            tree: one.tree(session)?,
        },
        Side {
            image: &other.image,
            tree: other.tree(session)?,
        },
    ];
    let mut files = Vec::new();
    for difference in compare_files(&sides[0].tree, &sides[1].tree) {
        files.push(file_change(args, &sides, &difference)?);
    }
    let whole = one.layer.is_none() && other.layer.is_none();
    let packages = match whole {
        true => compare_maps(&packages(&sides[0])?, &packages(&sides[1])?),
        false => Vec::new(),
    };
    let stored = |looked: &Looked| {
        let layers = match looked.layer {
            Some(layer) => &looked.image.layers[layer..=layer],
            None => &looked.image.layers,
        };
        let sizes = layers.iter().map(|layer| layer.stored_size);
        sizes.sum::<Option<u64>>()
    };
    let of_images = whole && sides.iter().all(|side| side.image.config.is_some());
    Ok(Comparison {
        names: names.map(str::to_owned),
        sizes: [size(&sides[0].tree), size(&sides[1].tree)],
        stored: [stored(one), stored(other)],
        files,
        config: match of_images {
            true => compare_config(&one.image, &other.image),
            false => Vec::new(),
        },
        history: match of_images {
            true => compare_history(&one.image, &other.image),
            false => Vec::new(),
        },
        packages,
    })
}

impl Comparison {
    /// Tells whether nothing differs.
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            files,
            config,
            history,
            packages,
            ..
        } = self;
        files.is_empty() && config.is_empty() && history.is_empty() && packages.is_empty()
    }
}

fn size(tree: &Tree<'_>) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let nodes = tree.walk(tree.root()).map(|(_, id)| id);
    let new = nodes.filter(|id| tree.node(*id).data.is_some_and(|data| seen.insert(data)));
    let sizes: Vec<u64> = new
        .filter_map(|id| tree.data(id))
        .map(|entry| entry.size)
        .collect();
    sizes.into_iter().sum()
}

fn packages(side: &Side<'_>) -> Result<BTreeMap<String, String>, Failure> {
    let stack = Stack {
        tree: side.tree.clone(),
        changes: Vec::new(),
    };
    let mut table: BTreeMap<String, String> = BTreeMap::new();
    for package in side.image.packages(&stack)? {
        let Package {
            ecosystem,
            name,
            version,
            ..
        } = package;
        let versions = table
            .entry(format!("{} {name}", ecosystem.word()))
            .or_default();
        // Of a package that is there more than once, all versions.
        if !versions.is_empty() {
            versions.push_str(", ");
        }
        versions.push_str(&version);
    }
    Ok(table)
}

fn file_change(
    args: &DiffArgs,
    sides: &[Side<'_>; 2],
    difference: &FileDifference,
) -> Result<FileChange, Failure> {
    let path = shown(&difference.path);
    let wanted = args.text.as_deref();
    let wanted = wanted.is_some_and(|wanted| {
        let wanted = wanted.trim_end_matches('/');
        wanted == "*"
            || path == wanted
            || path
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.starts_with('/'))
    });
    let ids = [difference.before, difference.after];
    let facts = |side: usize| ids[side].map(|id| facts(&sides[side].tree, &difference.path, id));
    Ok(FileChange {
        kind: difference.kind,
        aspects: difference.aspects.clone(),
        facts: [facts(0), facts(1)],
        text: match wanted {
            true => text_difference(sides, ids, &path)?,
            false => None,
        },
        path,
    })
}

/// Describes a file as `mica ls --format json` does, without its time: that is not compared.
fn facts(tree: &Tree<'_>, path: &[u8], id: NodeId) -> Value {
    let mut facts = json!(FileRow::new(tree, path, id));
    if let Some(fields) = facts.as_object_mut() {
        fields.retain(|name, _| !matches!(name.as_str(), "path" | "mtime"));
    }
    facts
}

/// Compares two files line by line; a side where it is not there is empty.
fn text_difference(
    sides: &[Side<'_>; 2],
    ids: [Option<NodeId>; 2],
    path: &str,
) -> Result<Option<String>, Failure> {
    let read = |side: usize| -> Result<Option<String>, Failure> {
        let Some(id) = ids[side] else {
            return Ok(Some(String::new()));
        };
        let Side { image, tree } = &sides[side];
        let (Some(data), Some(entry)) = (tree.node(id).data, tree.data(id)) else {
            return Ok(None);
        };
        if entry.kind != Kind::File || entry.size > LONGEST_TEXT {
            return Ok(None);
        }
        Ok(String::from_utf8(image.read_part(data, 0, LONGEST_TEXT)?).ok())
    };
    let (Some(before), Some(after)) = (read(0)?, read(1)?) else {
        return Ok(None);
    };
    if before == after || before.contains('\0') || after.contains('\0') {
        return Ok(None);
    }
    let difference = similar::TextDiff::from_lines(&before, &after);
    let header = (format!("a{path}"), format!("b{path}"));
    let mut unified = difference.unified_diff();
    Ok(Some(unified.header(&header.0, &header.1).to_string()))
}

fn json(comparison: &Comparison) -> Value {
    let difference = |difference: &Difference| json!({ "name": difference.name, "before": difference.before, "after": difference.after });
    let list = |all: &[Difference]| all.iter().map(difference).collect::<Vec<_>>();
    let file = |file: &FileChange| {
        let aspects = file.aspects.iter().map(|aspect| aspect.word());
        json!({
            "path": file.path,
            "change": file.kind.word(),
            "aspects": aspects.collect::<Vec<_>>(),
            "before": file.facts[0],
            "after": file.facts[1],
            "text": file.text,
        })
    };
    let sides = [0, 1].map(|side| {
        json!({
            "name": comparison.names[side],
            "size": comparison.sizes[side],
            "compressed": comparison.stored[side],
        })
    });
    json!({
        "before": sides[0],
        "after": sides[1],
        "identical": comparison.is_empty(),
        "files": comparison.files.iter().map(file).collect::<Vec<_>>(),
        "config": list(&comparison.config),
        "history": list(&comparison.history),
        "packages": list(&comparison.packages),
    })
}

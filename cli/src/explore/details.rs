//! What is said about a layer and about a file.

use mica_inspect::{ChangeKind, Entry};

use super::explorer::Explorer;
use super::files::Item;
use crate::look::{self, SizeStyle};
use crate::printer;

/// Says all about a layer.
pub(super) fn of_layer(explorer: &Explorer<'_>, layer: usize) -> String {
    let Some(known) = explorer.image.layers.get(layer) else {
        return "There are no layers.\n".into();
    };
    let figures = explorer.summaries[layer];
    let mut out = format!("{}\n", look::one_line(&known.instruction));
    out += &format!(
        "{} in {} added, {} changed, {} removed files",
        printer::size(figures.size),
        figures.added,
        figures.changed,
        figures.removed
    );
    if let Some(size) = known.stored_size {
        out += &format!("; {} stored", printer::size(size));
    }
    out += &format!("; {} of no use\n", printer::size(figures.waste));
    if let Some(digest) = &known.digest {
        out += &format!("{digest}\n");
    }
    if let Some(created) = known.created {
        out += &format!("{created}\n");
    }
    if known.instruction.trim_end().contains('\n') {
        let lines = known.instruction.lines();
        out.extend(lines.map(|line| format!("\n{}", look::printable(line.as_bytes()))));
    }
    out
}

/// Says in a few lines what a file is, and which layers put it here, changed it or hid it. Where
/// there is no room for all, the first layer and the last ones are named.
pub(super) fn in_short(explorer: &Explorer<'_>, item: &Item, rows: usize) -> Vec<String> {
    let mut lines = vec![facts(explorer, item)];
    let history = history(explorer, item);
    let room = rows.saturating_sub(1);
    if history.len() <= room || room < 2 {
        lines.extend(history.into_iter().take(room));
        return lines;
    }
    let left_out = history.len() - room + 1;
    lines.push(format!("{}  (and {left_out} more: i)", history[0]));
    lines.extend_from_slice(&history[left_out + 1..]);
    lines
}

/// Says all about a file.
pub(super) fn of_file(explorer: &Explorer<'_>, item: &Item) -> String {
    let entry = entry(explorer, item);
    let mut lines = vec![facts(explorer, item)];
    if let Some(digest) = entry.and_then(Entry::digest) {
        lines.push(digest.to_string());
    }
    if let Some(entry) = entry {
        if !entry.link.is_empty() {
            lines.push(format!("-> {}", look::printable(&entry.link)));
        }
        for (name, value) in &entry.attributes {
            let name = look::printable(name.as_encoded_bytes());
            lines.push(format!("{name}: {}", value.escape_ascii()));
        }
    }
    lines.push(String::new());
    lines.extend(history(explorer, item));
    lines.join("\n") + "\n"
}

fn entry<'i>(explorer: &Explorer<'i>, item: &Item) -> Option<&'i Entry> {
    item.data.map(|data| explorer.whole.tree.entry(data))
}

fn facts(explorer: &Explorer<'_>, item: &Item) -> String {
    let facts = look::facts_line(item.kind, entry(explorer, item), SizeStyle::Bytes);
    match item.change {
        Some(ChangeKind::Removed) => format!("{facts}  (gone)"),
        _ => facts,
    }
}

/// Returns a line for each layer that touched a file, with the instruction of that layer.
fn history(explorer: &Explorer<'_>, item: &Item) -> Vec<String> {
    let touches = explorer.whole.history_of(&item.path);
    let line = |touch: &mica_inspect::Touch| {
        let instruction = &explorer.image.layers[touch.layer].instruction;
        let instruction = look::one_line(instruction);
        let mark = if touch.layer == explorer.layer {
            '*'
        } else {
            ' '
        };
        let word = touch.what.word();
        format!("{mark}layer {:>3} {word:<9} {instruction}", touch.layer)
    };
    touches.iter().map(line).collect()
}

//! A comparison for people: text, Markdown, a page.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use mica_inspect::{Aspect, ChangeKind, Difference};
use serde_json::{Map, Value};

use super::compare::{Comparison, FileChange};
use crate::look::printable;
use crate::printer;

/// As many files are listed in a summary.
const SHOWN: usize = 200;

/// Counts by kind of change.
fn counts(files: &[FileChange]) -> String {
    let count = |kind| files.iter().filter(|file| file.kind == kind).count();
    let (added, changed) = (count(ChangeKind::Added), count(ChangeKind::Changed));
    format!(
        "{added} added, {changed} changed, {} removed",
        count(ChangeKind::Removed)
    )
}

/// Says how a size changed: `1.2MB → 1.3MB (+100kB)`.
fn sizes([before, after]: [u64; 2]) -> String {
    let (sign, difference) = match after >= before {
        true => ("+", after - before),
        false => ("-", before - after),
    };
    let (before, after) = (printer::size(before), printer::size(after));
    format!("{before} → {after} ({sign}{})", printer::size(difference))
}

/// Says in what a file differs: `content 3B → 8B, mode 0644 → 0600`.
fn details(file: &FileChange) -> String {
    let [Some(before), Some(after)] = &file.facts else {
        let facts = file.facts.iter().flatten().next();
        return facts.map(short).unwrap_or_default();
    };
    let pair = |name: &str| format!("{} → {}", field(before, name), field(after, name));
    let aspect = |aspect: &Aspect| match aspect {
        Aspect::Content if !before["device"].is_null() => {
            let device = |facts: &Value| format!("{}:{}", facts["device"][0], facts["device"][1]);
            format!("device {} → {}", device(before), device(after))
        }
        Aspect::Content => format!("content {}", content(before, after)),
        Aspect::Owner => {
            let owner = |facts: &Value| format!("{}:{}", facts["uid"], facts["gid"]);
            format!("owner {} → {}", owner(before), owner(after))
        }
        Aspect::Xattrs => format!("xattrs {}", attributes(&before["xattrs"], &after["xattrs"])),
        aspect => format!("{} {}", aspect.word(), pair(aspect.word())),
    };
    let aspects: Vec<_> = file.aspects.iter().map(aspect).collect();
    aspects.join(", ")
}

/// Says what a file is: its size, or its type.
fn short(facts: &Value) -> String {
    match facts["type"].as_str() {
        Some("file") => printer::size(facts["size"].as_u64().unwrap_or_default()),
        kind => kind.unwrap_or_default().to_owned(),
    }
}

fn field(facts: &Value, name: &str) -> String {
    let text = facts[name].as_str().map(str::to_owned);
    text.unwrap_or_else(|| facts[name].to_string())
}

/// Says how long both are, exactly where that differs too little.
fn content(before: &Value, after: &Value) -> String {
    let [before, after] = [before, after].map(|facts| facts["size"].as_u64().unwrap_or_default());
    let shown = [before, after].map(printer::size);
    match shown[0] == shown[1] && before != after {
        true => format!("{before}B → {after}B"),
        false => format!("{} → {}", shown[0], shown[1]),
    }
}

/// Names the attributes that differ: `user.a added, user.b changed`.
fn attributes(before: &Value, after: &Value) -> String {
    let names = [before, after].map(|all| all.as_object().into_iter().flat_map(Map::keys));
    let names: BTreeSet<_> = names.into_iter().flatten().collect();
    let word = |name: &&String| match (before.get(*name), after.get(*name)) {
        (None, _) => Some("added"),
        (_, None) => Some("removed"),
        (before, after) => (before != after).then_some("changed"),
    };
    let all = names
        .iter()
        .filter_map(|name| Some(format!("{name} {}", word(name)?)));
    all.collect::<Vec<_>>().join(", ")
}

fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    printable(words.join(" ").as_bytes())
}

fn sections(comparison: &Comparison) -> [(&'static str, &[Difference]); 3] {
    [
        ("Configuration", &comparison.config),
        ("History", &comparison.history),
        ("Packages", &comparison.packages),
    ]
}

/// Writes `- before` and `+ after` lines.
fn lines(differences: &[Difference], out: &mut String) {
    for Difference {
        name,
        before,
        after,
    } in differences
    {
        let name = one_line(name);
        for (sign, value) in [('-', before), ('+', after)] {
            if let Some(value) = value {
                // Writing to a text cannot fail.
                let _ = writeln!(out, "{sign} {name}: {}", one_line(value));
            }
        }
    }
}

/// Writes the summary that a terminal shows.
pub(super) fn text(comparison: &Comparison) -> String {
    let [before, after] = &comparison.names;
    if comparison.is_empty() {
        return format!("{before} and {after} are the same\n");
    }
    let mut out = format!("{before} → {after}\nSize: {}\n", sizes(comparison.sizes));
    if let [Some(before), Some(after)] = comparison.stored {
        let _ = writeln!(out, "Compressed: {}", sizes([before, after]));
    }
    if !comparison.files.is_empty() {
        let _ = writeln!(out, "\nFiles: {}", counts(&comparison.files));
    }
    for file in &comparison.files {
        let path = printable(file.path.as_bytes());
        let _ = writeln!(
            out,
            "{} {path} ({})",
            file.kind.letter(),
            printable(details(file).as_bytes())
        );
        for line in file.text.iter().flat_map(|text| text.lines()) {
            let _ = writeln!(
                out,
                "    {}",
                printable(line.replace('\t', "    ").as_bytes())
            );
        }
    }
    for (title, differences) in sections(comparison) {
        if !differences.is_empty() {
            let _ = writeln!(out, "\n{title}:");
            lines(differences, &mut out);
        }
    }
    out
}

/// Writes the summary for the description of a change.
pub(super) fn markdown(comparison: &Comparison) -> String {
    let [before, after] = &comparison.names;
    let mut out = format!("## `{before}` → `{after}`\n\n");
    if comparison.is_empty() {
        return out + "No differences.\n";
    }
    let _ = writeln!(
        out,
        "| | |\n| --- | --- |\n| Size | {} |",
        sizes(comparison.sizes)
    );
    let _ = writeln!(out, "| Files | {} |", counts(&comparison.files));
    if !comparison.files.is_empty() {
        out += "\n### Files\n\n| | Path | |\n| --- | --- | --- |\n";
    }
    for file in comparison.files.iter().take(SHOWN) {
        let cell = |text: &str| {
            printable(text.as_bytes())
                .replace('|', "\\|")
                .replace('`', "'")
        };
        let _ = writeln!(
            out,
            "| {} | `{}` | {} |",
            file.kind.letter(),
            cell(&file.path),
            cell(&details(file))
        );
    }
    if comparison.files.len() > SHOWN {
        let _ = writeln!(out, "\nand {} more", comparison.files.len() - SHOWN);
    }
    for file in &comparison.files {
        if let Some(text) = &file.text {
            let _ = write!(out, "\n````diff\n{text}````\n");
        }
    }
    for (title, differences) in sections(comparison) {
        if !differences.is_empty() {
            let _ = writeln!(out, "\n### {title}\n\n````diff");
            lines(differences, &mut out);
            out += "````\n";
        }
    }
    out
}

/// Escapes a text for HTML.
pub(super) fn escape(text: &str) -> String {
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    escaped.replace('"', "&quot;")
}

/// The page's style: the reader's colours, light or dark, and no more than text needs.
const STYLE: &str = ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:70rem;\
margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}th,td{text-align:left;padding:.2rem .8rem;\
border-bottom:1px solid #8886}code,pre{font-family:ui-monospace,monospace;overflow-wrap:anywhere}";

/// Writes a page that needs nothing else.
pub(super) fn html(comparison: &Comparison) -> String {
    let [before, after] = [0, 1].map(|side| escape(&comparison.names[side]));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{before} → {after}</title><style>{STYLE}</style></head><body><main>\n\
         <h1>{before} → {after}</h1>\n{}</main></body></html>\n",
        html_body(comparison)
    )
}

/// Writes what a page says of a comparison.
pub(super) fn html_body(comparison: &Comparison) -> String {
    let mut out = format!(
        "<p>Size: {}. Files: {}.</p>\n",
        sizes(comparison.sizes),
        counts(&comparison.files),
    );
    if !comparison.files.is_empty() {
        out += "<h3>Files</h3>\n<table><thead><tr><th scope=\"col\">Change</th><th scope=\"col\">Path</th>\
                <th scope=\"col\">Details</th></tr></thead><tbody>\n";
    }
    for file in &comparison.files {
        let (path, details) = (escape(&file.path), escape(&details(file)));
        let word = file.kind.word();
        let _ = writeln!(
            out,
            "<tr><td>{word}</td><td><code>{path}</code></td><td>{details}</td></tr>"
        );
    }
    if !comparison.files.is_empty() {
        out += "</tbody></table>\n";
    }
    for text in comparison
        .files
        .iter()
        .filter_map(|file| file.text.as_ref())
    {
        let _ = writeln!(out, "<pre>{}</pre>", escape(text));
    }
    for (title, differences) in sections(comparison) {
        if !differences.is_empty() {
            let mut text = String::new();
            lines(differences, &mut text);
            let _ = writeln!(out, "<h3>{title}</h3>\n<pre>{}</pre>", escape(&text));
        }
    }
    out
}

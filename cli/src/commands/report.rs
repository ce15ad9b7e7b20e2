//! `mica report`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use mica_inspect::{Efficiency, Finding, Image, Rectangle, Stack, Summary, Tree, shown, treemap};

use super::compare_text::{self, escape};
use super::diff::DiffArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::look;
use crate::printer;
use crate::session::Session;

/// Write a page about an image: sizes, layers, waste, and what differs from another one
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// The page's file; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// An image to compare with, such as the previous tag
    #[arg(long, value_name = "IMAGE")]
    previous: Option<String>,
    #[command(flatten)]
    at: look::ImageArgs,
}

/// The treemap's size in units of the drawing.
const MAP: Rectangle = Rectangle {
    x: 0.0,
    y: 0.0,
    width: 960.0,
    height: 420.0,
};

/// As many directories are drawn by themselves; the rest is one part.
const PARTS: usize = 40;

/// The page's look: the reader's colours, and for paper no colours at all. Text has a contrast of
/// at least 7 to 1 in both.
const STYLE: &str = ":root{color-scheme:light dark;--part:#cfe0f5;--line:#5b7aa0;--text:#111;--bar:#2f6db3;--waste:#b3402f}\
@media(prefers-color-scheme:dark){:root{--part:#1d3557;--line:#7fa3cf;--text:#f4f4f4;--bar:#6ea8e6;--waste:#e67f6e}}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8886;vertical-align:top}\
.n{text-align:right;white-space:nowrap}td.t{white-space:nowrap}td.c{min-width:12rem}section{overflow-x:auto}code,pre{font-family:ui-monospace,monospace;overflow-wrap:anywhere;white-space:pre-wrap}\
svg{width:100%;min-width:40rem;height:auto}svg rect{fill:var(--part);stroke:var(--line)}svg text{fill:var(--text);font:11px system-ui,sans-serif}\
.track{background:#8884;height:.8rem;min-width:8rem}.bar{background:var(--bar);height:100%;float:left;min-width:2px}.bar.w{background:var(--waste)}\
@media print{body{font-size:9pt;max-width:none;margin:0}section{overflow:visible}td.c,svg{min-width:0}details::details-content{content-visibility:visible;block-size:auto}\
h2{break-after:avoid}tr,svg{break-inside:avoid}.track,.bar{print-color-adjust:exact}}";

/// Runs the command.
pub(crate) fn run(args: &ReportArgs, session: &Session) -> Outcome {
    let image = args.at.open(session)?;
    let stack = image.full_stack()?;
    let page = Page {
        image: &image,
        summaries: stack.summaries(),
        efficiency: image.efficiency()?,
        findings: image.waste(&stack)?,
        stack: &stack,
    };
    let mut out = page.head();
    page.map(&mut out);
    page.layers(&mut out);
    super::report_timeline::section(&image, &mut out);
    page.waste(&mut out);
    if let Some(previous) = &args.previous {
        out += &difference(args, previous, session)?;
    }
    out += "</main></body></html>\n";
    super::save::write_document(Some(&args.output), session.printer, &out)?;
    Ok(Exit::Success)
}

/// Compares with another image.
fn difference(args: &ReportArgs, previous: &str, session: &Session) -> Result<String, Failure> {
    let flags = DiffArgs::for_report(args.at.platform.clone());
    let comparison = super::compare::of(&flags, previous, &args.at.image, session)?;
    Ok(format!(
        "<section aria-labelledby=\"difference\"><h2 id=\"difference\">Since {}</h2>\n{}</section>\n",
        escape(previous),
        compare_text::html_body(&comparison)
    ))
}

/// A page in the making.
struct Page<'p> {
    image: &'p Image,
    stack: &'p Stack<'p>,
    summaries: Vec<Summary>,
    efficiency: Efficiency,
    findings: Vec<Finding>,
}

impl Page<'_> {
    fn head(&self) -> String {
        let name = escape(&self.image.name);
        let efficiency = &self.efficiency;
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>{name}</title><style>{STYLE}</style></head><body><main>\n<h1>{name}</h1>\n\
             <p>{} {}, {} of files. Efficiency {:.2} %, {} wasted.</p>\n",
            self.image.layers.len(),
            if self.image.layers.len() == 1 {
                "layer"
            } else {
                "layers"
            },
            printer::size(efficiency.size),
            efficiency.score * 100.0,
            printer::size(efficiency.wasted),
        )
    }

    /// Draws where the bytes are; the same stands in a table for those who do not see it.
    fn map(&self, out: &mut String) {
        let parts = directories(&self.stack.tree);
        let sizes: Vec<u64> = parts.iter().map(|(_, size)| *size).collect();
        let _ = writeln!(
            out,
            "<section aria-labelledby=\"sizes\"><h2 id=\"sizes\">Where the bytes are</h2>\n\
             <svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Sizes of directories; the table below has the figures\">",
            MAP.width, MAP.height
        );
        for ((name, size), part) in parts.iter().zip(treemap(&sizes, MAP)) {
            let Rectangle {
                x,
                y,
                width,
                height,
            } = part;
            let (whole, bottom) = (name, y + height);
            let (name, size) = (escape(name), printer::size(*size));
            let _ = write!(
                out,
                "<g><title>{name}: {size}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            );
            let room = letters(width);
            let figure = (room >= size.chars().count()).then(|| size.clone());
            let lines = [label(whole, room), figure];
            for (line, y) in lines.iter().flatten().zip([y + 14.0, y + 27.0]) {
                if y + 3.0 < bottom {
                    let (x, line) = (x + 4.0, escape(line));
                    let _ = write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\">{line}</text>");
                }
            }
            *out += "</g>\n";
        }
        *out += "</svg>\n<details><summary>The figures</summary><table><thead><tr><th scope=\"col\">Directory</th>\
                 <th scope=\"col\" class=\"n\">Size</th></tr></thead><tbody>\n";
        for (name, size) in &parts {
            let (name, size) = (escape(name), printer::size(*size));
            let _ = writeln!(
                out,
                "<tr><td><code>{name}</code></td><td class=\"n\">{size}</td></tr>"
            );
        }
        *out += "</tbody></table></details></section>\n";
    }

    /// Lists the layers in the order of their making, each with a bar.
    fn layers(&self, out: &mut String) {
        let largest = self
            .summaries
            .iter()
            .map(|layer| layer.size)
            .max()
            .unwrap_or(0)
            .max(1);
        *out += "<section aria-labelledby=\"layers\"><h2 id=\"layers\">Layers</h2>\n<table><thead><tr>\
                 <th scope=\"col\" class=\"n\">Layer</th><th scope=\"col\">Made</th><th scope=\"col\">Instruction</th>\
                 <th scope=\"col\" class=\"n\">Files</th><th scope=\"col\" class=\"n\">Size</th>\
                 <th scope=\"col\" class=\"n\">Waste</th><td></td></tr></thead><tbody>\n";
        let layers = self.image.layers.iter().zip(&self.summaries).enumerate();
        for (number, (layer, summary)) in layers {
            let Summary {
                size,
                added,
                changed,
                removed,
                waste,
            } = summary;
            let made = layer
                .created
                .map(|time| time.strftime("%Y-%m-%d %H:%M").to_string());
            let percent = |bytes: u64| u128::from(bytes) * 1000 / u128::from(largest);
            let bar = |class: &str, bytes: u64| {
                let tenths = percent(bytes);
                if bytes == 0 {
                    return String::new();
                }
                format!(
                    "<div class=\"{class}\" style=\"width:{}.{}%\"></div>",
                    tenths / 10,
                    tenths % 10
                )
            };
            let _ = writeln!(
                out,
                "<tr><td class=\"n\">{number}</td><td class=\"t\">{}</td>\
                 <td class=\"c\"><code>{}</code></td><td class=\"n\">+{added} ~{changed} −{removed}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td><div class=\"track\" aria-hidden=\"true\">{}{}</div></td></tr>",
                made.unwrap_or_default(),
                escape(&layer.instruction),
                printer::size(*size),
                printer::size(*waste),
                bar("bar w", *waste),
                bar("bar", size - waste),
            );
        }
        *out += "</tbody></table></section>\n";
    }

    fn waste(&self, out: &mut String) {
        *out += "<section aria-labelledby=\"waste\"><h2 id=\"waste\">What could be left out</h2>\n";
        if self.findings.is_empty() {
            *out += "<p>Nothing was found.</p></section>\n";
            return;
        }
        *out += "<table><thead><tr><th scope=\"col\" class=\"n\">Bytes</th><th scope=\"col\" class=\"n\">Layer</th><th scope=\"col\">What</th>\
                 <th scope=\"col\">Files</th></tr></thead><tbody>\n";
        for finding in &self.findings {
            let files = finding.files.iter().take(5);
            let files: Vec<_> = files.map(|(path, _)| escape(&shown(path))).collect();
            let more = finding.files.len() - files.len();
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let _ = writeln!(
                out,
                "<tr><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}: {}</td><td><code>{}</code>{more}</td></tr>",
                printer::size(finding.bytes),
                finding.layer,
                finding.kind.word(),
                escape(finding.kind.advice()),
                files.join(" "),
            );
        }
        *out += "</tbody></table></section>\n";
    }
}

/// Returns how many letters of the map's text fit a width.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is cut to what fits"
)]
fn letters(width: f64) -> usize {
    const LETTER: f64 = 7.0;
    const MARGINS: f64 = 8.0;
    ((width - MARGINS) / LETTER).max(0.0) as usize
}

/// Returns a name, or its end where no more fits; the title and the table have all of it.
fn label(name: &str, room: usize) -> Option<String> {
    const LEAST: usize = 4;
    let count = name.chars().count();
    match room {
        _ if room >= count => Some(name.to_owned()),
        LEAST.. => Some(format!(
            "…{}",
            name.chars().skip(count - room + 2).collect::<String>()
        )),
        _ => None,
    }
}

/// Sums up files by the first two names of their paths, the largest first.
fn directories(tree: &Tree<'_>) -> Vec<(String, u64)> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = std::collections::HashSet::new();
    for (path, id) in tree.walk(tree.root()) {
        let is_new = tree.node(id).data.is_some_and(|data| seen.insert(data));
        let size = tree
            .data(id)
            .filter(|_| is_new)
            .map_or(0, |entry| entry.size);
        if size > 0 {
            let names: Vec<&[u8]> = path.splitn(3, |byte| *byte == b'/').take(2).collect();
            *sums.entry(shown(&names.join(&b'/'))).or_default() += size;
        }
    }
    let mut parts: Vec<(String, u64)> = sums.into_iter().collect();
    parts.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    if parts.len() > PARTS {
        let rest = parts.split_off(PARTS).iter().map(|(_, size)| size).sum();
        parts.push(("all others".into(), rest));
        parts.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_to_the_map() {
        let check = |name: &str, width: f64, expected: Option<&str>| {
            assert_eq!(
                label(name, letters(width)).as_deref(),
                expected,
                "{name} in {width}"
            );
        };
        check("/usr/lib", 64.0, Some("/usr/lib"));
        check("/usr/lib", 63.0, Some("…r/lib"));
        check("/usr/lib", 36.0, Some("…ib"));
        check("/usr/lib", 35.0, None);
        check("/é", 22.0, Some("/é"));
        check("/a", 2.0, None);
    }
}

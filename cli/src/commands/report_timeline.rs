//! When an image was made, step by step, as a part of its report.

use std::fmt::Write as _;

use jiff::Timestamp;
use mica_inspect::{Image, instruction};

use super::compare_text::escape;
use crate::look;

/// The drawing's size in units of its own.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 34.0;

/// Room at both ends, so that no mark is cut.
const MARGIN: f64 = 8.0;

/// A step of the history.
struct Step {
    text: String,
    made: Option<Timestamp>,
    /// The layer that it made, counted from the bottom.
    layer: Option<usize>,
}

/// Writes the section: marks on a line, and the same as a list. Nothing for what has no history.
pub(super) fn section(image: &Image, out: &mut String) {
    let steps = steps(image);
    let times: Vec<Timestamp> = steps.iter().filter_map(|step| step.made).collect();
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else {
        return;
    };
    *out += "<section aria-labelledby=\"timeline\"><h2 id=\"timeline\">Timeline</h2>\n";
    draw(&steps, *first, *last, out);
    *out += "<ol>\n";
    let mut former = None;
    for step in &steps {
        let made = step.made.map_or("at an unknown time".into(), |made| {
            let since = former.map_or(String::new(), |former| format!(", {}", since(former, made)));
            let shown = made.strftime("%Y-%m-%d %H:%M:%S");
            format!("<time datetime=\"{made}\">{shown}</time>{since}")
        });
        former = step.made.or(former);
        let layer = match step.layer {
            Some(layer) => format!("layer {layer}"),
            None => "no layer".into(),
        };
        let text = escape(&step.text);
        // Writing to a text cannot fail.
        let _ = writeln!(out, "<li>{made}, {layer}: <code>{text}</code></li>");
    }
    *out += "</ol></section>\n";
}

fn steps(image: &Image) -> Vec<Step> {
    let mut layers = 0..;
    let config = image.config.iter();
    let history = config.flat_map(|config| &config.value().history);
    let step = |step: &mica_oci::History| Step {
        text: look::one_line(&instruction(step)),
        made: step.created,
        layer: (!step.empty_layer).then(|| layers.next()).flatten(),
    };
    history.map(step).collect()
}

/// Draws the line; steps that made a layer have a larger mark.
fn draw(steps: &[Step], first: Timestamp, last: Timestamp, out: &mut String) {
    let span = last.duration_since(first).as_secs_f64().max(1.0);
    let (start, end) = (first.strftime("%Y-%m-%d"), last.strftime("%Y-%m-%d"));
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Steps from {start} to {end}; the list below has each\">\
         <line x1=\"0\" y1=\"10\" x2=\"{WIDTH}\" y2=\"10\" stroke=\"var(--line)\"/>"
    );
    for step in steps {
        let Some(made) = step.made else { continue };
        let part = made.duration_since(first).as_secs_f64() / span;
        let x = MARGIN + part * (WIDTH - 2.0 * MARGIN);
        let radius = if step.layer.is_some() { 6 } else { 3 };
        let text = escape(&step.text);
        let _ = write!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"10\" r=\"{radius}\" fill=\"var(--bar)\"><title>{text}</title></circle>"
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"0\" y=\"31\">{start}</text><text x=\"{WIDTH}\" y=\"31\" text-anchor=\"end\">{end}</text></svg>"
    );
}

/// Says how much later a step was made than the one before.
fn since(former: Timestamp, made: Timestamp) -> String {
    match made.duration_since(former).as_secs() {
        0 => "at once".into(),
        seconds @ ..0 => format!("{} s earlier", seconds.unsigned_abs()),
        seconds @ 1..120 => format!("{seconds} s later"),
        seconds @ 120..7200 => format!("{} min later", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h later", seconds / 3600),
        seconds => format!("{} days later", seconds / 86400),
    }
}

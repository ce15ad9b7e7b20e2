//! What a build came to, in a few lines.

use mica_builder::{BuildStep, Outcome};

/// A summary's first line: how much was reused.
pub(super) fn headline(steps: &[BuildStep], seconds: f64) -> Option<String> {
    let counted: Vec<_> = steps.iter().filter(|step| step.is_counted()).collect();
    let cached = counted
        .iter()
        .filter(|step| step.outcome == Outcome::Cached);
    let (cached, total) = (cached.count(), counted.len());
    match (cached, total) {
        (_, 0) => None,
        (1, 1) => Some(format!("the only step cached, {seconds:.1}s")),
        (cached, total) if cached == total => {
            Some(format!("all {total} steps cached, {seconds:.1}s"))
        }
        (cached, total) => Some(format!(
            "{cached} of {total} steps cached, {} ran, {seconds:.1}s",
            total - cached
        )),
    }
}

/// One line for each step that ran, where not all were reused.
pub(super) fn lines(steps: &[BuildStep]) -> Vec<String> {
    let counted = steps.iter().filter(|step| step.is_counted());
    let ran = |step: &&BuildStep| step.outcome != Outcome::Cached;
    if !counted.clone().any(|step| ran(&step)) {
        return Vec::new();
    }
    counted.map(line).collect()
}

fn line(step: &BuildStep) -> String {
    let seconds = step.time.elapsed as f64 / 1e6;
    let word = match step.outcome {
        Outcome::Cached => "cached",
        Outcome::Done => "ran",
        Outcome::Failed => "failed",
        Outcome::Canceled => "stopped",
    };
    let time = match step.outcome {
        Outcome::Cached => String::new(),
        _ => format!("{seconds:.1}s"),
    };
    let name = step.name.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("  {word:<7} {time:>6}  {name}")
}

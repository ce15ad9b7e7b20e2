//! A build as a trace for Perfetto and Chrome.
//!
//! Source: "Trace Event Format", JSON object format, complete events (`X`) and metadata (`M`).

use serde_json::{Value, json};

use super::record::{BuildRecord, Span};

/// Something that took a while.
struct Slice {
    name: String,
    category: &'static str,
    time: Span,
    args: Value,
}

/// Returns the trace: a track for each lane of steps that ran side by side, and others for the
/// hashing of layers and for transfers.
pub fn trace(record: &BuildRecord) -> Value {
    let (steps, layers, transfers) = slices(record);
    let title = match record.tags.first() {
        Some(tag) => format!("mica build {tag}"),
        None => format!("mica build {}", record.id),
    };
    let mut events = vec![json!({
        "ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": title},
    })];
    let mut thread = 0;
    for (title, slices) in [
        ("steps", steps),
        ("layers", layers),
        ("transfers", transfers),
    ] {
        for (index, lane) in lanes(slices).into_iter().enumerate() {
            thread += 1;
            events.push(json!({
                "ph": "M", "name": "thread_name", "pid": 1, "tid": thread,
                "args": {"name": format!("{title} {}", index + 1)},
            }));
            events.push(json!({
                "ph": "M", "name": "thread_sort_index", "pid": 1, "tid": thread,
                "args": {"sort_index": thread},
            }));
            events.extend(lane.into_iter().map(|slice| complete(slice, thread)));
        }
    }
    json!({
        "displayTimeUnit": "ms",
        "otherData": {"build": record.id, "started": record.started.to_string()},
        "traceEvents": events,
    })
}

fn slices(record: &BuildRecord) -> (Vec<Slice>, Vec<Slice>, Vec<Slice>) {
    let (mut steps, mut layers, mut transfers) = (Vec::new(), Vec::new(), Vec::new());
    for step in &record.steps {
        let why = step.miss.as_ref().map(ToString::to_string);
        steps.push(Slice {
            name: step.name.clone(),
            category: "step",
            time: step.time,
            args: json!({"number": step.number, "outcome": step.outcome, "not cached": why}),
        });
        layers.extend(step.hashing.map(|time| Slice {
            name: format!("hashing {}", step.name),
            category: "layer",
            time,
            args: json!({"chain": step.chain}),
        }));
        transfers.extend(
            step.parts
                .iter()
                .filter(|part| part.bytes > 0)
                .map(|part| Slice {
                    name: part.id.clone(),
                    category: "transfer",
                    time: part.time,
                    args: json!({"bytes": part.bytes}),
                }),
        );
    }
    (steps, layers, transfers)
}

/// Deals slices out to as few lanes as there are at one time.
fn lanes(mut slices: Vec<Slice>) -> Vec<Vec<Slice>> {
    slices.sort_by_key(|slice| slice.time.start);
    let mut lanes: Vec<(u64, Vec<Slice>)> = Vec::new();
    for slice in slices {
        let end = slice.time.start + slice.time.elapsed;
        match lanes.iter_mut().find(|(free, _)| *free <= slice.time.start) {
            Some((free, lane)) => {
                *free = end;
                lane.push(slice);
            }
            None => lanes.push((end, vec![slice])),
        }
    }
    lanes.into_iter().map(|(_, lane)| lane).collect()
}

fn complete(slice: Slice, thread: usize) -> Value {
    json!({
        "ph": "X", "name": slice.name, "cat": slice.category, "pid": 1, "tid": thread,
        "ts": slice.time.start, "dur": slice.time.elapsed, "args": slice.args,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_is_side_by_side() {
        let slice = |start, elapsed| Slice {
            name: String::new(),
            category: "step",
            time: Span { start, elapsed },
            args: Value::Null,
        };
        let lanes = lanes(vec![slice(5, 10), slice(0, 5), slice(6, 1), slice(15, 1)]);
        let starts: Vec<Vec<u64>> = lanes
            .iter()
            .map(|lane| lane.iter().map(|slice| slice.time.start).collect())
            .collect();
        assert_eq!(starts, [vec![0, 5, 15], vec![6]]);
    }
}

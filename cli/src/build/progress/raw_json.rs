//! BuildKit's `SolveStatus`, a JSON object a line: `--progress=rawjson`.
//!
//! Source: moby/buildkit, `client/graph.go`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use mica_builder::{Event, Outcome, Status, StepId, Stream};
use mica_oci::Digest;
use serde_json::{Map, Value, json};

/// Writes status lines.
pub(super) struct RawJson {
    out: Box<dyn Write + Send>,
    vertexes: BTreeMap<StepId, Vertex>,
    /// When the build began: tells the steps of two builds apart.
    began: Timestamp,
}

struct Vertex {
    digest: Digest,
    name: String,
    started: Timestamp,
    error: Option<String>,
    /// When each part began.
    parts: BTreeMap<String, Timestamp>,
}

impl RawJson {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            vertexes: BTreeMap::new(),
            began: Timestamp::now(),
        }
    }

    /// Shows an event.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        let now = Timestamp::now();
        let line = match event {
            Event::Started { step, name } => self.started(*step, name, now),
            Event::Output {
                step,
                stream,
                bytes,
            } => self.vertexes.get(step).map(|vertex| {
                let stream = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                json!({"logs": [{
                    "vertex": vertex.digest.as_str(), "stream": stream,
                    "data": STANDARD.encode(bytes), "timestamp": now,
                }]})
            }),
            Event::Missed { step, miss } => {
                self.status(*step, &Status::done(format!("not cached: {miss}")), now)
            }
            Event::Status { step, status } => self.status(*step, status, now),
            Event::Failed { step, error } => {
                if let Some(vertex) = self.vertexes.get_mut(step) {
                    vertex.error = Some(error.clone());
                }
                None
            }
            Event::Finished { step, outcome, .. } => self.finished(*step, *outcome, now),
            Event::Warning { text } => Some(json!({"warnings": [{
                "level": 1, "short": STANDARD.encode(text),
            }]})),
            Event::Sited { .. } | Event::Kept { .. } | Event::Sealed { .. } => None,
        };
        match line {
            Some(line) => {
                writeln!(self.out, "{line}")?;
                self.out.flush()
            }
            None => Ok(()),
        }
    }

    fn started(&mut self, step: StepId, name: &str, now: Timestamp) -> Option<Value> {
        let text = format!("{} {} {name}", self.began, step.0);
        let vertex = Vertex {
            digest: Digest::of(text.as_bytes()),
            name: name.to_owned(),
            started: now,
            error: None,
            parts: BTreeMap::new(),
        };
        let line = json!({"vertexes": [vertex.fields()]});
        self.vertexes.insert(step, vertex);
        Some(line)
    }

    fn finished(&mut self, step: StepId, outcome: Outcome, now: Timestamp) -> Option<Value> {
        let vertex = self.vertexes.remove(&step)?;
        let mut fields = vertex.fields();
        fields.insert("completed".into(), json!(now));
        match outcome {
            Outcome::Done => {}
            Outcome::Cached => drop(fields.insert("cached".into(), json!(true))),
            Outcome::Canceled => drop(fields.insert("error".into(), json!("context canceled"))),
            Outcome::Failed => {
                let error = vertex.error.unwrap_or_else(|| "failed".into());
                fields.insert("error".into(), json!(error));
            }
        }
        Some(json!({"vertexes": [fields]}))
    }

    fn status(&mut self, step: StepId, status: &Status, now: Timestamp) -> Option<Value> {
        let vertex = self.vertexes.get_mut(&step)?;
        let started = *vertex.parts.entry(status.id.clone()).or_insert(now);
        let mut fields = json!({
            "id": status.id, "vertex": vertex.digest.as_str(), "current": status.current,
            "timestamp": now, "started": started,
        });
        if status.total > 0 {
            fields["total"] = json!(status.total);
        }
        if status.done {
            fields["completed"] = json!(now);
        }
        Some(json!({"statuses": [fields]}))
    }
}

impl Vertex {
    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("digest".into(), json!(self.digest.as_str()));
        fields.insert("name".into(), json!(self.name));
        fields.insert("started".into(), json!(self.started));
        fields
    }
}

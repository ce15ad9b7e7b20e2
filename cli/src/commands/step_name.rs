//! Naming a step of a past build: `3`, `builder:3`, `#7`, `Dockerfile:12`, or a part of its text.

use mica_builder::{BuildRecord, BuildStep};

/// Why no step is meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum StepNameError {
    /// No step has that name.
    #[error("build {build} has no step \"{name}\"")]
    Unknown {
        /// What was given.
        name: String,
        /// The build's name.
        build: String,
    },
    /// Several steps have it.
    #[error("\"{name}\" means several steps: {}", steps.join(", "))]
    Ambiguous {
        /// What was given.
        name: String,
        /// What each of them can be named by.
        steps: Vec<String>,
    },
}

/// What a name may mean, the most particular first.
const MEANINGS: [fn(&BuildRecord, &BuildStep, &str) -> bool; 6] =
    [by_progress, by_stage, by_number, by_line, by_title, by_text];

/// Finds the step that a name means.
pub(crate) fn find<'r>(
    record: &'r BuildRecord,
    name: &str,
) -> Result<&'r BuildStep, StepNameError> {
    let name = name.trim();
    for means in MEANINGS {
        let sited = record.steps.iter().filter(|step| step.site.is_some());
        let found: Vec<_> = sited.filter(|step| means(record, step, name)).collect();
        match found[..] {
            [] => {}
            [step] => return Ok(step),
            _ => {
                return Err(StepNameError::Ambiguous {
                    name: name.to_owned(),
                    steps: found.into_iter().map(of).collect(),
                });
            }
        }
    }
    Err(StepNameError::Unknown {
        name: name.to_owned(),
        build: record.id.clone(),
    })
}

/// Returns a name that means this step: `builder:3`.
pub(crate) fn of(step: &BuildStep) -> String {
    match &step.site {
        Some(site) => format!("{}:{}", site.stage, site.number),
        None => format!("#{}", step.number),
    }
}

/// `#7`: the number that progress showed.
fn by_progress(_: &BuildRecord, step: &BuildStep, name: &str) -> bool {
    name.strip_prefix('#')
        .is_some_and(|number| number.parse() == Ok(step.number))
}

/// `builder:3`, `builder 3/5`, `builder/3`.
fn by_stage(_: &BuildRecord, step: &BuildStep, name: &str) -> bool {
    let Some(site) = &step.site else {
        return false;
    };
    let name = name.trim_matches(['[', ']']);
    let Some((stage, number)) = name.split_once([':', ' ', '/']) else {
        return false;
    };
    let number = number.split('/').next().unwrap_or(number);
    stage.eq_ignore_ascii_case(&site.stage) && number.parse() == Ok(site.number)
}

/// `3`, `3/5`: the number in its stage.
fn by_number(_: &BuildRecord, step: &BuildStep, name: &str) -> bool {
    let name = name.trim_matches(['[', ']']);
    let number = name.split('/').next().unwrap_or(name);
    let site = step.site.as_ref();
    site.is_some_and(|site| number.parse() == Ok(site.number))
}

/// `Dockerfile:12`, `:12`, `L12`, or a number that is no step's.
fn by_line(record: &BuildRecord, step: &BuildStep, name: &str) -> bool {
    let number = match name.rsplit_once(':') {
        Some((file, number)) if file.is_empty() || file == record.dockerfile => number,
        Some(_) => return false,
        None => name.trim_start_matches(['L', 'l']),
    };
    let lines = step.site.as_ref().and_then(|site| site.lines);
    match (number.parse::<usize>(), lines) {
        (Ok(number), Some((first, last))) => (first..=last).contains(&number),
        _ => false,
    }
}

/// The whole name that progress showed.
fn by_title(_: &BuildRecord, step: &BuildStep, name: &str) -> bool {
    step.name == name
}

/// A part of the instruction's text.
fn by_text(_: &BuildRecord, step: &BuildStep, name: &str) -> bool {
    let site = step.site.as_ref();
    !name.is_empty() && site.is_some_and(|site| site.instruction.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record() -> BuildRecord {
        let step = |number: usize, stage: &str, place: usize, line: usize, text: &str| {
            json!({
                "number": number, "name": format!("[{stage} {place}/3] {text}"),
                "outcome": "done", "time": {"start": 0, "elapsed": 0},
                "site": {
                    "stage": stage, "number": place, "total": 3, "lines": [line, line + 1],
                    "instruction": text, "key": null, "env": [], "user": "", "directory": "/",
                    "shell": [],
                },
            })
        };
        let record = json!({
            "version": 1, "id": "abc", "tags": [], "context": "/c", "dockerfile": "Dockerfile",
            "started": "2024-01-01T00:00:00Z", "elapsed": 0, "status": "completed",
            "steps": [
                step(3, "builder", 1, 1, "FROM a"),
                step(4, "builder", 2, 3, "RUN make all"),
                step(5, "last", 1, 6, "FROM b"),
                step(6, "last", 3, 10, "RUN make check"),
            ],
        });
        serde_json::from_value(record).expect("it is a record")
    }

    #[test]
    fn steps_have_many_names() {
        let record = record();
        let cases = [
            ("#4", Ok(4)),
            ("builder:2", Ok(4)),
            ("[builder 2/3]", Ok(4)),
            ("LAST/3", Ok(6)),
            ("2", Ok(4)),
            ("3/3", Ok(6)),
            ("Dockerfile:4", Ok(4)),
            (":10", Ok(6)),
            ("11", Ok(6)),
            ("L6", Ok(5)),
            ("make check", Ok(6)),
        ];
        for (name, expected) in cases {
            assert_eq!(
                find(&record, name).map(|step| step.number),
                expected,
                "{name}"
            );
        }
        for (name, words) in [
            ("1", "several steps: builder:1, last:1"),
            ("RUN make", "several steps: builder:2, last:3"),
            ("99", "no step \"99\""),
            ("", "no step"),
        ] {
            let error = find(&record, name).expect_err(name).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}

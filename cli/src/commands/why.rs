//! `mica why`: what each step of the last build came to, and which input changed.

use clap::{Args, ValueEnum};
use mica_builder::{BuildRecord, BuildStep, Builds, FileChanges, Outcome as StepOutcome, Reason};
use serde_json::{Value, json};

use super::step_name;
use crate::build;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::session::Session;

/// Say for each step of the last build whether it was reused, or which input changed
#[derive(Args, Debug)]
pub(crate) struct WhyArgs {
    /// Name of the Dockerfile (default: "PATH/Dockerfile")
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// The context that was built (default: the last build of the working directory, or else the
    /// last one of all)
    #[arg(long, value_name = "PATH")]
    context: Option<String>,
    /// The build, by its ID or the beginning of it
    #[arg(long, value_name = "ID", conflicts_with_all = ["file", "context"])]
    build: Option<String>,
    /// How to print: "table" or "json"
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// A step or a line: 3, builder:3, "#7", Dockerfile:12, or a part of the instruction
    #[arg(value_name = "STEP|LINE")]
    step: Option<String>,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Runs the command.
pub(crate) fn run(args: &WhyArgs, session: &Session) -> Outcome {
    let record = record(args, session)?;
    let steps: Vec<&BuildStep> = match &args.step {
        Some(name) => vec![step_name::find(&record, name).map_err(|error| {
            Failure::from(error).with_hint("`mica why` lists all steps of the build")
        })?],
        None => record
            .steps
            .iter()
            .filter(|step| step.site.is_some())
            .collect(),
    };
    let text = match args.format {
        Format::Json => format!("{:#}\n", json(&record, &steps)),
        Format::Table => table(&record, &steps, args.step.is_some()),
    };
    session.printer.data(text)?;
    Ok(Exit::Success)
}

fn record(args: &WhyArgs, session: &Session) -> Result<BuildRecord, Failure> {
    let builds = Builds::of(&session.store()?);
    let asked = args.file.is_some() || args.context.is_some();
    let file = match &args.build {
        Some(id) => builds.find(id)?,
        None => {
            let context = args.context.as_deref().unwrap_or(".");
            let source = build::source(context, args.file.as_deref());
            match builds.last(Some(&source)) {
                Err(_) if !asked => builds.last(None)?,
                found => found?,
            }
        }
    };
    Ok(builds.read(&file)?)
}

fn table(record: &BuildRecord, steps: &[&BuildStep], whole: bool) -> String {
    let (cached, total) = record.cached();
    let mut text = format!(
        "build {} of {} ({}): {cached} of {total} steps cached\n",
        record.id, record.context, record.dockerfile
    );
    for step in steps {
        text.push_str(&format!("{}\n", step.name.trim()));
        for line in lines(step, whole) {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text
}

/// What is said below a step's name.
fn lines(step: &BuildStep, whole: bool) -> Vec<String> {
    let reasons = step.miss.iter().flat_map(|miss| &miss.reasons);
    let mut lines = match (step.outcome, &step.miss) {
        (StepOutcome::Cached, _) => vec!["cached".to_owned()],
        (_, Some(miss)) => vec![format!("not cached: {miss}")],
        (_, None) if !step.is_counted() => vec!["a base: there is nothing to run".to_owned()],
        (_, None) => vec!["not cached: no earlier build has this step".to_owned()],
    };
    match step.outcome {
        StepOutcome::Failed => lines.push(format!(
            "failed: {}",
            step.error.as_deref().unwrap_or("no reason is known")
        )),
        StepOutcome::Canceled => lines.push("stopped: another step failed".to_owned()),
        StepOutcome::Cached | StepOutcome::Done => {}
    }
    for (index, reason) in reasons.enumerate() {
        if index > 0 {
            lines.push(format!("also: {reason}"));
        }
        if let Reason::Files(changes) = reason
            && whole
        {
            lines.extend(all_files(changes));
        }
    }
    if whole && let Some(build) = step.miss.as_ref().and_then(|miss| miss.compared.as_ref()) {
        lines.push(format!("compared with build {build}"));
    }
    lines
}

fn all_files(changes: &FileChanges) -> Vec<String> {
    let mut lines: Vec<_> = changes
        .files
        .iter()
        .map(|file| format!("  {file}"))
        .collect();
    let more = changes.changed - changes.files.len();
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines
}

fn json(record: &BuildRecord, steps: &[&BuildStep]) -> Value {
    let step = |step: &&BuildStep| {
        let site = step.site.as_ref();
        json!({
            "number": step.number,
            "name": step.name,
            "stage": site.map(|site| &site.stage),
            "step": site.map(|site| site.number),
            "lines": site.and_then(|site| site.lines),
            "instruction": site.map(|site| &site.instruction),
            "cached": step.outcome == StepOutcome::Cached,
            "outcome": step.outcome,
            "reason": step.miss.as_ref().map(ToString::to_string),
            "changes": step.miss.as_ref().map(|miss| &miss.reasons),
            "compared": step.miss.as_ref().and_then(|miss| miss.compared.as_ref()),
        })
    };
    json!({
        "build": record.id,
        "context": record.context,
        "dockerfile": record.dockerfile,
        "status": record.status,
        "steps": steps.iter().map(step).collect::<Vec<_>>(),
    })
}

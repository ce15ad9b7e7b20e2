//! `mica waste`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use mica_inspect::{
    Bytes, Churn, Efficiency, Finding, Gate, Image, Part, Verdict, lines_of_layers, shown,
};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::look::{self, Format};
use crate::printer::{self, Table};
use crate::session::Session;

/// Show what of an image could be left out, and fail when it is too much
#[derive(Args, Debug)]
pub(crate) struct WasteArgs {
    /// The Dockerfile that the image was built from: lines to change are named
    #[arg(short, long, value_name = "DOCKERFILE")]
    file: Option<PathBuf>,
    /// Fail when more bytes are wasted, by dive's definition, such as 20MB
    #[arg(long, value_name = "SIZE")]
    max_waste: Option<Bytes>,
    /// Fail when the efficiency is below, such as 0.95 or 95%
    #[arg(long, value_name = "PART")]
    min_efficiency: Option<Part>,
    /// Fail when more of the layers above the first is wasted, such as 0.1 or 10%
    #[arg(long, value_name = "PART")]
    max_user_waste: Option<Part>,
    /// Judge as `dive --ci` does, by the rules of .dive-ci where there is one
    #[arg(long)]
    ci: bool,
    /// A file with dive's rules, instead of .dive-ci
    #[arg(long, value_name = "FILE")]
    ci_config: Option<PathBuf>,
    /// How to show it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    at: look::ImageArgs,
}

/// dive's file of rules.
const DIVE_CI: &str = ".dive-ci";

/// How many files of a finding, and paths of a list, people are shown.
const SHOWN: usize = 5;

/// How much of an instruction fits a line.
const INSTRUCTION_LENGTH: usize = 60;

/// What was found.
struct Found<'f> {
    image: &'f Image,
    efficiency: Efficiency,
    findings: Vec<Finding>,
    churn: Vec<Churn>,
    lines: Vec<Option<usize>>,
    verdicts: Vec<Verdict>,
}

/// Runs the command.
pub(crate) fn run(args: &WasteArgs, session: &Session) -> Outcome {
    let gate = args.gate()?;
    let image = args.at.open(session)?;
    let stack = image.full_stack()?;
    let efficiency = image.efficiency()?;
    let found = Found {
        findings: image.waste(&stack)?,
        churn: stack.churn(),
        lines: args.lines(&image)?,
        verdicts: gate.judge(&efficiency),
        efficiency,
        image: &image,
    };
    match args.format {
        Format::Text => session.printer.data(found.text())?,
        Format::Json => session.printer.data(format!("{:#}\n", found.json()))?,
    }
    let failed = found.verdicts.iter().filter(|verdict| !verdict.passed);
    let failed: Vec<_> = failed.map(|verdict| verdict.message.as_str()).collect();
    if failed.is_empty() {
        return Ok(Exit::Success);
    }
    let message = failed.join("; ");
    Err(CliError::Arguments { message }.into())
}

impl WasteArgs {
    /// A flag goes before the file's rule.
    fn gate(&self) -> Result<Gate, Failure> {
        let mut gate = match (&self.ci_config, self.ci) {
            (Some(path), _) => read_gate(path)?,
            (None, true) if Path::new(DIVE_CI).exists() => read_gate(Path::new(DIVE_CI))?,
            (None, true) => Gate::of_dive(),
            (None, false) => Gate::default(),
        };
        gate.most_wasted = self.max_waste.map(|bytes| bytes.0).or(gate.most_wasted);
        let lowest = self.min_efficiency.map(|part| part.0);
        gate.lowest_efficiency = lowest.or(gate.lowest_efficiency);
        let most = self.max_user_waste.map(|part| part.0);
        gate.most_user_wasted = most.or(gate.most_user_wasted);
        Ok(gate)
    }

    fn lines(&self, image: &Image) -> Result<Vec<Option<usize>>, Failure> {
        match &self.file {
            None => Ok(vec![None; image.layers.len()]),
            Some(path) => Ok(lines_of_layers(image, &read(path)?)?),
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    Ok(text.map_err(|source| CliError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?)
}

fn read_gate(path: &Path) -> Result<Gate, Failure> {
    let gate = Gate::parse_dive_ci(&read(path)?);
    gate.map_err(|error| {
        let message = format!("{}: {error}", path.display());
        CliError::Arguments { message }.into()
    })
}

impl Found<'_> {
    fn text(&self) -> String {
        let efficiency = &self.efficiency;
        let mut out = format!(
            "efficiency: {:.4} %\nwastedBytes: {} bytes ({})\nuserWastedPercent: {:.4} %\n",
            efficiency.score * 100.0,
            efficiency.wasted,
            printer::size(efficiency.wasted),
            efficiency.user_wasted() * 100.0,
        );
        for finding in &self.findings {
            self.finding(finding, &mut out);
        }
        let mut table = Table::new();
        if !efficiency.paths.is_empty() {
            table.row("\nCOUNT\tBYTES\tPATH");
        }
        for path in efficiency.paths.iter().take(4 * SHOWN) {
            let (count, bytes) = (path.count, printer::size(path.size));
            table.row(&format!("{count}\t{bytes}\t{}", shown_path(&path.path)));
        }
        out += &table.render();
        for verdict in &self.verdicts {
            let word = if verdict.passed { "PASS" } else { "FAIL" };
            let _ = writeln!(out, "{word} {}: {}", verdict.rule, verdict.message);
        }
        out
    }

    fn finding(&self, finding: &Finding, out: &mut String) {
        let place = match self.lines[finding.layer] {
            Some(line) => format!("line {line}, layer {}", finding.layer),
            None => format!("layer {}", finding.layer),
        };
        let instruction = &self.image.layers[finding.layer].instruction;
        let instruction = look::one_line(instruction);
        let instruction = super::shorten(&instruction, INSTRUCTION_LENGTH);
        let size = printer::size(finding.bytes);
        let cache = finding
            .cache
            .map_or(String::new(), |cache| format!(" of {cache}"));
        let kind = finding.kind;
        // Writing to a text cannot fail.
        let _ = writeln!(
            out,
            "\n{size} {}{cache}: {place}: {instruction}",
            kind.word()
        );
        let _ = writeln!(out, "  {}", kind.advice());
        for (path, bytes) in finding.files.iter().take(SHOWN) {
            let _ = writeln!(out, "  {:>8}  {}", printer::size(*bytes), shown_path(path));
        }
        if finding.files.len() > SHOWN {
            let _ = writeln!(out, "  and {} more", finding.files.len() - SHOWN);
        }
    }

    fn json(&self) -> Value {
        let efficiency = &self.efficiency;
        let finding = |finding: &Finding| {
            let file =
                |(path, bytes): &(Box<[u8]>, u64)| json!({ "path": shown(path), "bytes": bytes });
            json!({
                "kind": finding.kind.word(),
                "layer": finding.layer,
                "wasted_in_layer": finding.wasted_in,
                "line": self.lines[finding.layer],
                "instruction": self.image.layers[finding.layer].instruction,
                "bytes": finding.bytes,
                "cache": finding.cache,
                "advice": finding.kind.advice(),
                "files": finding.files.iter().map(file).collect::<Vec<_>>(),
            })
        };
        let path = |path: &[u8], count: usize, bytes: u64| json!({ "path": shown(path), "count": count, "bytes": bytes });
        let verdict = |verdict: &Verdict| json!({ "rule": verdict.rule, "passed": verdict.passed, "message": verdict.message });
        let paths = efficiency.paths.iter();
        let churn = self.churn.iter();
        json!({
            "efficiency": efficiency.score,
            "wasted_bytes": efficiency.wasted,
            "user_wasted": efficiency.user_wasted(),
            "size": efficiency.size,
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "inefficient": paths.map(|p| path(&p.path, p.count, p.size)).collect::<Vec<_>>(),
            "churn": churn.map(|p| path(&p.path, p.count, p.bytes)).collect::<Vec<_>>(),
            "rules": self.verdicts.iter().map(verdict).collect::<Vec<_>>(),
            "passed": self.verdicts.iter().all(|verdict| verdict.passed),
        })
    }
}

/// A path for people: a hostile one may hold anything.
fn shown_path(path: &[u8]) -> String {
    look::printable(shown(path).as_bytes())
}

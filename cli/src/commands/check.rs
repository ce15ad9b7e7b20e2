//! `mica system check`.

use clap::Args;
use mica_oci::Reference;
use mica_store::{Depth, Report, Store, Tagged};
use serde_json::json;

use super::pull;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::progress::Verbosity;
use crate::session::Session;
use crate::template::Template;

/// Check blobs, layers and names of the store
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Format output using a Go template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Compare the files of each layer with its diff ID; reads every byte
    #[arg(long)]
    full: bool,
    /// Fetch or make again what is broken, remove what cannot be, and say which
    #[arg(long)]
    repair: bool,
}

/// What was found, and what was done about it.
struct Findings {
    report: Report,
    repaired: Vec<String>,
    /// What is broken still.
    left: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &CheckArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let depth = match args.full {
        true => Depth::Content,
        false => Depth::Presence,
    };
    let report = store.check(depth)?;
    let problems = report.problems.iter().map(ToString::to_string).collect();
    let mut findings = Findings {
        repaired: Vec::new(),
        left: problems,
        report,
    };
    if args.repair {
        findings.repaired = repair(&store, &findings.report, session)?;
        let after = store.check(depth)?.problems;
        findings.left = after.iter().map(ToString::to_string).collect();
    }
    match args.format.as_deref() {
        None | Some("") => session.printer.data(text(&findings))?,
        Some("json") => session.printer.line(describe(&findings).to_string())?,
        Some(format) => session
            .printer
            .line(Template::parse(format)?.render(&describe(&findings))?)?,
    }
    match findings.left.is_empty() {
        true => Ok(Exit::Success),
        false => Ok(Exit::Failure),
    }
}

/// Drops what is broken, fetches what is missing from where the images came from, makes the rest
/// again as far as that can be, and removes garbage.
fn repair(store: &Store, report: &Report, session: &Session) -> Result<Vec<String>, Failure> {
    let mut done = Vec::new();
    let texts = |repaired: Vec<mica_store::Repaired>| -> Vec<String> {
        repaired.iter().map(ToString::to_string).collect()
    };
    done.extend(texts(store.drop_broken(report)?));
    for entry in store.incomplete()? {
        if let Some(source) = fetch(store, &entry, session)? {
            done.push(format!("fetched {} again from {source}", entry.shown()));
        }
    }
    done.extend(texts(store.repair()?));
    let leftovers = report.leftovers.as_ref().map_or(0, Vec::len);
    if store.collect()?.skipped {
        session
            .printer
            .warning("the store is in use: garbage is removed by the next prune");
    } else if leftovers > 0 {
        done.push(format!("removed {leftovers} leftovers"));
    }
    Ok(done)
}

/// Tries the repositories that an image is known to be in, one after the other; returns the one
/// that had it.
fn fetch(store: &Store, entry: &Tagged, session: &Session) -> Result<Option<Reference>, Failure> {
    for name in store.known_names(&entry.target)? {
        let Ok(reference) = name.parse::<Reference>() else {
            continue;
        };
        let (printer, quiet) = (session.printer.as_messages(), Verbosity::Quiet);
        let platform = store.platform_of(&entry.target);
        let pulled = pull::pull(
            session,
            printer,
            store,
            &reference,
            platform.as_ref(),
            quiet,
        );
        match pulled {
            Ok(image) if image.target.digest == entry.target.digest => return Ok(Some(reference)),
            // The repository has another image by now.
            Ok(_) => {}
            Err(failure) => printer.report(&failure),
        }
    }
    Ok(None)
}

fn describe(findings: &Findings) -> serde_json::Value {
    let report = &findings.report;
    json!({
        "Blobs": report.blobs,
        "Layers": report.layers,
        "Images": report.images,
        "Problems": report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "Unverified": report.unverified,
        "Leftovers": report.leftovers,
        "Repaired": findings.repaired,
        "Remaining": findings.left,
    })
}

fn text(findings: &Findings) -> String {
    let report = &findings.report;
    let mut out = format!(
        "checked {} blobs, {} layers, {} images\n",
        report.blobs, report.layers, report.images
    );
    let mut lines = |label: &str, texts: &[String]| {
        for text in texts {
            out.push_str(&format!("{label}: {text}\n"));
        }
    };
    let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    lines("broken", &problems);
    let unverified = report
        .unverified
        .iter()
        .map(|chain| format!("layer {chain}: nothing is left to compare its files with"));
    lines("not verified", &unverified.collect::<Vec<_>>());
    match &report.leftovers {
        None => lines("not looked for", &["leftovers: the store is in use".into()]),
        Some(paths) => {
            let paths: Vec<_> = paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            lines("leftover", &paths);
        }
    }
    lines("repaired", &findings.repaired);
    match findings.left.is_empty() {
        true => out.push_str("the store is whole\n"),
        false => out.push_str(&format!("{} problems remain\n", findings.left.len())),
    }
    out
}

//! `mica sbom`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mica_inspect::Package;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::look;
use crate::session::Session;

/// List the packages of an image as a bill of materials
#[derive(Args, Debug)]
pub(crate) struct SbomArgs {
    /// The document's format
    #[arg(long, value_enum, default_value = "spdx-json")]
    format: Format,
    /// Write to a file, instead of standard output, which is `-`
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    at: look::ImageArgs,
}

/// Formats of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// SPDX 2.3
    #[value(name = "spdx-json", alias = "spdx")]
    Spdx,
    /// CycloneDX 1.6
    #[value(name = "cyclonedx-json", alias = "cyclonedx")]
    CycloneDx,
    /// The packages alone
    Json,
}

/// Runs the command.
pub(crate) fn run(args: &SbomArgs, session: &Session) -> Outcome {
    let image = args.at.open(session)?;
    let warn = |message: &str| session.printer.warning(message);
    let document = look::with_materials(&image, warn, |materials| match args.format {
        Format::Spdx => materials.spdx(),
        Format::CycloneDx => materials.cyclonedx(),
        Format::Json => materials.packages.iter().map(package).collect(),
    })?;
    let text = format!("{document:#}\n");
    super::save::write_document(args.output.as_deref(), session.printer, &text)?;
    Ok(Exit::Success)
}

fn package(package: &Package) -> Value {
    json!({
        "type": package.ecosystem.word(),
        "name": package.name,
        "version": package.version,
        "architecture": package.architecture,
        "license": package.license,
        "path": format!("/{}", package.path),
        "layer": package.layer,
    })
}

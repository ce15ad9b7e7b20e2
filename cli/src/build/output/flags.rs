//! The flags of `mica build` that say where the result goes and in which form.

use std::path::PathBuf;

use clap::Args;
use mica_builder::Squash;
use mica_store::ArchiveFormat;

use super::{Annotations, Attestations, Goal, Keep, Kind, Output, Push};
use crate::failure::CliError;

/// Where the result goes.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// Output destination (format: "type=local,dest=path")
    #[arg(short, long, value_name = "SPEC")]
    output: Vec<String>,
    /// Shorthand for "--output=type=docker": keep the image in the store
    #[arg(long)]
    load: bool,
    /// Shorthand for "--output=type=registry": layers go up while later steps run
    #[arg(long)]
    push: bool,
    /// Write the image ID to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write build result metadata to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Add annotation to the image (format: "KEY=VALUE", "TYPE:KEY=VALUE")
    #[arg(long, value_name = "ANNOTATION")]
    annotation: Vec<String>,
    /// Give files younger than SOURCE_DATE_EPOCH that time, in every output
    #[arg(long)]
    rewrite_timestamp: bool,
    /// Make one layer of all new ones, or of those from a stage or numbered step on
    #[arg(long, value_name = "STEP", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    squash: Option<String>,
    /// Attestation parameters (format: "type=sbom", "type=provenance,mode=max")
    #[arg(long, value_name = "SPEC")]
    attest: Vec<String>,
    /// Shorthand for "--attest=type=provenance"
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,
    /// Shorthand for "--attest=type=sbom"
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
}

impl OutputArgs {
    /// Returns all places that the result goes to; without any flag it is the store.
    pub(crate) fn outputs(&self) -> Result<Vec<Output>, CliError> {
        let parsed = self.output.iter().map(|text| Output::parse(text));
        let mut outputs = parsed.collect::<Result<Vec<_>, _>>()?;
        if self.push {
            add_push(&mut outputs);
        }
        if self.load && !outputs.iter().any(|output| output.kind == STORED) {
            outputs.push(Output::store());
        }
        if outputs.is_empty() {
            outputs.push(Output::store());
        }
        let annotations = Annotations::parse(&self.annotation)?;
        for output in &mut outputs {
            output.form.annotations.extend(&annotations);
            output.form.rewrite_timestamp |= self.rewrite_timestamp;
        }
        Ok(outputs)
    }

    /// Returns what is to be said about the images.
    pub(crate) fn attestations(&self) -> Result<Attestations, CliError> {
        let (provenance, sbom) = (self.provenance.as_deref(), self.sbom.as_deref());
        Attestations::parse(&self.attest, provenance, sbom)
    }

    /// Returns which layers become one.
    pub(crate) fn squash(&self) -> Option<Squash> {
        self.squash.as_ref().map(|from| match from.as_str() {
            "" | "all" | "true" => Squash::All,
            from => Squash::From(from.to_owned()),
        })
    }
}

const STORED: Kind = Kind::Image {
    keep: Keep::Yes,
    push: Push::No,
};

/// Pushes the images that are made anyhow, or another one.
fn add_push(outputs: &mut Vec<Output>) {
    let mut pushed = false;
    for output in outputs.iter_mut() {
        if let Kind::Image { push, .. } = &mut output.kind {
            *push = match push {
                Push::ByDigest => Push::ByDigest,
                Push::No | Push::Named => Push::Named,
            };
            pushed = true;
        }
    }
    if !pushed {
        let mut output = Output::store();
        output.kind = Kind::Image {
            keep: Keep::Yes,
            push: Push::Named,
        };
        outputs.push(output);
    }
}

/// Fails for what cannot be made for several platforms or with attestations, and for what has no
/// name to go under.
pub(super) fn check(goal: &Goal, is_terminal: bool) -> Result<(), CliError> {
    for output in &goal.outputs {
        check_one(output, goal, is_terminal).map_err(|message| CliError::Arguments { message })?;
    }
    if !goal.attestations.is_empty() && !goal.outputs.iter().any(Output::is_image) {
        return Err(CliError::Arguments {
            message: "attestations go with an image: add an output of type=image, registry or oci"
                .into(),
        });
    }
    let to_stdout = goal.outputs.iter().filter(|output| output.is_to_stdout());
    match to_stdout.count() {
        0 | 1 => Ok(()),
        _ => Err(CliError::Arguments {
            message: "only one output can go to standard output".into(),
        }),
    }
}

fn check_one(output: &Output, goal: &Goal, is_terminal: bool) -> Result<(), String> {
    let has_index = goal.platforms.len() > 1 || !goal.attestations.is_empty();
    let is_docker = matches!(
        output.kind,
        Kind::Archive {
            format: ArchiveFormat::Docker,
            ..
        }
    );
    if is_docker && has_index {
        return Err("docker exporter does not currently support exporting manifest lists".into());
    }
    if !has_index && output.form.annotations.needs_index() {
        return Err("index annotations not supported for single platform export".into());
    }
    if output.is_pushed() && output.names(&goal.tags).is_empty() {
        return Err("tag is needed when pushing to registry".into());
    }
    if output.is_to_stdout() && is_terminal {
        let name = match output.kind {
            Kind::Tar { .. } => "tar",
            _ if is_docker => "docker",
            _ => "oci",
        };
        return Err(format!(
            "dest file is required for {name} exporter. refusing to write to console"
        ));
    }
    Ok(())
}

impl Output {
    fn is_image(&self) -> bool {
        matches!(
            self.kind,
            Kind::Image { .. } | Kind::Archive { .. } | Kind::Layout { .. }
        )
    }

    fn is_to_stdout(&self) -> bool {
        matches!(
            self.kind,
            Kind::Archive { file: None, .. } | Kind::Tar { file: None }
        )
    }
}

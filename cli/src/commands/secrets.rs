//! `mica secrets`, and the gate of `mica push`.

use std::path::Path;

use clap::Args;
use mica_inspect::{DeclaredSecret, Image, Leak, Place, Visibility};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::look::{self, Format};
use crate::session::Session;

/// Look for secrets in all layers of an image, its history, its configuration and its attestations
#[derive(Args, Debug)]
pub(crate) struct SecretsArgs {
    /// A value that must not be there, as for a build: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "id=NAME[,src=FILE|,env=VARIABLE]")]
    secret: Vec<String>,
    /// `json` writes one object a line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    at: look::ImageArgs,
}

/// Runs the command.
pub(crate) fn run(args: &SecretsArgs, session: &Session) -> Outcome {
    let declared = declared(&args.secret, session)?;
    let image = args.at.open(session)?;
    let leaks = image.leaks(&declared)?;
    let mut out = String::new();
    for leak in &leaks {
        out += &match args.format {
            Format::Text => text(leak),
            Format::Json => format!("{}\n", json(leak)),
        };
    }
    session.printer.data(out)?;
    match leaks.len() {
        0 => Ok(Exit::Success),
        count => Err(found(count, &args.at.image)),
    }
}

/// Fails when an image holds secrets; says where.
pub(super) fn gate(session: &Session, image: &Image, secrets: &[String]) -> Result<(), Failure> {
    let leaks = image.leaks(&declared(secrets, session)?)?;
    for leak in &leaks {
        session.printer.message(text(leak).trim_end());
    }
    match leaks.len() {
        0 => Ok(()),
        count => Err(found(count, &image.name)),
    }
}

fn found(count: usize, image: &str) -> Failure {
    let noun = if count == 1 { "secret" } else { "secrets" };
    let message = format!("{count} {noun} in {image}");
    Failure::from(CliError::Arguments { message })
        .with_hint("hand it to the step with RUN --mount=type=secret, build again, and replace the secret: it is known")
}

/// Reads the values of `id=NAME[,src=FILE|,env=VARIABLE]`.
fn declared(texts: &[String], session: &Session) -> Result<Vec<DeclaredSecret>, Failure> {
    texts.iter().map(|text| read(text, session)).collect()
}

fn read(text: &str, session: &Session) -> Result<DeclaredSecret, Failure> {
    let wrong = |reason: String| CliError::FlagValue {
        flag: "--secret",
        value: text.to_owned(),
        reason,
    };
    let (mut id, mut file, mut variable) = (None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value),
            Some(("src" | "source", value)) => file = Some(value),
            Some(("env", value)) => variable = Some(value),
            Some(("type", "file" | "env")) => {}
            _ => return Err(wrong(format!("unexpected `{field}`")).into()),
        }
    }
    let name = id.ok_or_else(|| wrong("it has no id".into()))?;
    let value = match (file, variable.or(Some(name))) {
        (Some(path), _) => std::fs::read(path).map_err(|source| CliError::File {
            action: "read",
            path: Path::new(path).to_owned(),
            source,
        })?,
        (None, Some(variable)) => {
            let value = session.environment.variable(variable);
            let missing = || wrong(format!("the variable {variable} is not set"));
            value.ok_or_else(missing)?.into_bytes()
        }
        (None, None) => Vec::new(),
    };
    Ok(DeclaredSecret {
        name: name.to_owned(),
        value,
    })
}

fn text(leak: &Leak) -> String {
    let place = match &leak.place {
        Place::File {
            layer,
            path,
            offset,
            visibility,
        } => {
            let hidden = match visibility {
                Visibility::Visible => "",
                Visibility::Hidden => " (removed or replaced later, and still in the image)",
            };
            let path = look::printable(path.as_bytes());
            format!("layer {layer}: {path}: byte {offset}{hidden}")
        }
        Place::History { step } => format!("history: step {step}"),
        Place::Document { field } => look::printable(field.as_bytes()),
        Place::Attestation { digest, field } => {
            let field = look::printable(field.as_bytes());
            format!("attestation {digest}: {field}")
        }
    };
    let excerpt = look::printable(leak.excerpt.as_bytes());
    format!("{} {excerpt}", leak.what).trim_end().to_owned() + &format!(" in {place}\n")
}

fn json(leak: &Leak) -> Value {
    let place = match &leak.place {
        Place::File {
            layer,
            path,
            offset,
            visibility,
        } => json!({
            "layer": layer, "path": path, "offset": offset,
            "hidden": *visibility == Visibility::Hidden,
        }),
        Place::History { step } => json!({ "history": step }),
        Place::Document { field } => json!({ "field": field }),
        Place::Attestation { digest, field } => json!({ "attestation": digest, "field": field }),
    };
    json!({ "kind": leak.what, "place": place, "excerpt": leak.excerpt })
}

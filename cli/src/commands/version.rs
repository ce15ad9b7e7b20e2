//! `mica version`.

use clap::Args;
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::session::Session;
use crate::template::Template;

/// Show the version information
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Format output using a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// Runs the command. There is no server: what docker says of it is said of the program itself.
pub(crate) fn run(args: &VersionArgs, session: &Session) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let platform = mica_oci::Platform::host();
    let part = json!({ "Version": version, "Os": platform.os, "Arch": platform.architecture });
    let data = json!({ "Client": part, "Server": part });
    session.printer.line(match args.format.as_deref() {
        None | Some("") => format!(
            "mica version {version} ({}/{})",
            platform.os, platform.architecture
        ),
        Some("json") => data.to_string(),
        Some(text) => Template::parse(text)?.render(&data)?,
    })?;
    Ok(Exit::Success)
}

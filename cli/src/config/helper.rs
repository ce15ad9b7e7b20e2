//! Programs that keep credentials: docker's `docker-credential-NAME` protocol.
//!
//! The program is run with one word, `get`, `store` or `erase`; the registry's name, or JSON with
//! the login, goes to its standard input, an answer in JSON comes from its standard output.

use std::io::Write;
use std::process::{Command, Stdio};

use mica_registry_client::{Credentials, Secret};
use serde_json::{Value, json};

use crate::failure::CliError;

/// The user name that stands for an identity token.
const TOKEN: &str = "<token>";

/// What these programs say when they know no login.
const NOT_FOUND: &str = "credentials not found";

/// Asks for a login.
pub(super) fn get(helper: &str, server: &str) -> Result<Option<Credentials>, CliError> {
    let answer = match run(helper, "get", server) {
        Err(CliError::CredentialHelper { message, .. }) if message.contains(NOT_FOUND) => {
            return Ok(None);
        }
        answer => answer?,
    };
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    Ok(match (text("Username"), text("Secret")) {
        (Some(TOKEN), Some(secret)) => Some(Credentials::IdentityToken(Secret::new(secret))),
        (Some(username), Some(secret)) if !secret.is_empty() => Some(Credentials::Basic {
            username: username.to_owned(),
            password: Secret::new(secret),
        }),
        _ => None,
    })
}

/// Hands over a login.
pub(super) fn store(helper: &str, server: &str, login: &Credentials) -> Result<(), CliError> {
    let (username, secret) = match login {
        Credentials::Anonymous => return Ok(()),
        Credentials::Basic { username, password } => (username.as_str(), password),
        Credentials::IdentityToken(token) => (TOKEN, token),
    };
    let entry = json!({ "ServerURL": server, "Username": username, "Secret": secret.expose() });
    run(helper, "store", &entry.to_string()).map(drop)
}

/// Has a login forgotten.
pub(super) fn erase(helper: &str, server: &str) -> Result<(), CliError> {
    run(helper, "erase", server).map(drop)
}

fn run(helper: &str, action: &'static str, input: &str) -> Result<String, CliError> {
    let program = format!("docker-credential-{helper}");
    let failed = |source| CliError::NoCredentialHelper {
        program: program.clone(),
        source,
    };
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input tells why in its answer.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(answer);
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(CliError::CredentialHelper {
        program,
        action,
        message: format!("{}{}", answer.trim(), complaint.trim()),
    })
}

//! Logins: found, kept and forgotten.

use std::path::PathBuf;

use mica_registry_client::Credentials;

use super::auth_file::{AuthFile, server_key};
use super::{Environment, helper};
use crate::failure::CliError;

/// Where a login was put.
#[derive(Debug)]
pub(crate) enum Kept {
    /// In this file, without encryption.
    File(PathBuf),
    /// With the program `docker-credential-…`.
    Helper,
}

/// Finds the login at a registry, named as in a reference: with docker's programs, in docker's
/// file, in podman's.
pub(crate) fn find(environment: Environment, registry: &str) -> Result<Credentials, CliError> {
    let file = AuthFile::read(environment.docker_config())?;
    if let Some(helper) = file.helper(registry)
        && let Some(credentials) = helper::get(helper, &server_key(registry))?
    {
        return Ok(credentials);
    }
    if let Some(credentials) = file.credentials(registry) {
        return Ok(credentials);
    }
    for path in environment.podman_auth_files() {
        if let Some(credentials) = AuthFile::read(path)?.credentials(registry) {
            return Ok(credentials);
        }
    }
    Ok(Credentials::Anonymous)
}

/// Keeps a login where docker would.
pub(crate) fn keep(
    environment: Environment,
    registry: &str,
    credentials: &Credentials,
) -> Result<Kept, CliError> {
    let mut file = AuthFile::read(environment.docker_config())?;
    let kept = match file.helper(registry).map(str::to_owned) {
        Some(helper) => {
            helper::store(&helper, &server_key(registry), credentials)?;
            file.set_kept_elsewhere(registry);
            Kept::Helper
        }
        None => {
            file.set(registry, credentials);
            Kept::File(file.path().to_owned())
        }
    };
    file.write()?;
    Ok(kept)
}

/// Forgets a login, and tells whether there was one.
pub(crate) fn forget(environment: Environment, registry: &str) -> Result<bool, CliError> {
    let mut file = AuthFile::read(environment.docker_config())?;
    let known = file.has(registry);
    if let Some(helper) = file.helper(registry) {
        helper::erase(helper, &server_key(registry))?;
    }
    if known {
        file.remove(registry);
        file.write()?;
    }
    Ok(known)
}

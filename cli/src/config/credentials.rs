//! Logins: found, kept and forgotten.

use std::collections::BTreeSet;
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

/// Finds the login at a registry or for a repository, named as in a reference: with docker's
/// programs, in docker's file, in podman's. The most particular name counts.
pub(crate) fn find(environment: Environment, name: &str) -> Result<Credentials, CliError> {
    let found = find_with_place(environment, name)?;
    Ok(found.map_or(Credentials::Anonymous, |(credentials, _)| credentials))
}

/// As [`find`], with the file or program that keeps the login.
pub(crate) fn find_with_place(
    environment: Environment,
    name: &str,
) -> Result<Option<(Credentials, String)>, CliError> {
    let registry = name.split('/').next().unwrap_or(name);
    // A file that was named for this very purpose comes before docker's usual one.
    let docker = environment.named_auth_file().into_iter();
    let docker = docker.chain([environment.docker_config()]);
    let docker = docker.map(|path| (path, server_key(registry)));
    let podman = environment.podman_auth_files().into_iter();
    let podman = podman.map(|path| (path, registry.to_owned()));
    for (path, server) in docker.chain(podman) {
        let place = path.display().to_string();
        let file = AuthFile::read(path)?;
        if let Some(credentials) = file.credentials_within(name) {
            return Ok(Some((credentials, place)));
        }
        if let Some(helper) = file.helper(registry)
            && let Some(credentials) = helper::get(helper, &server)?
        {
            return Ok(Some((credentials, format!("docker-credential-{helper}"))));
        }
        if let Some(credentials) = file.credentials(registry) {
            return Ok(Some((credentials, place)));
        }
    }
    Ok(None)
}

/// Keeps a login where docker would: at a registry, or at a namespace or repository of one.
pub(crate) fn keep(
    environment: Environment,
    place: &str,
    credentials: &Credentials,
) -> Result<Kept, CliError> {
    let mut file = AuthFile::read(login_file(environment))?;
    let (registry, path) = place.split_once('/').unwrap_or((place, ""));
    let kept = match file.helper(registry).map(str::to_owned) {
        Some(helper) if !path.is_empty() => {
            return Err(CliError::HelperOfHosts {
                helper,
                place: place.to_owned(),
            });
        }
        Some(helper) => {
            helper::store(&helper, &server_key(registry), credentials)?;
            file.set_kept_elsewhere(registry);
            Kept::Helper
        }
        None => {
            file.set(place, credentials);
            Kept::File(file.path().to_owned())
        }
    };
    file.write()?;
    Ok(kept)
}

/// Forgets a login, and tells whether there was one.
pub(crate) fn forget(environment: Environment, place: &str) -> Result<bool, CliError> {
    let mut file = AuthFile::read(login_file(environment))?;
    let known = file.has(place);
    // Programs keep those of whole registries alone.
    if !place.contains('/')
        && let Some(helper) = file.helper(place)
    {
        helper::erase(helper, &server_key(place))?;
    }
    if known {
        file.remove(place);
        file.write()?;
    }
    Ok(known)
}

/// Returns the places that the file where logins are kept has some for, under however many names.
pub(crate) fn places(environment: Environment) -> Result<BTreeSet<String>, CliError> {
    let file = AuthFile::read(login_file(environment))?;
    Ok(file.places().into_iter().collect())
}

/// Where logins are kept: the file that `REGISTRY_AUTH_FILE` names, or docker's.
fn login_file(environment: Environment) -> PathBuf {
    let named = environment.named_auth_file();
    named.unwrap_or_else(|| environment.docker_config())
}

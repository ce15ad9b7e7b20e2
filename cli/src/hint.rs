//! What a user can do about the errors of the rooms below.

use std::error::Error;

use mica_builder::RemoteError;
use mica_inspect::InspectError;
use mica_oci::{DocumentError, ReferenceError};
use mica_registry_client::{ConnectFailure, Hint, RegistryError};
use mica_store::{ArchiveError, StoreError, TransferError};

use crate::build::S3CacheError;
use crate::failure::CliError;

/// Looks for a known error among `error` and its causes, and says what can be done about it.
pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<String> {
    let mut current = Some(error);
    while let Some(cause) = current {
        if let Some(error) = cause.downcast_ref::<S3CacheError>() {
            return error.hint();
        }
        if let Some(CliError::HelperOfHosts { .. }) = cause.downcast_ref() {
            let hint = "name another file in REGISTRY_AUTH_FILE, or log in to the whole registry";
            return Some(hint.to_owned());
        }
        let hint = match (store_error(cause), registry_error(cause)) {
            (Some(error), _) => of_store(error),
            (_, Some(error)) => of_registry(error),
            _ => {
                let remote = cause.downcast_ref().and_then(of_remote);
                let inspection = || cause.downcast_ref().and_then(of_inspection);
                let reference = || cause.downcast_ref().and_then(of_reference);
                remote.or_else(inspection).or_else(reference)
            }
        };
        if hint.is_some() {
            return hint;
        }
        current = cause.source();
    }
    None
}

/// Says what can be done about a source from the network.
pub(crate) fn of_remote(error: &RemoteError) -> Option<String> {
    match error {
        RemoteError::NoGit { .. } => Some(
            "git sources need the git program: install it, for instance with `apt-get install git`"
                .into(),
        ),
        _ => None,
    }
}

/// Finds the store's error, also in those of other rooms that pass it on as their own.
pub(crate) fn store_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e StoreError> {
    if let Some(InspectError::Transfer(error)) = error.downcast_ref() {
        return store_error(error);
    }
    match (
        error.downcast_ref(),
        error.downcast_ref(),
        error.downcast_ref(),
    ) {
        (Some(InspectError::Store(error)), _, _)
        | (_, Some(TransferError::Store(error)), _)
        | (_, _, Some(ArchiveError::Store(error))) => Some(error),
        _ => error.downcast_ref(),
    }
}

/// The cause of a registry's error may be another one in a box.
fn registry_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e RegistryError> {
    let boxed = error.downcast_ref::<Box<RegistryError>>();
    error.downcast_ref().or(boxed.map(Box::as_ref))
}

/// Tells whether an error says all about its causes already: those of a failed connection repeat
/// its classification in the words of four libraries.
pub(crate) fn covers_its_causes(error: &(dyn Error + 'static)) -> bool {
    matches!(
        registry_error(error),
        Some(RegistryError::Connect { failure, .. }) if *failure != ConnectFailure::Broken
    )
}

/// Suggests names that are much like the one that was not found.
pub(crate) fn near_names(near: &[String]) -> Option<String> {
    match near {
        [] => None,
        [name] => Some(format!("did you mean `{name}`?")),
        names => Some(format!("names like it: {}", names.join(", "))),
    }
}

/// Tells whether what is no image configuration was never said to be one.
pub(crate) fn is_of_artifact(error: &DocumentError) -> bool {
    let kind = &error.media_type;
    !(kind.is_manifest() || kind.is_index() || kind.is_image_config())
}

/// Says what to leave out of an address that was given for a name.
fn of_reference(error: &ReferenceError) -> Option<String> {
    let ReferenceError::Format { reference, .. } = error else {
        return None;
    };
    let (scheme, _) = reference.split_once("://")?;
    Some(format!("names have no scheme: leave `{scheme}://` out"))
}

/// Says how to name one of an archive's images.
fn of_inspection(error: &InspectError) -> Option<String> {
    match error {
        InspectError::SeveralImages { path, names } => {
            let (path, name) = (path.display(), names.first()?);
            Some(format!(
                "choose one of them, such as docker-archive:{path}:{name}"
            ))
        }
        _ => None,
    }
}

fn of_store(error: &StoreError) -> Option<String> {
    match error {
        StoreError::NotFound { near, .. } => {
            near_names(near).or_else(|| Some("`mica images` lists what there is".into()))
        }
        StoreError::Ambiguous { .. } => Some("give more digits of the ID".into()),
        StoreError::Platform { available, .. } if !available.is_empty() => {
            Some("choose one of them with --platform".into())
        }
        StoreError::Document(error) if is_of_artifact(error) => {
            Some("it is an artifact and no image: `mica artifact pull` gets its files".into())
        }
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Some("run as root, or choose a store of your own with --root".into())
        }
        StoreError::NoClones { .. } => Some(
            "put the store, --root, on xfs, btrfs, or a file system that overlayfs takes; \
             `mica image mount` and `unpack` work as it is"
                .into(),
        ),
        StoreError::Packed { .. } => Some(
            "run and build as root; `mica image unpack IMAGE DIR` gives the files to a plain user"
                .into(),
        ),
        StoreError::Shared { .. } => {
            Some("`additional-stores` in mica's config.json names it".into())
        }
        StoreError::Version { .. } => Some("choose another store with --root".into()),
        _ => None,
    }
}

fn of_registry(error: &RegistryError) -> Option<String> {
    let text = match error.hint()? {
        Hint::Login => return Some(log_in(error)),
        Hint::Certificate => {
            return Some(format!(
                "put the registry's certificate authority into /etc/docker/certs.d/{}/ca.crt, or set SSL_CERT_FILE",
                registry_of(error)
            ));
        }
        Hint::ClientCertificate => {
            return Some(format!(
                "put your certificate and its key into /etc/docker/certs.d/{}/ as client.cert and client.key",
                registry_of(error)
            ));
        }
        Hint::PlainHttp => {
            return Some(format!(
                "if {} speaks plain HTTP, name it in `insecure-registries` of mica's config.json or docker's daemon.json; \
                 `mica copy` and `mica manifest` take --insecure",
                registry_of(error)
            ));
        }
        Hint::Name if is_connect(error) => "check the registry's host name",
        Hint::Name => "check the name and the tag; a private repository needs `mica login`",
        Hint::Proxy => {
            "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and user and password in their URLs"
        }
        Hint::Unreachable => "check that the registry runs and that its address and port are right",
    };
    Some(text.to_owned())
}

/// Returns the registry that an error is about.
fn registry_of(error: &RegistryError) -> &str {
    match error {
        RegistryError::Status { request, .. } | RegistryError::Connect { request, .. } => {
            &request.registry
        }
        RegistryError::Download { source, .. } | RegistryError::Mirrors { source, .. } => {
            registry_of(source)
        }
        _ => "REGISTRY",
    }
}

fn log_in(error: &RegistryError) -> String {
    let registry = registry_of(error);
    format!("log in with `mica login {registry}`, or with an account that may do this")
}

fn is_connect(error: &RegistryError) -> bool {
    matches!(
        error,
        RegistryError::Connect {
            failure: ConnectFailure::NoSuchHost,
            ..
        }
    )
}

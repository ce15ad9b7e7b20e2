//! `certs.d/HOST[:PORT]/`: certificate authorities and client certificates of one host.
//!
//! Source: docker's "Verify repository client with certificates"; containers-certs.d(5).

use std::path::{Path, PathBuf};

use mica_registry_client::{HostTls, Identity, Secret, Verification};

use super::{bad_value, list, read_text};
use crate::failure::CliError;

/// The files for one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Certificates {
    /// Certificate authorities.
    pub(crate) authorities: Vec<PathBuf>,
    /// The client's certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Whether the host is believed without a certificate.
    pub(crate) is_unverified: bool,
}

impl Certificates {
    /// Adds what a directory has: `*.crt`, and `NAME.cert` with `NAME.key`.
    pub(super) fn add_directory(&mut self, directory: &Path) -> Result<(), CliError> {
        for path in list(directory)? {
            let extension = path.extension().and_then(|extension| extension.to_str());
            match extension {
                Some("crt") => self.authorities.push(path),
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !key.is_file() {
                        let name = path.display().to_string();
                        return Err(bad_value(directory, &name, "its .key file is missing"));
                    }
                    self.identity.get_or_insert((path, key));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds what another file says about the same host.
    pub(super) fn add(&mut self, other: &Self) {
        self.authorities.extend(other.authorities.iter().cloned());
        if self.identity.is_none() {
            self.identity.clone_from(&other.identity);
        }
        self.is_unverified |= other.is_unverified;
    }

    /// Reads the files.
    pub(super) fn read(&self) -> Result<HostTls, CliError> {
        let mut authorities = Vec::new();
        for path in &self.authorities {
            authorities.extend(required(path)?.into_bytes());
            authorities.push(b'\n');
        }
        let identity = match &self.identity {
            None => None,
            Some((certificate, key)) => Some(Identity {
                certificate: required(certificate)?.into_bytes(),
                key: Secret::new(required(key)?),
            }),
        };
        Ok(HostTls {
            authorities,
            identity,
            verification: match self.is_unverified {
                true => Verification::None,
                false => Verification::Full,
            },
        })
    }
}

fn required(path: &Path) -> Result<String, CliError> {
    read_text(path)?.ok_or_else(|| CliError::File {
        action: "read",
        path: path.to_owned(),
        source: std::io::ErrorKind::NotFound.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_holds_authorities_and_a_pair() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["ca.crt", "b.crt", "me.cert", "me.key", "notes.txt"] {
            std::fs::write(path(name), name).unwrap();
        }
        let mut found = Certificates::default();
        found.add_directory(directory.path()).unwrap();
        assert_eq!(found.authorities, [path("b.crt"), path("ca.crt")]);
        assert_eq!(found.identity, Some((path("me.cert"), path("me.key"))));
        assert_eq!(found.read().unwrap().authorities, b"b.crt\nca.crt\n");
        std::fs::remove_file(path("me.key")).unwrap();
        assert!(
            Certificates::default()
                .add_directory(directory.path())
                .is_err()
        );
    }
}

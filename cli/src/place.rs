//! Where images are copied from and to, by transport.
//!
//! ```text
//! docker://NAME  NAME      a registry
//! oci:DIR[:NAME]           an OCI layout
//! oci-archive:FILE[:NAME]  an OCI layout in a tar file
//! docker-archive:FILE[:NAME]
//! store:NAME               this machine's store
//! ```

use std::path::PathBuf;
use std::str::FromStr;

use mica_oci::{
    BlobReader, ContractError, Descriptor, Fetch, Manifest, Push, Reference, Resolve, Tag,
};
use mica_registry_client::Repository;
use mica_store::{Layout, Store};
use tokio::io::AsyncReadExt;

use crate::failure::{CliError, Failure};
use crate::look::split_image;

/// A place as it is written on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// A registry.
    Registry(Reference),
    /// An OCI layout in a directory.
    Layout(PathBuf, Option<String>),
    /// An OCI layout in a tar file.
    LayoutArchive(PathBuf, Option<String>),
    /// What `docker save` writes.
    DockerArchive(PathBuf, Option<Reference>),
    /// The store.
    Store(String),
}

impl FromStr for Location {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        if let Some(name) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(name.parse()?));
        }
        if text.starts_with(['/', '.']) {
            return Err(unknown(format!("`{text}` is a path"), text));
        }
        let Some((transport, rest)) = text.split_once(':') else {
            return Ok(Self::Registry(text.parse()?));
        };
        if FOREIGN.contains(&transport) {
            let message = format!("`{transport}:` is a transport of other tools");
            return Err(unknown(message, text));
        }
        let (path, name) = split_image(rest);
        let name = name.filter(|name| !name.is_empty());
        let has_path = matches!(transport, "oci" | "oci-archive" | "docker-archive");
        if has_path && path.as_os_str().is_empty() {
            let message = format!("`{text}` needs a path after `{transport}:`");
            return Err(CliError::Arguments { message }.into());
        }
        Ok(match transport {
            "oci" => Self::Layout(path, name),
            "oci-archive" => Self::LayoutArchive(path, name),
            "docker-archive" => {
                Self::DockerArchive(path, name.map(|name| name.parse()).transpose()?)
            }
            "store" => Self::Store(rest.to_owned()),
            _ => Self::Registry(text.parse()?),
        })
    }
}

/// Transports of skopeo and podman that there are none of here. Nobody who writes one means a
/// repository of the hub with that name, which an image would be pushed to.
const FOREIGN: [&str; 6] = [
    "containers-storage",
    "dir",
    "docker-daemon",
    "ostree",
    "sif",
    "tarball",
];

/// Refuses a place, and says what there is.
fn unknown(message: String, text: &str) -> Failure {
    let hint = match text.starts_with(['/', '.']) {
        true => format!("say what it is: oci:{text}, oci-archive:{text} or docker-archive:{text}"),
        false => "places are docker://NAME, oci:DIR, oci-archive:FILE, docker-archive:FILE and \
                  store:NAME"
            .to_owned(),
    };
    Failure::from(CliError::Arguments { message }).with_hint(&hint)
}

/// A place that is open: content under the contracts, and the one name that is meant.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A repository.
    Registry(Box<Repository>, Reference),
    /// A name in a layout.
    Layout(Layout),
    /// The store.
    Store(Store),
}

impl Place {
    /// Lists the manifests that are about one.
    pub(crate) async fn referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>, Failure> {
        match self {
            Self::Registry(repository, _) => {
                let found = repository.referrers(&subject.digest, None).await?;
                Ok(found.manifests)
            }
            Self::Layout(layout) => {
                let mut found = Vec::new();
                for entry in layout.entries()? {
                    let manifest = self.manifest(&entry).await?;
                    let about = manifest.and_then(|manifest| manifest.subject);
                    if about.is_some_and(|about| about.digest == subject.digest) {
                        found.push(entry);
                    }
                }
                Ok(found)
            }
            Self::Store(_) => Ok(Vec::new()),
        }
    }

    /// Keeps a manifest that has no name.
    pub(crate) fn keep_untagged(&self, target: &Descriptor) -> Result<(), Failure> {
        match self {
            Self::Layout(layout) => Ok(layout.keep_untagged(target)?),
            Self::Registry(..) | Self::Store(_) => Ok(()),
        }
    }

    /// Reads an image manifest; `None` for anything else.
    async fn manifest(&self, entry: &Descriptor) -> Result<Option<Manifest>, Failure> {
        if !entry.media_type.is_manifest() {
            return Ok(None);
        }
        let raw = read(self, entry).await?;
        Ok(serde_json::from_slice(&raw).ok())
    }
}

/// Reads a document whole.
pub(crate) async fn read<S: Fetch>(source: &S, wanted: &Descriptor) -> Result<Vec<u8>, Failure> {
    let reader = source
        .fetch(wanted)
        .await
        .map_err(|source| CliError::Read {
            digest: wanted.digest.clone(),
            source,
        })?;
    let mut raw = Vec::new();
    reader.take(LARGEST).read_to_end(&mut raw).await?;
    Ok(raw)
}

/// What registries accept as a manifest at most, by the specification.
const LARGEST: u64 = 4 << 20;

impl Fetch for Place {
    async fn fetch(&self, descriptor: &Descriptor) -> Result<BlobReader, ContractError> {
        match self {
            Self::Registry(repository, _) => repository.fetch(descriptor).await,
            Self::Layout(layout) => layout.fetch(descriptor).await,
            Self::Store(store) => store.fetch(descriptor).await,
        }
    }

    async fn fetch_from(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<BlobReader, ContractError> {
        match self {
            Self::Registry(repository, _) => repository.fetch_from(descriptor, offset).await,
            Self::Layout(layout) => layout.fetch_from(descriptor, offset).await,
            Self::Store(store) => store.fetch_from(descriptor, offset).await,
        }
    }

    fn distrust(&self, descriptor: &Descriptor) -> bool {
        match self {
            Self::Registry(repository, _) => repository.distrust(descriptor),
            Self::Layout(layout) => layout.distrust(descriptor),
            Self::Store(store) => store.distrust(descriptor),
        }
    }
}

impl Push for Place {
    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, ContractError> {
        match self {
            Self::Registry(repository, _) => repository.contains(descriptor).await,
            Self::Layout(layout) => layout.contains(descriptor).await,
            Self::Store(store) => store.contains(descriptor).await,
        }
    }

    async fn push(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<(), ContractError> {
        match self {
            Self::Registry(repository, _) => repository.push(descriptor, content).await,
            Self::Layout(layout) => layout.push(descriptor, content).await,
            Self::Store(store) => store.push(descriptor, content).await,
        }
    }

    async fn push_from<S: Fetch>(
        &self,
        descriptor: &Descriptor,
        source: &S,
    ) -> Result<(), ContractError> {
        match self {
            Self::Registry(repository, _) => repository.push_from(descriptor, source).await,
            Self::Layout(layout) => layout.push_from(descriptor, source).await,
            Self::Store(store) => store.push_from(descriptor, source).await,
        }
    }
}

/// A place stands for one name, so the name in the call is only that of the other side.
impl Resolve for Place {
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, ContractError> {
        match self {
            Self::Registry(repository, own) => repository.resolve(own).await,
            Self::Layout(layout) => layout.resolve(reference).await,
            Self::Store(store) => store.resolve(reference).await,
        }
    }
}

impl Tag for Place {
    async fn tag(
        &self,
        descriptor: &Descriptor,
        reference: &Reference,
    ) -> Result<(), ContractError> {
        match self {
            Self::Registry(repository, own) => repository.tag(descriptor, own).await,
            Self::Layout(layout) => layout.tag(descriptor, reference).await,
            Self::Store(store) => store.tag(descriptor, reference).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_told_apart() {
        let name = |text: &str| Location::Registry(text.parse().unwrap());
        let path = |text: &str| PathBuf::from(text);
        let tag = |text: &str| Some(text.to_owned());
        let cases = [
            ("docker://localhost:5000/a", name("localhost:5000/a")),
            ("localhost:5000/a:1", name("localhost:5000/a:1")),
            ("busybox", name("busybox")),
            ("busybox:1", name("busybox:1")),
            ("oci:/a/b", Location::Layout(path("/a/b"), None)),
            ("oci:dir:v1", Location::Layout(path("dir"), tag("v1"))),
            (
                "oci-archive:a.tar:x/y:z",
                Location::LayoutArchive(path("a.tar"), tag("x/y:z")),
            ),
            (
                "docker-archive:a.tar:x:1",
                Location::DockerArchive(path("a.tar"), Some("x:1".parse().unwrap())),
            ),
            ("store:a:b", Location::Store("a:b".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Location>().unwrap(), expected, "{text}");
        }
        // Not where the first colon is, but where the path ends.
        let directory = tempfile::tempdir().unwrap();
        let colons = directory.path().join("a:b");
        std::fs::create_dir(&colons).unwrap();
        let text = format!("oci:{}:v1", colons.display());
        let expected = Location::Layout(colons, tag("v1"));
        assert_eq!(text.parse::<Location>().unwrap(), expected);
        for bad in [
            "oci:",
            "oci::v1",
            "docker-archive:x:BAD",
            "docker://A",
            "",
            "dir:d",
            "docker-daemon:x:1",
            "containers-storage:x",
            "./x.tar",
        ] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
    }
}

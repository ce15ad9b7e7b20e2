//! Where the sources of COPY and ADD come from: files that are here, or the network.

use std::sync::Arc;

use mica_dockerfile::ignore::Matcher;

use crate::context::ContextSource;
use crate::copy::{Copying, Group};
use crate::error::ErrorKind;
use crate::explain::FileList;
use crate::remote::{Commit, GitPlace, GitReference, RemoteError, RemoteFile, is_http, redacted};
use crate::sources::Wildcards;
use crate::stage::StageBuild;

/// Where sources come from.
pub(crate) enum Provenance {
    /// Files that are here.
    Files(Group),
    /// A file over HTTP, and whether it is unpacked.
    Download(RemoteFile, Unpack),
    /// A commit, and whether its `.git` stays.
    Repository(Box<Commit>, bool),
}

impl Provenance {
    /// Lists the files, where they are here.
    pub(crate) fn files(&self) -> Option<FileList> {
        match self {
            Self::Files(group) => Some(group.files()),
            Self::Download(..) | Self::Repository(..) => None,
        }
    }
}

/// Whether archives are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpack {
    /// Their content is copied.
    Yes,
    /// They are copied as they are.
    No,
}

/// What only ADD has.
pub(crate) struct Adding<'i> {
    pub(crate) checksum: Option<&'i str>,
    pub(crate) keep_git_dir: Option<bool>,
    pub(crate) unpack: Option<bool>,
}

impl StageBuild<'_, '_> {
    /// Finds out what a source is; nothing is fetched yet.
    pub(crate) fn provenance(
        &self,
        copying: &Copying<'_>,
        path: &str,
        exclude: &Matcher,
        checksum: Option<String>,
    ) -> Result<Provenance, ErrorKind> {
        if let Some(provenance) = self.remote_provenance(copying, path, checksum.as_deref())? {
            return Ok(provenance);
        }
        if checksum.is_some() {
            return Err(refused("checksum requires HTTP(S) or Git sources"));
        }
        self.group(copying, path, exclude).map(Provenance::Files)
    }

    /// A source on the network, found out about but not fetched; `None` for a path.
    fn remote_provenance(
        &self,
        copying: &Copying<'_>,
        path: &str,
        checksum: Option<&str>,
    ) -> Result<Option<Provenance>, ErrorKind> {
        let reference = GitReference::parse(path, GitPlace::Source);
        let reference = reference.map_err(|source| RemoteError::Reference {
            reference: redacted(path),
            source,
        })?;
        let add = match (&copying.add, &reference) {
            (Some(add), _) => add,
            (None, Some(_)) => {
                return Err(ErrorKind::Value {
                    instruction: "COPY",
                    problem: "source can't be a git ref for COPY".into(),
                });
            }
            (None, None) if is_http(path) => {
                return Err(ErrorKind::Value {
                    instruction: "COPY",
                    problem: "source can't be a URL for COPY".into(),
                });
            }
            (None, None) => return Ok(None),
        };
        if checksum.is_some() && copying.sources.len() > 1 {
            return Err(refused("checksum can't be specified for multiple sources"));
        }
        if let Some(reference) = reference {
            return self.commit_provenance(add, reference, checksum).map(Some);
        }
        if !is_http(path) {
            return Ok(None);
        }
        let file = self.engine.remote_file(path, checksum)?;
        let unpack = match add.unpack {
            Some(true) => Unpack::Yes,
            _ => Unpack::No,
        };
        Ok(Some(Provenance::Download(file, unpack)))
    }

    fn commit_provenance(
        &self,
        add: &Adding<'_>,
        mut reference: GitReference,
        checksum: Option<&str>,
    ) -> Result<Provenance, ErrorKind> {
        match (add.keep_git_dir, reference.keep_git_dir) {
            (Some(one), Some(other)) if one != other => {
                return Err(refused("inconsistent keep-git-dir configuration"));
            }
            _ => {}
        }
        match (checksum, &reference.checksum) {
            (Some(one), Some(other)) if one != other => {
                return Err(refused(&format!(
                    "checksum mismatch \"{one}\" != \"{other}\""
                )));
            }
            (Some(checksum), _) => reference.checksum = Some(checksum.to_owned()),
            _ => {}
        }
        let keep = reference.keep_git_dir.or(add.keep_git_dir) == Some(true);
        let commit = self.engine.repositories().resolve(&reference)?;
        Ok(Provenance::Repository(Box::new(commit), keep))
    }

    /// What a source contributes to the key.
    pub(crate) fn provenance_digest(
        &self,
        provenance: &mut Provenance,
    ) -> Result<String, ErrorKind> {
        match provenance {
            Provenance::Files(group) => {
                let (digest, contents) = self.selection_digest(&group.source, &group.selected)?;
                group.contents = contents;
                Ok(format!("{:?} {digest}", group.unpack))
            }
            Provenance::Download(file, unpack) => {
                Ok(format!("{unpack:?} {} {}", file.digest, file.name))
            }
            Provenance::Repository(commit, keep) => {
                let source = &commit.source;
                let (directory, bare) = (&source.subdirectory, source.skip_submodules);
                let hash = &commit.hash;
                Ok(format!("git {hash} keep={keep} bare={bare} {directory:?}"))
            }
        }
    }

    /// Fetches what is not here yet.
    pub(crate) fn fetched(&self, provenance: &Provenance) -> Result<Option<Group>, ErrorKind> {
        let (source, name, path, unpack) = match provenance {
            Provenance::Files(_) => return Ok(None),
            Provenance::Download(file, unpack) => {
                let source = ContextSource::downloaded(&self.engine.downloads(), file)?;
                (
                    source,
                    format!("/{}", file.name),
                    file.digest.hex().to_owned(),
                    *unpack,
                )
            }
            Provenance::Repository(commit, keep) => {
                let checkout = self.engine.repositories().checkout(commit, *keep)?;
                let source = ContextSource::checked_out(checkout)?;
                (source, "/".to_owned(), "/".to_owned(), Unpack::No)
            }
        };
        let mut selected = source.select(&path, &Matcher::default(), Wildcards::None)?;
        for selected in &mut selected {
            selected.named = name.clone().into();
        }
        Ok(Some(Group {
            source: Arc::new(source),
            selected,
            unpack,
            pivot: 0,
            contents: Vec::new(),
        }))
    }
}

fn refused(problem: &str) -> ErrorKind {
    ErrorKind::Value {
        instruction: "ADD",
        problem: problem.to_owned(),
    }
}

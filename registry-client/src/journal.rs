//! Uploads that a later process may go on with: one file an upload, locked by who works on it.
//!
//! ```text
//! <journal>/<digest of registry/repository@digest>   the session's URL
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mica_oci::Digest;
use reqwest::Url;

/// Registries give up sessions that nobody goes on with; after that long none is left.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// The note about one upload. Without one an upload is begun anew, so errors are not reported.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens the note; `None` when another process works on the same upload.
    pub(crate) fn open(directory: &Path, name: &str) -> Option<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory).ok()?;
        remove_stale(directory);
        let path = directory.join(file_name(name));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // A session's URL lets whoever knows it write into the upload.
        let file = options.mode(0o600).open(&path).ok()?;
        file.try_lock().ok()?;
        Some(Self { file, path })
    }

    /// Forgets an upload whose blob turned out to be there.
    pub(crate) fn forget(directory: &Path, name: &str) {
        let _ = fs::remove_file(directory.join(file_name(name)));
    }

    /// Returns where an earlier process was sending to.
    pub(crate) fn session(&self) -> Option<Url> {
        let mut text = String::new();
        let mut file = &self.file;
        file.rewind().ok()?;
        file.read_to_string(&mut text).ok()?;
        Url::parse(text.trim()).ok()
    }

    /// Notes where to go on.
    pub(crate) fn note(&self, session: &Url) {
        let mut file = &self.file;
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(session.as_str().as_bytes()));
    }

    /// Gives the note the name of what the content turned out to be.
    pub(crate) fn renamed(mut self, name: &str) -> Self {
        let path = self.path.with_file_name(file_name(name));
        if fs::rename(&self.path, &path).is_ok() {
            self.path = path;
        }
        self
    }

    /// Forgets an upload that came to its end.
    pub(crate) fn close(mut self) {
        let _ = fs::remove_file(std::mem::take(&mut self.path));
    }
}

impl Drop for Journal {
    /// A note without a session, as of a blob that was mounted, is of no use to anybody.
    fn drop(&mut self) {
        let is_empty = self.file.metadata().is_ok_and(|file| file.len() == 0);
        if is_empty && !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn file_name(name: &str) -> String {
    Digest::of(name.as_bytes()).hex().to_owned()
}

fn remove_stale(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| modified.elapsed().ok());
        if age.is_some_and(|age| age > STALE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("uploads");
        let open = || Journal::open(&directory, "host/a@sha256:0");
        let url = Url::parse("http://host/v2/a/blobs/uploads/1?_state=x").unwrap();
        let journal = open().unwrap();
        assert_eq!(journal.session(), None);
        assert!(open().is_none(), "it is locked");
        drop(journal);
        assert_eq!(
            fs::read_dir(&directory).unwrap().count(),
            0,
            "nothing noted"
        );
        let journal = open().unwrap();
        journal.note(&Url::parse("http://host/a/much/longer/location/than/the/next").unwrap());
        journal.note(&url);
        drop(journal);
        let journal = open().unwrap();
        assert_eq!(journal.session(), Some(url.clone()));
        let renamed = journal.renamed("host/a@sha256:1");
        assert_eq!(open().unwrap().session(), None, "it has another name");
        let other = || Journal::open(&directory, "host/a@sha256:1");
        assert!(other().is_none(), "it is locked still");
        drop(renamed);
        let journal = other().unwrap();
        assert_eq!(journal.session(), Some(url));
        journal.close();
        assert_eq!(open().unwrap().session(), None);
    }
}

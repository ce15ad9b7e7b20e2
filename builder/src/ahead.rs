//! Finding out ahead about what instructions add from the network: all files of a stage at once, while
//! earlier steps of the stage run.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use mica_dockerfile::{AddInstruction, CopySource, InstructionKind};

use crate::engine::Engine;
use crate::error::ErrorKind;
use crate::remote::{
    Answer, Download, DownloadRequest, Downloads, GitPlace, GitReference, RemoteFile, is_http,
};
use crate::stage::StageBuild;

/// What was found out, by address; whoever asks second waits for the first.
#[derive(Default)]
pub(crate) struct Ahead(Mutex<HashMap<String, Arc<Mutex<Option<RemoteFile>>>>>);

impl Ahead {
    fn slot(&self, url: &str) -> Arc<Mutex<Option<RemoteFile>>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(url.to_owned()).or_default())
    }
}

impl StageBuild<'_, '_> {
    /// Asks for the files that the stage adds by a plain address. What fails is asked for again by the
    /// instruction, which tells.
    pub(crate) fn ask_ahead(&self) {
        for instruction in &self.source().instructions {
            let InstructionKind::Add(add) = &instruction.kind else {
                continue;
            };
            for url in plain_addresses(add) {
                let (engine, url) = (self.engine, url.to_owned());
                self.scope.spawn(move || engine.remote_file(&url, None));
            }
        }
    }
}

/// The addresses that are the same whatever the variables are. With a checksum nobody needs to be asked.
fn plain_addresses(add: &AddInstruction) -> impl Iterator<Item = &str> {
    let sources = add.sources.iter().filter(|_| add.checksum.is_none());
    sources.filter_map(|source| match source {
        CopySource::Path(path) if is_plain_file(path) => Some(path.as_str()),
        _ => None,
    })
}

fn is_plain_file(path: &str) -> bool {
    let is_file = || matches!(GitReference::parse(path, GitPlace::Source), Ok(None));
    is_http(path) && !path.contains(['$', '\\', '`']) && is_file()
}

impl Engine<'_> {
    /// Finds out what is at an address, once a build.
    pub(crate) fn remote_file(
        &self,
        url: &str,
        checksum: Option<&str>,
    ) -> Result<RemoteFile, ErrorKind> {
        let downloads = self.downloads();
        if checksum.is_some() {
            return Ok(downloads.resolve(url, checksum)?);
        }
        let slot = self.ahead.slot(url);
        let mut known = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*known {
            return Ok(file.clone());
        }
        let client = WhileWanted(self);
        let downloads = Downloads {
            client: &client,
            ..downloads
        };
        let file = downloads.resolve(url, None)?;
        Ok(known.insert(file).clone())
    }
}

/// The client, of which a download ends when the build does.
struct WhileWanted<'e>(&'e Engine<'e>);

impl Download for WhileWanted<'_> {
    fn download(
        &self,
        request: &DownloadRequest<'_>,
        content: &mut dyn Write,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let mut content = Wanted(self.0, content);
        self.0.host.download(request, &mut content)
    }
}

struct Wanted<'w>(&'w Engine<'w>, &'w mut dyn Write);

impl Write for Wanted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.is_canceled() {
            true => Err(io::Error::other("the build has ended")),
            false => self.1.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

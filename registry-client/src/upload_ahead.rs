//! A blob on its way to a registry before it is made to its end.
//!
//! ```text
//! POST ─▶ PATCH piece │ PATCH piece │ …   while it is made
//!                                     └─▶ Upload::patiently   the rest, and the digest
//! ```

use mica_oci::{ContractError, Descriptor, Growing};

use crate::RegistryError;
use crate::journal::Journal;
use crate::retry::Budget;
use crate::site::Site;
use crate::upload_session::{Session, SharedReader, Start};

/// An upload of what is not whole.
pub(crate) struct Ahead<'a, 'j> {
    site: &'a Site,
    journal: Option<&'j Journal>,
    /// Once the registry has taken its beginning: the session, and how many bytes arrived.
    taken: Option<(Session<'a>, u64)>,
    piece: u64,
}

impl<'a, 'j> Ahead<'a, 'j> {
    /// Prepares an upload. Nothing is asked before there is a piece.
    pub(crate) fn new(site: &'a Site, journal: Option<&'j Journal>) -> Self {
        Self {
            site,
            journal,
            taken: None,
            piece: site.shared.config.upload_chunk.max(1),
        }
    }

    /// Sends all whole pieces. Returns what the content turned out to be, and where to go on with
    /// it; `None` when the registry has nothing of it yet.
    ///
    /// # Errors
    /// When the content fails, or the registry does not begin an upload. One that breaks off is
    /// gone on with; what cannot be sent this way waits for the end.
    pub(crate) async fn send<G: Growing>(
        mut self,
        content: &G,
    ) -> Result<(Descriptor, Option<(Session<'a>, u64)>), ContractError> {
        let mut budget = Budget::new(self.site.policy);
        self.resume(content).await;
        loop {
            let wanted = self.sent().saturating_add(self.piece);
            match content.wait_for(wanted).await {
                Ok(Some(whole)) => return Ok((whole, self.taken)),
                Ok(None) => {}
                Err(error) => {
                    self.cancel().await;
                    return Err(error);
                }
            }
            if self.taken.is_none() {
                self.start(content).await?;
                continue;
            }
            let before = self.sent();
            let Err(error) = self.piece(content).await else {
                budget.moved(self.piece);
                continue;
            };
            // A token may run out during a long upload; the next request gets a new one.
            let again = error.is_retryable() || error.status() == Some(401);
            if !again || !budget.wait(None).await {
                self.cancel().await;
                self.piece = u64::MAX;
                continue;
            }
            self.ask().await;
            budget.moved(self.sent().saturating_sub(before));
        }
    }

    fn sent(&self) -> u64 {
        self.taken.as_ref().map_or(0, |(_, sent)| *sent)
    }

    /// Goes on with the upload of an earlier process.
    async fn resume<G: Growing>(&mut self, content: &G) {
        let earlier = self.journal.and_then(Journal::session);
        if let Some(location) = earlier.filter(|url| self.site.endpoint.owns(url)) {
            self.taken = Some((Session::at(self.site, content.origin(), location), 0));
            self.ask().await;
        }
    }

    async fn start<G: Growing>(&mut self, content: &G) -> Result<(), RegistryError> {
        if let Start::Session(session) = Session::start(self.site, content.origin(), None).await? {
            self.piece = session.piece(self.piece);
            self.taken = Some((session, 0));
            self.note();
        }
        Ok(())
    }

    async fn piece<G: Growing>(&mut self, content: &G) -> Result<(), RegistryError> {
        let Some((session, sent)) = &mut self.taken else {
            return Ok(());
        };
        let opened = content.open(*sent).await;
        let reader = opened.map_err(|error| session.unreadable(std::io::Error::other(error)))?;
        session
            .patch(*sent, self.piece, SharedReader::new(reader))
            .await?;
        *sent += self.piece;
        self.note();
        Ok(())
    }

    /// Asks how many bytes arrived. A registry that does not know any more has none.
    async fn ask(&mut self) {
        if let Some((mut session, _)) = self.taken.take() {
            let received = session.received().await;
            self.piece = session.piece(self.piece);
            self.taken = received.map(|received| (session, received));
        }
    }

    /// Gives the session back.
    async fn cancel(&mut self) {
        if let Some((session, _)) = self.taken.take() {
            session.cancel().await;
        }
    }

    fn note(&self) {
        if let (Some(journal), Some((session, _))) = (self.journal, &self.taken) {
            journal.note(session.location());
        }
    }
}

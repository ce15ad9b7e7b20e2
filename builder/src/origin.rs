//! Keys by origin: what a step copies is named by the stack it comes from, not read.
//!
//! `COPY --from=build /app /app` has two keys. One says which files there are, the other from
//! which layers they come. The second is known before anybody looks at a file, so that a step
//! which is found by it needs nothing of the other stage to be fetched or walked.

use std::sync::Arc;

use mica_dockerfile::CopySource;
use mica_oci::ChainId;

use crate::cache::Ground;
use crate::copy::{Copying, ground};
use crate::error::ErrorKind;
use crate::key::CacheKey;
use crate::seal::Seal;
use crate::stage::StageBuild;
use crate::state::StageState;
use crate::variables::expand;

/// A key by origin, which is known when the stack that files come from is sealed.
#[derive(Clone)]
pub(crate) struct OriginKey {
    /// The top of the stack; none for an empty one.
    top: Option<Seal>,
    key: Arc<dyn Fn(Option<ChainId>) -> CacheKey + Send + Sync>,
}

impl OriginKey {
    /// Returns the key if it is known. A layer that is still being hashed was made just now: nothing
    /// is known by its name.
    pub(crate) fn peek(&self) -> Option<CacheKey> {
        match &self.top {
            None => Some((self.key)(None)),
            Some(top) => top.peek().map(|sealed| (self.key)(Some(sealed.chain))),
        }
    }

    fn wait(&self) -> Result<CacheKey, ErrorKind> {
        let top = self.top.as_ref().map(Seal::wait).transpose()?;
        Ok((self.key)(top.map(|sealed| sealed.chain)))
    }
}

/// What a step is found by.
#[derive(Clone)]
pub(crate) struct StepKeys {
    /// The key that says which files went in.
    pub(crate) files: CacheKey,
    /// The one that says where they come from.
    pub(crate) origin: Option<OriginKey>,
}

impl StepKeys {
    /// Returns the keys, the one that says which files went in first; waits until they are known.
    pub(crate) fn wait(&self) -> Result<Vec<CacheKey>, ErrorKind> {
        let origin = self.origin.as_ref().map(OriginKey::wait).transpose()?;
        let files = std::iter::once(self.files.clone());
        Ok(files.chain(origin).collect())
    }
}

impl StageBuild<'_, '_> {
    /// Returns the key of a copy from another stage; `None` where the files come from elsewhere.
    pub(crate) fn copy_origin(
        &self,
        state: &StageState,
        copying: &Copying<'_>,
    ) -> Result<Option<(OriginKey, Ground)>, ErrorKind> {
        let Some(from) = copying.from else {
            return Ok(None);
        };
        let Some(index) = self.engine.copied_stage(self.stage, from)? else {
            return Ok(None);
        };
        let stage = self.other_stage(index)?;
        let expand = |word: &str| expand(word, &state.variables, self.escape());
        let mut words = Vec::new();
        for source in copying.sources {
            match source {
                CopySource::Path(path) => words.push(expand(path)?),
                CopySource::Heredoc(_) => return Ok(None),
            }
        }
        let exclude = copying.exclude.iter().map(|pattern| expand(pattern));
        let exclude = exclude.collect::<Result<Vec<_>, _>>()?;
        let written = expand(copying.destination)?;
        let owner = copying.chown.map(expand).transpose()?;
        let mode = copying.chmod.map(expand).transpose()?;
        let ground = ground(copying.link, owner.as_deref());
        let (below, destination) = (state.key.clone(), state.absolute(&written));
        let (link, parents) = (copying.link, copying.parents);
        let key = move |chain: Option<ChainId>| {
            let layers = chain.map_or_else(|| "none".to_owned(), |chain| chain.to_string());
            let key = ground
                .key("copy-from", &below)
                .text("layers", &layers)
                .list("sources", words.iter().map(String::as_str))
                .text("destination", &destination)
                .text("written", &written)
                .list("owner", owner.as_deref())
                .list("mode", mode.as_deref())
                .list("exclude", exclude.iter().map(String::as_str))
                .text("link", yes_or_no(link))
                .text("parents", yes_or_no(parents));
            key.finish()
        };
        let origin = OriginKey {
            top: stage.layers.last().map(|top| top.seal.clone()),
            key: Arc::new(key),
        };
        Ok(Some((origin, ground)))
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

//! Keys by origin: what a step copies is named by the stack it comes from, not read.
//!
//! `COPY --from=build /app /app` has two keys. One says which files there are, the other from
//! which layers they come. The second is known before anybody looks at a file, so that a step
//! which is found by it needs nothing of the other stage to be fetched or walked.

use mica_dockerfile::CopySource;
use mica_oci::ChainId;

use crate::cache::Ground;
use crate::copy::{Copying, ground};
use crate::error::ErrorKind;
use crate::key::CacheKey;
use crate::stage::StageBuild;
use crate::state::StageState;
use crate::variables::expand;

impl StageBuild<'_, '_> {
    /// Returns the key of a copy from another stage or image; `None` where its layers are not
    /// known by name (yet), or the files come from a context.
    pub(crate) fn copy_origin(
        &self,
        state: &StageState,
        copying: &Copying<'_>,
    ) -> Result<Option<(CacheKey, Ground)>, ErrorKind> {
        let Some(chain) = copying
            .from
            .map(|from| self.origin(from))
            .transpose()?
            .flatten()
        else {
            return Ok(None);
        };
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
        let yes_or_no = |yes: bool| if yes { "yes" } else { "no" };
        let ground = ground(copying.link, owner.as_deref());
        let key = ground
            .key("copy-from", &state.key)
            .text("layers", &chain)
            .list("sources", words.iter().map(String::as_str))
            .text("destination", &state.absolute(&written))
            .text("written", &written)
            .list("owner", owner.as_deref())
            .list("mode", mode.as_deref())
            .list("exclude", exclude.iter().map(String::as_str))
            .text("link", yes_or_no(copying.link))
            .text("parents", yes_or_no(copying.parents));
        Ok(Some((key.finish(), ground)))
    }

    /// Names the layers of a stage or image by their chain ID.
    fn origin(&self, from: &str) -> Result<Option<String>, ErrorKind> {
        let named = |chain: Option<ChainId>| {
            chain.map_or_else(|| "none".to_owned(), |chain| chain.to_string())
        };
        let Some(index) = self.engine.copied_stage(self.stage, from)? else {
            return Ok(None);
        };
        let stage = self.other_stage(index)?;
        match stage.layers.last() {
            None => Ok(Some(named(None))),
            // A layer that is still being hashed was made just now: nothing is known of it.
            Some(top) => Ok(top.seal.peek().map(|sealed| named(Some(sealed.chain)))),
        }
    }
}

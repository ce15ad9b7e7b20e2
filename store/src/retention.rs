//! Forgetting results of earlier builds.

use crate::collect::BUILD;
use crate::{CacheUsage, Store, StoreError};

impl Store {
    /// Forgets the results of earlier builds that were not used since a moment, in seconds since
    /// 1970, or all of them; returns them. Their layers go with the next collection.
    pub fn forget_builds(&self, used_since: Option<i64>) -> Result<Vec<CacheUsage>, StoreError> {
        let mut cache = self.usage()?.cache;
        cache.retain(|entry| used_since.is_none_or(|moment| entry.last_used < moment));
        for entry in &cache {
            self.records().remove(BUILD, &entry.key)?;
        }
        Ok(cache)
    }
}

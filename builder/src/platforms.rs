//! One Dockerfile for several platforms: a build each, side by side.

use std::sync::atomic::{AtomicBool, Ordering};

use mica_oci::Platform;
use mica_store::Store;

use crate::engine::{Built, build_one};
use crate::error::{BuildError, ErrorKind};
use crate::request::{BaseImages, BuildRequest};
use crate::slots::{Limits, Slots};

/// What the builds of several platforms share.
pub(crate) struct Shared {
    /// How many platforms are built.
    pub(crate) platforms: usize,
    /// How many commands may run at once, whichever platform they are for.
    pub(crate) slots: Slots,
    /// Whether the build for some platform failed, so that nothing new is begun.
    pub(crate) canceled: AtomicBool,
}

/// Builds `request` for each platform into `store`. The images have no names yet; whoever names
/// them keeps them.
///
/// Steps of earlier builds are reused; a build that fails keeps the steps that it finished. Of
/// several platforms the first failure is returned, with its platform.
pub fn build(
    store: &Store,
    request: &BuildRequest,
    platforms: &[Platform],
    host: &dyn BaseImages,
) -> Result<Vec<Built>, BuildError> {
    let shared = Shared {
        platforms: platforms.len(),
        slots: Slots::new(Limits::of(&request.sandbox)),
        canceled: AtomicBool::new(false),
    };
    let one = |platform: &Platform| {
        let request = BuildRequest {
            platform: platform.clone(),
            ..request.clone()
        };
        let built = build_one(store, &request, host, &shared);
        if built.is_err() {
            shared.canceled.store(true, Ordering::Relaxed);
        }
        built
    };
    let (one, shared) = (&one, &shared);
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = platforms
            .iter()
            .map(|platform| scope.spawn(move || one(platform)))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.collect()
    });
    let several = shared.platforms > 1;
    let failed = results.iter().position(is_failure);
    let failed = failed.or_else(|| results.iter().position(Result::is_err));
    let named = |platform: &Platform| several.then(|| Box::new(platform.clone()));
    let mut built = Vec::with_capacity(results.len());
    for (index, (result, platform)) in results.into_iter().zip(platforms).enumerate() {
        match result {
            Ok(one) => built.push(one),
            Err(error) if failed == Some(index) => {
                let platform = named(platform);
                return Err(BuildError { platform, ..error });
            }
            Err(_) => {}
        }
    }
    Ok(built)
}

/// Tells whether a build failed by itself, not because another one did.
fn is_failure(result: &Result<Built, BuildError>) -> bool {
    matches!(result, Err(error) if !matches!(error.kind, ErrorKind::Canceled(_)))
}

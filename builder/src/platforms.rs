//! One Dockerfile for several platforms: a build each, side by side.

use std::sync::atomic::{AtomicBool, Ordering};

use mica_oci::Platform;
use mica_store::Store;

use crate::engine::{Built, build_one};
use crate::error::{BuildError, ErrorKind};
use crate::exchange::{Ending, Exports};
use crate::ledger::finish_exports;
use crate::request::{BaseImages, BuildRequest};
use crate::slots::{Limits, Slots};

/// What the builds of several platforms share.
pub(crate) struct Shared {
    /// How many platforms are built.
    pub(crate) platforms: usize,
    /// How many commands may run at once, whichever platform they are for.
    pub(crate) slots: Slots,
    /// Where the steps of all of them go.
    pub(crate) exports: Exports,
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
        exports: Exports::start(store, host.cache_exports()),
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
    let results = side_by_side(platforms, &one);
    let ending = match results.iter().all(Result::is_ok) {
        true => Ending::Complete,
        false => Ending::Failed,
    };
    let exported = finish_exports(shared.exports, host, ending, &platforms[0]);
    let built = all_built(results, platforms)?;
    exported.map_err(|error| error.at(None))?;
    Ok(built)
}

/// Builds for each platform on a thread of its own.
fn side_by_side(
    platforms: &[Platform],
    one: &(impl Fn(&Platform) -> Result<Built, BuildError> + Sync),
) -> Vec<Result<Built, BuildError>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = platforms
            .iter()
            .map(|platform| scope.spawn(move || one(platform)))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.collect()
    })
}

/// Returns what was built, or the first failure with its platform.
fn all_built(
    results: Vec<Result<Built, BuildError>>,
    platforms: &[Platform],
) -> Result<Vec<Built>, BuildError> {
    let several = platforms.len() > 1;
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

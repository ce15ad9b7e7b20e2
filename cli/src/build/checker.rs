//! The checks of a build: what they ask for, and who answers.

use std::collections::BTreeMap;

use mica_builder::{BuildRequest, NamedContext, predefined_arguments};
use mica_dockerfile::check::{
    BaseImage, CheckReport, CheckRequest, Facts, ImageFacts, PlatformName, Reach, check,
};
use mica_dockerfile::ignore::{Matcher, read};
use mica_dockerfile::parse_partial;
use mica_oci::{ImageConfig, Platform, Reference, ReferenceError};
use mica_registry_client::{Actions, ConnectFailure, Registry, RegistryError};
use mica_store::Store;

use super::metadata::image_configuration;
use crate::failure::Failure;
use crate::session::Session;

/// Who is asked for base images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Only the store; what it does not have is unknown.
    Store,
    /// The store, then the registry.
    Registry,
}

/// Runs the checks for a build.
pub(crate) struct Checker<'c> {
    /// The build.
    pub(crate) request: &'c BuildRequest,
    /// Where images are looked for.
    pub(crate) store: &'c Store,
    /// The way to registries.
    pub(crate) session: &'c Session,
    /// Who is asked for base images.
    pub(crate) ask: Ask,
}

impl Checker<'_> {
    /// Checks the Dockerfile.
    pub(crate) fn check(&self, reach: Reach) -> CheckReport {
        let request = self.request;
        let (dockerfile, _) = parse_partial(&request.dockerfile.text);
        let predefined: Vec<_> = predefined_arguments(request, &dockerfile)
            .into_iter()
            .collect();
        let ignore = request.ignore.as_ref();
        let ignore = ignore.and_then(|source| Matcher::from_lines(&read(&source.text)).ok());
        let image = |name: &str, platform: Option<&str>| self.image(name, platform);
        let replaced = |name: &str| is_replaced(&request.named_contexts, name);
        check(
            &request.dockerfile.text,
            &CheckRequest {
                build_args: &request.build_args,
                predefined: &predefined,
                target: request.target.as_deref(),
                reach,
                ignore: ignore.as_ref(),
                facts: Facts {
                    reference: &reference_problem,
                    platform: &platform_name,
                    image: &image,
                    replaced: &replaced,
                },
            },
        )
    }

    fn image(&self, name: &str, platform: Option<&str>) -> BaseImage {
        let wanted = platform.and_then(|text| text.parse().ok());
        let wanted = wanted.unwrap_or_else(|| self.request.platform.clone());
        let Ok(reference) = name.parse::<Reference>() else {
            return BaseImage::Unknown;
        };
        match self.stored(&reference, &wanted) {
            Some(facts) => BaseImage::Known(facts),
            None if self.ask == Ask::Store => BaseImage::Unknown,
            None => self.remote(&reference, &wanted),
        }
    }

    fn stored(&self, reference: &Reference, wanted: &Platform) -> Option<ImageFacts> {
        let target = self.store.resolve_tag(reference).ok()??;
        let image = self.store.image(&target, Some(wanted)).ok();
        // An image for another platform only is what the build would take, with a warning.
        let image = image.or_else(|| self.store.image(&target, None).ok())?;
        Some(image_facts(image.config.value(), wanted))
    }

    /// Asks the registry; where none answers, nothing is known.
    fn remote(&self, reference: &Reference, wanted: &Platform) -> BaseImage {
        let fetched = self.session.registry().and_then(|registry: Registry| {
            let repository = registry.repository(reference, Actions::Pull);
            let found = image_configuration(&repository, reference, wanted);
            self.session.block_on(found)?.map_err(Failure::from)
        });
        match fetched {
            Ok(config) => BaseImage::Known(image_facts(&config, wanted)),
            Err(failure) if is_out_of_reach(&failure) => {
                let text = format!(
                    "cannot reach the registry of {}: what depends on it is not checked",
                    reference.familiar()
                );
                self.session.printer.warning(&text);
                BaseImage::Unknown
            }
            Err(failure) => BaseImage::Missing(format!("{reference}: {}", innermost(&failure))),
        }
    }
}

/// Tells whether `--build-context` gives an image or stage of that name another meaning.
fn is_replaced(contexts: &BTreeMap<String, NamedContext>, name: &str) -> bool {
    contexts.contains_key(name)
        || name.parse::<Reference>().is_ok_and(|reference| {
            let known = [
                reference.to_string(),
                reference.familiar(),
                reference.familiar_repository(),
            ];
            known.iter().any(|name| contexts.contains_key(name))
        })
}

/// Says in docker's words what is wrong with an image's name.
fn reference_problem(text: &str) -> Result<(), String> {
    match text.parse::<Reference>() {
        Ok(_) => Ok(()),
        Err(ReferenceError::UpperCase { repository }) => Err(format!(
            "invalid reference format: repository name ({repository}) must be lowercase"
        )),
        Err(_) => Err("invalid reference format".to_owned()),
    }
}

fn platform_name(text: &str) -> Result<PlatformName, String> {
    let platform = text
        .parse::<Platform>()
        .map_err(|error| error.to_string())?;
    Ok(PlatformName {
        os: platform.os,
        architecture: platform.architecture,
    })
}

fn image_facts(config: &ImageConfig, wanted: &Platform) -> ImageFacts {
    let own = config.platform();
    let same = own.os == wanted.os && own.architecture == wanted.architecture;
    let split = |entry: &String| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.to_owned(), value.to_owned())
    };
    let shell = config.config.shell.as_ref();
    ImageFacts {
        environment: config.config.env.iter().map(split).collect(),
        has_shell: shell.is_some_and(|words| !words.is_empty()),
        working_directory: config.config.working_dir.clone(),
        on_build: config.config.on_build.clone(),
        other_platform: (!same).then(|| (own.to_string(), wanted.to_string())),
    }
}

/// Tells whether no registry answered at all.
fn is_out_of_reach(failure: &Failure) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(failure.error.as_ref());
    while let Some(error) = cause {
        let boxed = error.downcast_ref::<Box<RegistryError>>().map(Box::as_ref);
        if let Some(RegistryError::Connect { failure, .. }) = error.downcast_ref().or(boxed) {
            return *failure != ConnectFailure::Broken;
        }
        cause = error.source();
    }
    false
}

fn innermost(failure: &Failure) -> String {
    let mut error: &dyn std::error::Error = failure.error.as_ref();
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

//! `ps --filter`.

use mica_container::Summary;
use mica_oci::{DiffId, Digest};
use mica_store::{Image, Store};

use super::filter::Filters;
use crate::failure::{CliError, Failure};

/// The filters of `ps`.
const KNOWN: &[&str] = &[
    "name", "status", "id", "label", "ancestor", "exited", "network", "volume",
];

/// Docker's states; those that there are not here match nothing.
const STATES: &[&str] = &[
    "created",
    "restarting",
    "running",
    "removing",
    "paused",
    "exited",
    "dead",
];

/// Which containers are shown.
pub(super) struct PsFilter {
    filters: Filters,
    /// The images that `ancestor` names.
    ancestors: Vec<Ancestor>,
    /// The codes that `exited` names.
    exit_codes: Vec<u8>,
    /// The images of the store, for `ancestor`.
    store: Store,
}

/// An image that containers may come from.
struct Ancestor {
    id: Digest,
    layers: Vec<DiffId>,
}

impl PsFilter {
    pub(super) fn parse(texts: &[String], store: &Store) -> Result<Self, Failure> {
        let filters = Filters::parse(texts, KNOWN)?;
        let invalid = |key: &str, value: &str| CliError::Filter {
            filter: format!("{key}={value}"),
        };
        if let Some(state) = filters.all("status").find(|state| !STATES.contains(state)) {
            return Err(invalid("status", state).into());
        }
        let code = |value: &str| value.parse().map_err(|_| invalid("exited", value));
        let exit_codes = filters.all("exited").map(code).collect::<Result<_, _>>()?;
        // An image that there is not has no containers.
        let images = filters
            .all("ancestor")
            .filter_map(|name| store.find(name).ok());
        let ancestors = images.map(|image| Ancestor::of(&image)).collect();
        Ok(Self {
            filters,
            ancestors,
            exit_codes,
            store: store.clone(),
        })
    }

    /// Tells whether states are asked for: then containers that do not run are shown as well.
    pub(super) fn names_states(&self) -> bool {
        self.filters.get("status").is_some()
    }

    pub(super) fn accepts(&self, container: &Summary) -> bool {
        let filters = &self.filters;
        filters.any("name", |pattern| matches_name(pattern, &container.name))
            && filters.any("status", |state| container.state.status.as_str() == state)
            && filters.any("id", |prefix| container.id.as_str().starts_with(prefix))
            && filters.any("network", |network| container.network == network)
            && filters.any("volume", |volume| {
                container.mounts.iter().any(|mount| mount == volume)
            })
            && filters.match_labels(&container.labels)
            && self.accepts_exit(container)
            && self.accepts_image(container)
    }

    fn accepts_exit(&self, container: &Summary) -> bool {
        let state = &container.state;
        self.exit_codes.is_empty()
            || (state.status == mica_container::Status::Exited
                && self.exit_codes.contains(&state.exit_code))
    }

    fn accepts_image(&self, container: &Summary) -> bool {
        if self.filters.get("ancestor").is_none() {
            return true;
        }
        let image = self.store.find(container.image.as_str()).ok();
        let layers = image
            .map(|image| Ancestor::of(&image).layers)
            .unwrap_or_default();
        self.ancestors.iter().any(|ancestor| {
            let is_below = !ancestor.layers.is_empty() && layers.starts_with(&ancestor.layers);
            ancestor.id == container.image || is_below
        })
    }
}

impl Ancestor {
    fn of(image: &Image) -> Self {
        let layers = image.config.value().rootfs.diff_ids.clone();
        Self {
            id: image.id().clone(),
            layers,
        }
    }
}

/// A part of the name; `^` and `$` tie it to the beginning and the end, as in a regular
/// expression, which docker takes here. Names may be written with a slash in front.
fn matches_name(pattern: &str, name: &str) -> bool {
    let (start, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (end, text) = match rest.strip_suffix('$') {
        Some(text) => (true, text),
        None => (false, rest),
    };
    let text = text.strip_prefix('/').unwrap_or(text);
    match (start, end) {
        (true, true) => name == text,
        (true, false) => name.starts_with(text),
        (false, true) => name.ends_with(text),
        (false, false) => name.contains(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(matches_name(pattern, name), expected, "{pattern} {name}");
        };
        check("web", "my-web-1", true);
        check("^web", "my-web-1", false);
        check("^/web$", "web", true);
        check("1$", "my-web-1", true);
        check("^web$", "web2", false);
        check("nothing", "web", false);
    }
}

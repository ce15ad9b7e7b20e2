//! Annotations: `--annotation` and the attributes of `--output`.

use std::collections::BTreeMap;

use mica_oci::Platform;

use crate::failure::CliError;

/// What annotations are put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An image's manifest.
    Manifest,
    /// The index of several platforms.
    Index,
    /// A manifest's descriptor, in an index or a layout.
    ManifestDescriptor,
    /// The index's descriptor, in a layout.
    IndexDescriptor,
}

/// Annotations with the places that they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Annotations(Vec<Annotation>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Annotation {
    place: Place,
    platform: Option<Platform>,
    key: String,
    value: String,
}

impl Place {
    fn of(text: &str) -> Option<Self> {
        match text {
            "manifest" => Some(Self::Manifest),
            "index" => Some(Self::Index),
            "manifest-descriptor" => Some(Self::ManifestDescriptor),
            "index-descriptor" => Some(Self::IndexDescriptor),
            _ => None,
        }
    }
}

impl Annotations {
    /// Reads `--annotation`: `[TYPE[[PLATFORM]][,TYPE…]:]KEY=VALUE`.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, CliError> {
        let mut annotations = Self::default();
        for text in texts.iter().filter(|text| !text.is_empty()) {
            annotations
                .take_flag(text)
                .map_err(|message| CliError::Arguments { message })?;
        }
        Ok(annotations)
    }

    fn take_flag(&mut self, text: &str) -> Result<(), String> {
        let Some((key, value)) = text.split_once('=') else {
            return Err(format!("invalid annotation \"{text}\", expected key=value"));
        };
        let Some((types, key)) = key.split_once(':') else {
            self.push(Place::Manifest, None, key, value);
            return Ok(());
        };
        for kind in types.split(',') {
            let (name, platform) = split_platform(kind)?;
            let Some(place) = Place::of(name) else {
                return Err(format!("unknown annotation type \"{name}\""));
            };
            self.push(place, platform, key, value);
        }
        Ok(())
    }

    /// Takes an attribute such as `annotation-index.KEY` or `annotation[linux/arm64].KEY`; tells
    /// whether it is one.
    pub(super) fn take_attribute(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let Some(rest) = name.strip_prefix("annotation") else {
            return Ok(false);
        };
        let end = match rest.find('[') {
            Some(open) if !rest[..open].contains('.') => {
                let close = rest.find(']');
                close.ok_or_else(|| format!("invalid annotation {name}"))?
            }
            _ => 0,
        };
        let Some(dot) = rest[end..].find('.') else {
            return Ok(false);
        };
        let (kind, key) = (&rest[..end + dot], &rest[end + dot + 1..]);
        let (place, platform) = split_platform(kind)?;
        let place = match place.strip_prefix('-') {
            None if place.is_empty() => Some(Place::Manifest),
            None => None,
            Some(place) => Place::of(place),
        };
        let Some(place) = place else {
            return Ok(false);
        };
        self.push(place, platform, key, value);
        Ok(true)
    }

    fn push(&mut self, place: Place, platform: Option<Platform>, key: &str, value: &str) {
        self.0.push(Annotation {
            place,
            platform,
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }

    /// Adds others, which win.
    pub(crate) fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }

    /// Returns those of a place, for a platform where it is one's own.
    pub(crate) fn at(&self, place: Place, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let fits = |annotation: &&Annotation| {
            let own = annotation.platform.as_ref();
            annotation.place == place && (own.is_none() || own == platform)
        };
        let found = self.0.iter().filter(fits);
        found
            .map(|annotation| (annotation.key.clone(), annotation.value.clone()))
            .collect()
    }

    /// Tells whether something is meant for an index.
    pub(crate) fn needs_index(&self) -> bool {
        let of_index = |annotation: &Annotation| {
            matches!(annotation.place, Place::Index | Place::IndexDescriptor)
        };
        self.0.iter().any(of_index)
    }
}

/// Splits `TYPE[PLATFORM]`.
fn split_platform(text: &str) -> Result<(&str, Option<Platform>), String> {
    let Some((name, rest)) = text.split_once('[') else {
        return Ok((text, None));
    };
    let platform = rest.strip_suffix(']').ok_or_else(|| {
        format!(
            "invalid annotation type, expected type and optional platform in square brackets, \
             got \"{text}\""
        )
    })?;
    let platform = platform.parse::<Platform>();
    Ok((name, Some(platform.map_err(|error| error.to_string())?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Annotations {
        Annotations::parse(&[text.to_owned()]).expect(text)
    }

    #[test]
    fn flags_say_where() {
        let arm: Platform = "linux/arm64".parse().expect("it is one");
        let amd: Platform = "linux/amd64".parse().expect("it is one");
        let one = |value: &str| BTreeMap::from([("k".to_owned(), value.to_owned())]);
        assert_eq!(of("k=v").at(Place::Manifest, Some(&arm)), one("v"));
        assert_eq!(of("k=v").at(Place::Index, None), BTreeMap::new());
        let both = of("index,manifest[linux/arm64]:k=v:w=x");
        assert_eq!(both.at(Place::Index, None), one("v:w=x"));
        assert_eq!(both.at(Place::Manifest, Some(&arm)), one("v:w=x"));
        assert_eq!(both.at(Place::Manifest, Some(&amd)), BTreeMap::new());
        assert!(both.needs_index() && !of("manifest-descriptor:k=v").needs_index());
    }

    #[test]
    fn attributes_say_where() {
        let mut annotations = Annotations::default();
        for name in [
            "annotation.org.x",
            "annotation-index.org.x",
            "annotation-manifest-descriptor[linux/arm64].org.x",
        ] {
            assert_eq!(annotations.take_attribute(name, "v"), Ok(true), "{name}");
        }
        let arm = "linux/arm64".parse().expect("it is one");
        assert!(annotations.at(Place::Manifest, None).contains_key("org.x"));
        assert!(annotations.at(Place::Index, None).contains_key("org.x"));
        let place = Place::ManifestDescriptor;
        assert!(annotations.at(place, Some(&arm)).contains_key("org.x"));
        for other in ["annotation", "annotation-nothing.x", "compression"] {
            assert_eq!(annotations.take_attribute(other, "v"), Ok(false), "{other}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, reason) in [
            ("k", "invalid annotation \"k\", expected key=value"),
            ("layer:k=v", "unknown annotation type \"layer\""),
            ("manifest[linux:k=v", "expected type and optional platform"),
        ] {
            let error = Annotations::parse(&[text.to_owned()]).expect_err(text);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}

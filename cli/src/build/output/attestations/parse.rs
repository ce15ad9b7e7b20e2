//! `--attest`, `--provenance` and `--sbom`.

use super::super::parse::{boolean, unknown_attribute};
use super::{Attestations, Mode, Provenance};
use crate::failure::CliError;

/// What the attributes of a bill of materials are called.
const OF_BILL: [&str; 3] = ["type", "disabled", "generator"];

/// What a provenance's attributes are called.
const OF_PROVENANCE: [&str; 7] = [
    "type",
    "disabled",
    "mode",
    "version",
    "builder-id",
    "reproducible",
    "inline-only",
];

/// The two kinds that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bill,
    Provenance,
}

impl Attestations {
    /// Reads the flags; of two about the same the later counts, and the short ones come last.
    pub(in crate::build::output) fn parse(
        attest: &[String],
        provenance: Option<&str>,
        sbom: Option<&str>,
    ) -> Result<Self, CliError> {
        let long = attest.iter().map(|value| ("--attest", None, &**value));
        let short = [
            ("--provenance", Some(Kind::Provenance), provenance),
            ("--sbom", Some(Kind::Bill), sbom),
        ];
        let short = short
            .into_iter()
            .filter_map(|(flag, kind, value)| Some((flag, kind, value?)));
        let mut all = Self::default();
        for (flag, kind, value) in long.chain(short) {
            all.add(kind, value).map_err(|reason| CliError::FlagValue {
                flag,
                value: value.to_owned(),
                reason,
            })?;
        }
        Ok(all)
    }

    /// Adds what a flag says; a short one says the kind.
    fn add(&mut self, short: Option<Kind>, text: &str) -> Result<(), String> {
        let mut kind = short;
        let mut is_wanted = true;
        let mut attributes = Vec::new();
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", name)) => kind = Some(kind_of(name)?),
                Some(("disabled", value)) => is_wanted = !boolean("disabled", value)?,
                Some(attribute) => attributes.push(attribute),
                // `--sbom`, `--sbom=false`.
                None if short.is_some() => is_wanted = boolean("it", field)?,
                None => return Err(format!("`{field}` has no value")),
            }
        }
        match kind {
            None => return Err("type=sbom or type=provenance is missing".to_owned()),
            Some(Kind::Bill) => {
                attributes.into_iter().try_for_each(check_scanner)?;
                self.bill = is_wanted;
            }
            Some(Kind::Provenance) => {
                let mut provenance = Provenance::default();
                for (name, value) in attributes {
                    provenance.set(name, value)?;
                }
                self.provenance = is_wanted.then_some(provenance);
            }
        }
        Ok(())
    }
}

fn kind_of(name: &str) -> Result<Kind, String> {
    match name {
        "sbom" => Ok(Kind::Bill),
        "provenance" => Ok(Kind::Provenance),
        _ => Err(format!(
            "unknown attestation type {name}: there are sbom and provenance"
        )),
    }
}

/// Images are scanned here, by no image that does it.
fn check_scanner((name, value): (&str, &str)) -> Result<(), String> {
    match (name, value) {
        ("generator", "") => Ok(()),
        ("generator", _) => {
            Err("mica finds the packages itself and runs no generator: leave it out".to_owned())
        }
        _ => Err(unknown_attribute(name, OF_BILL)),
    }
}

impl Provenance {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match (name, value) {
            ("mode", "min") => self.mode = Mode::Min,
            ("mode", "max") => self.mode = Mode::Max,
            ("mode", _) => return Err(format!("mode is min or max, not {value}")),
            ("version", "v1") => {}
            ("version", _) => {
                return Err(format!(
                    "SLSA provenance is written in version v1, not {value}"
                ));
            }
            ("builder-id", _) => self.builder = Some(value.to_owned()),
            ("reproducible", _) => self.reproducible = boolean(name, value)?,
            // It is never in anything but an image.
            ("inline-only", _) => drop(boolean(name, value)?),
            _ => return Err(unknown_attribute(name, OF_PROVENANCE)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(
        attest: &[&str],
        provenance: Option<&str>,
        sbom: Option<&str>,
    ) -> Result<Attestations, String> {
        let attest: Vec<String> = attest.iter().map(|text| (*text).to_owned()).collect();
        Attestations::parse(&attest, provenance, sbom).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_are_read() {
        let told = |mode, builder: Option<&str>, reproducible| {
            Some(Provenance {
                mode,
                builder: builder.map(str::to_owned),
                reproducible,
            })
        };
        let cases = [
            (parse(&[], None, None), false, None),
            (parse(&[], Some("false"), Some("0")), false, None),
            (
                parse(&[], Some("true"), Some("true")),
                true,
                told(Mode::Min, None, false),
            ),
            (
                parse(&["type=sbom", "type=provenance,disabled=true"], None, None),
                true,
                None,
            ),
            (
                parse(&[], Some("mode=max,builder-id=https://ci/7"), None),
                false,
                told(Mode::Max, Some("https://ci/7"), false),
            ),
            (
                parse(
                    &["mode=max,type=provenance,reproducible=1,version=v1"],
                    None,
                    None,
                ),
                false,
                told(Mode::Max, None, true),
            ),
            (
                parse(&["type=sbom,generator="], None, Some("false")),
                false,
                None,
            ),
        ];
        for (number, (parsed, bill, provenance)) in cases.into_iter().enumerate() {
            let expected = Attestations { bill, provenance };
            assert_eq!(parsed, Ok(expected), "case {number}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (parse(&["mode=max"], None, None), "is missing"),
            (parse(&["type=signature"], None, None), "type signature"),
            (parse(&["type=sbom,generator=x"], None, None), "generator"),
            (parse(&["type=sbom,mode=max"], None, None), "attribute mode"),
            (parse(&["sbom"], None, None), "`sbom` has no value"),
            (parse(&[], Some("maximum"), None), "maximum"),
            (parse(&[], Some("mode=all"), None), "not all"),
            (parse(&[], Some("version=v0.2"), None), "not v0.2"),
        ];
        for (parsed, part) in cases {
            let error = parsed.unwrap_err();
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }
}

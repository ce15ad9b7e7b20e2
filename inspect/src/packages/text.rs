//! Databases and manifests that are text.

use std::collections::HashMap;

use serde_json::Value;

use super::{Ecosystem, Package};

/// The fields of a paragraph of `Name: value` lines; what continues a field is left out.
fn fields(paragraph: &str) -> HashMap<&str, &str> {
    let lines = paragraph
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']));
    let pairs = lines.filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name, value.trim())).collect()
}

/// Reads `/var/lib/dpkg/status`: what is installed, not what was.
pub(super) fn dpkg(text: &str) -> Vec<Package> {
    let package = |paragraph: &str| {
        let fields = fields(paragraph);
        let get = |name| fields.get(name).copied().unwrap_or_default();
        let is_installed = fields
            .get("Status")
            .is_none_or(|status| status.ends_with(" installed"));
        let package = Package::new(Ecosystem::Dpkg, get("Package"), get("Version"))?;
        is_installed.then(|| Package {
            architecture: get("Architecture").to_owned(),
            ..package
        })
    };
    text.split("\n\n").filter_map(package).collect()
}

/// Reads `/lib/apk/db/installed`: `P:` name, `V:` version, `A:` architecture, `L:` licence.
pub(super) fn apk(text: &str) -> Vec<Package> {
    let package = |paragraph: &str| {
        let fields = fields(paragraph);
        let get = |name| fields.get(name).copied().unwrap_or_default();
        Package::new(Ecosystem::Apk, get("P"), get("V")).map(|package| Package {
            architecture: get("A").to_owned(),
            license: get("L").to_owned(),
            ..package
        })
    };
    text.split("\n\n").filter_map(package).collect()
}

/// Reads `METADATA` or `PKG-INFO`; the names are those of PEP 566.
pub(super) fn python(text: &str) -> Vec<Package> {
    let fields = fields(text.split("\n\n").next().unwrap_or_default());
    let get = |name| fields.get(name).copied().unwrap_or_default();
    let license = [get("License-Expression"), get("License")];
    let license = license.into_iter().find(|text| !text.is_empty());
    let package = Package::new(Ecosystem::Python, get("Name"), get("Version"));
    let package = package.map(|package| Package {
        license: license.unwrap_or_default().to_owned(),
        ..package
    });
    package.into_iter().collect()
}

/// Reads `package.json`.
pub(super) fn npm(text: &str) -> Vec<Package> {
    let Ok(manifest) = serde_json::from_str::<Value>(text) else {
        return Vec::new();
    };
    let get = |name: &str| manifest[name].as_str().unwrap_or_default();
    let package = Package::new(Ecosystem::Npm, get("name"), get("version"));
    let package = package.map(|package| Package {
        license: get("license").to_owned(),
        ..package
    });
    package.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(packages: &[Package], expected: &[&str]) {
        let shown = packages.iter().map(|package| {
            let Package {
                name,
                version,
                architecture,
                license,
                ..
            } = package;
            format!("{name} {version} {architecture} {license}")
                .trim()
                .to_owned()
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn databases_are_read() {
        let status = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2-3\n\
                      Description: x\n Version: 9\n\nPackage: gone\nStatus: deinstall ok config-files\n\
                      Version: 1\n\nPackage: distroless\nVersion: 4\n";
        check(&dpkg(status), &["a 1:2-3 amd64", "distroless 4"]);
        check(
            &apk("C:Q1\nP:musl\nV:1.2-r3\nA:x86_64\nL:MIT\n\nF:lib\n"),
            &["musl 1.2-r3 x86_64 MIT"],
        );
        let metadata =
            "Metadata-Version: 2.1\nName: Flask\nVersion: 3.0\nLicense: BSD\n\nVersion: no\n";
        check(&python(metadata), &["Flask 3.0  BSD"]);
        check(
            &npm(r#"{"name":"@a/b","version":"1.0.0","license":"ISC"}"#),
            &["@a/b 1.0.0  ISC"],
        );
        check(&npm(r#"{"name":"x"}"#), &[]);
        check(&npm("{"), &[]);
    }
}

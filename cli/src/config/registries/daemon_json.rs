//! Docker's `daemon.json`: mirrors of the hub, insecure registries, proxies.

use std::path::Path;

use serde::Deserialize;

use super::{Registries, parse_mirror, read_text};
use crate::failure::CliError;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    registry_mirrors: Vec<String>,
    insecure_registries: Vec<String>,
    proxies: Proxies,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Proxies {
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    no_proxy: Option<String>,
}

/// The daemon's mirrors are the hub's alone.
const HUB: &str = "docker.io";

pub(super) fn read(path: &Path, all: &mut Registries) -> Result<(), CliError> {
    let Some(text) = read_text(path)?.filter(|text| !text.trim().is_empty()) else {
        return Ok(());
    };
    let file: File = serde_json::from_str(&text).map_err(|source| CliError::Configuration {
        path: path.to_owned(),
        source,
    })?;
    let by = path.display().to_string();
    for mirror in &file.registry_mirrors {
        all.add_mirror(HUB, parse_mirror(path, mirror)?, &by);
    }
    for host in &file.insecure_registries {
        let bare = host
            .strip_prefix("http://")
            .or_else(|| host.strip_prefix("https://"));
        all.add_insecure(bare.unwrap_or(host), &by);
    }
    let Proxies {
        http_proxy,
        https_proxy,
        no_proxy,
    } = file.proxies;
    let named = [
        ("http", http_proxy),
        ("https", https_proxy),
        ("no", no_proxy),
    ];
    for (name, value) in named {
        all.proxies.extend(value.map(|value| (name, value)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_about_registries_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.json");
        let text = r#"{"data-root": "/x", "registry-mirrors": ["http://m:5000/"],
            "insecure-registries": ["10.0.0.0/8", "http://h:1"], "proxies": {"no-proxy": "a"}}"#;
        std::fs::write(&path, text).unwrap();
        let mut all = Registries::default();
        read(&path, &mut all).unwrap();
        assert_eq!(all.names["docker.io"].mirrors[0].value.host, "m:5000");
        let insecure: Vec<_> = all.insecure.keys().map(String::as_str).collect();
        assert_eq!(insecure, ["10.0.0.0/8", "h:1"]);
        assert_eq!(all.proxies["no"], "a");
        std::fs::write(&path, "{").unwrap();
        assert!(read(&path, &mut all).is_err());
    }
}

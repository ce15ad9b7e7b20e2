//! `RUN --device`: devices of the Container Device Interface.
//!
//! Specifications are JSON files in `/etc/cdi` and `/var/run/cdi`; the latter's devices go before.
//! Source: the CDI specification, `SPEC.md`, version 1.0; the ways to name devices and the
//! annotations are BuildKit's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mica_dockerfile::Device as Asked;
use mica_oci::{Access, Mount};
use serde::Deserialize;

use crate::error::ErrorKind;
use crate::request::Entitlements;
use crate::run::bind;

/// Where specifications are; a later one's devices replace those of the same name.
const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The annotation that puts a device into a class of devices that can stand for each other.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
/// The annotation of a device that any build may use.
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// What a step gets of its devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DeviceEdits {
    /// The full names, for the key.
    pub(crate) names: Vec<String>,
    /// `NAME=value`.
    pub(crate) environment: Vec<String>,
    /// Device nodes and files of the host.
    pub(crate) mounts: Vec<Mount>,
}

/// A file of devices of one kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Specification {
    kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    devices: Vec<Described>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Shown>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    host_path: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
}

/// One device, with the edits of its specification.
#[derive(Clone, Debug)]
struct Device {
    annotations: BTreeMap<String, String>,
    edits: Vec<Edits>,
}

/// Finds the devices that an instruction asks for.
pub(crate) fn find(asked: &[Asked], allowed: &Entitlements) -> Result<DeviceEdits, ErrorKind> {
    if asked.is_empty() {
        return Ok(DeviceEdits::default());
    }
    let known = read(&DIRECTORIES.map(PathBuf::from))?;
    resolve(asked, &known, allowed)
}

fn resolve(
    asked: &[Asked],
    known: &BTreeMap<String, Device>,
    allowed: &Entitlements,
) -> Result<DeviceEdits, ErrorKind> {
    let mut edits = DeviceEdits::default();
    for device in asked {
        let names = matching(&device.name, known);
        if names.is_empty() && device.required {
            return Err(ErrorKind::DeviceMissing {
                name: device.name.clone(),
                known: known.keys().cloned().collect(),
            });
        }
        for name in names {
            let device = &known[name];
            if !may_use(name, device, allowed) {
                let entitlement = format!("device={name}");
                return Err(ErrorKind::NotAllowed { entitlement });
            }
            if !edits.names.contains(name) {
                edits.add(name, device);
            }
        }
    }
    Ok(edits)
}

/// `vendor/class=name` is that device, `vendor/class=*` all of a kind, `vendor/class` the first of
/// a kind, and any other word all devices of the class with that annotation.
fn matching<'k>(asked: &str, known: &'k BTreeMap<String, Device>) -> Vec<&'k String> {
    let names = known.keys();
    let of_kind = |kind: &str| {
        let prefix = format!("{kind}=");
        names.clone().filter(move |name| name.starts_with(&prefix))
    };
    match asked.split_once('=') {
        Some((kind, "*")) => of_kind(kind).collect(),
        Some(_) => known
            .get_key_value(asked)
            .map(|(name, _)| name)
            .into_iter()
            .collect(),
        None if asked.contains('/') => of_kind(asked).take(1).collect(),
        None => {
            let in_class = |device: &Device| {
                device
                    .annotations
                    .get(CLASS)
                    .is_some_and(|class| class == asked)
            };
            names.filter(|name| in_class(&known[*name])).collect()
        }
    }
}

fn may_use(name: &str, device: &Device, allowed: &Entitlements) -> bool {
    let kind = name.split('=').next().unwrap_or(name);
    let class = device.annotations.get(CLASS);
    let listed = |name: &str| allowed.devices.contains(name);
    allowed.all_devices
        || device
            .annotations
            .get(AUTO_ALLOW)
            .is_some_and(|value| value == "true")
        || listed(name)
        || listed(kind)
        || class.is_some_and(|class| listed(class))
}

impl DeviceEdits {
    fn add(&mut self, name: &str, device: &Device) {
        self.names.push(name.to_owned());
        for edits in &device.edits {
            self.environment.extend(edits.env.iter().cloned());
            for node in &edits.device_nodes {
                let host = node.host_path.as_ref().unwrap_or(&node.path);
                self.mounts.push(bind(host, &node.path, Access::ReadWrite));
            }
            for shown in &edits.mounts {
                let read_only = shown.options.iter().any(|option| option == "ro");
                let access = match read_only {
                    true => Access::ReadOnly,
                    false => Access::ReadWrite,
                };
                self.mounts
                    .push(bind(&shown.host_path, &shown.container_path, access));
            }
        }
    }
}

/// Reads all specifications, by the devices' full names.
fn read(directories: &[PathBuf]) -> Result<BTreeMap<String, Device>, ErrorKind> {
    let mut known = BTreeMap::new();
    for directory in directories {
        let mut files = match fs::read_dir(directory) {
            Ok(entries) => entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<Vec<_>, _>>(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => Err(error),
        }
        .map_err(ErrorKind::io("read", directory))?;
        files.sort();
        for file in files
            .iter()
            .filter(|file| file.extension().is_some_and(|it| it == "json"))
        {
            read_file(file, &mut known)?;
        }
    }
    Ok(known)
}

fn read_file(path: &Path, known: &mut BTreeMap<String, Device>) -> Result<(), ErrorKind> {
    let bytes = fs::read(path).map_err(ErrorKind::io("read", path))?;
    let specification: Specification =
        serde_json::from_slice(&bytes).map_err(|source| ErrorKind::DeviceSpecification {
            path: path.to_owned(),
            source,
        })?;
    for device in specification.devices {
        let mut annotations = specification.annotations.clone();
        annotations.extend(device.annotations);
        let name = format!("{}={}", specification.kind, device.name);
        let edits = vec![
            specification.container_edits.clone(),
            device.container_edits,
        ];
        known.insert(name, Device { annotations, edits });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIFICATION: &str = r#"{
        "cdiVersion": "0.6.0",
        "kind": "vendor1.com/device",
        "annotations": {"org.mobyproject.buildkit.device.class": "accelerator"},
        "containerEdits": {"env": ["ALL=1"]},
        "devices": [
            {"name": "bar", "containerEdits": {"env": ["BAR=injected"]}},
            {"name": "foo", "containerEdits": {
                "deviceNodes": [{"path": "/dev/foo", "hostPath": "/dev/null"}],
                "mounts": [{"hostPath": "/etc/hostname", "containerPath": "/f", "options": ["ro"]}]
            }}
        ]
    }"#;

    fn known() -> BTreeMap<String, Device> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.json"), SPECIFICATION).unwrap();
        fs::write(directory.path().join("notes.txt"), "no specification").unwrap();
        read(&[directory.path().to_owned(), "/nowhere".into()]).unwrap()
    }

    fn ask(name: &str, required: bool) -> Vec<Asked> {
        vec![Asked {
            name: name.to_owned(),
            required,
        }]
    }

    #[test]
    fn devices_are_found_by_name_kind_and_class() {
        let known = known();
        let all = Entitlements {
            all_devices: true,
            ..Entitlements::default()
        };
        let (foo, bar) = ("vendor1.com/device=foo", "vendor1.com/device=bar");
        let cases = [
            (foo, vec![foo]),
            ("vendor1.com/device=*", vec![bar, foo]),
            ("vendor1.com/device", vec![bar]),
            ("accelerator", vec![bar, foo]),
            ("vendor1.com/device=baz", vec![]),
            ("nothing", vec![]),
        ];
        for (name, expected) in cases {
            let edits = resolve(&ask(name, false), &known, &all).unwrap();
            assert_eq!(edits.names, expected, "{name}");
        }
        let edits = resolve(&ask(foo, true), &known, &all).unwrap();
        assert_eq!(edits.environment, ["ALL=1"]);
        assert_eq!(
            edits.mounts[0],
            bind("/dev/null", "/dev/foo", Access::ReadWrite)
        );
        assert_eq!(edits.mounts[1].access, Access::ReadOnly);
    }

    #[test]
    fn devices_have_to_be_there_and_allowed() {
        let known = known();
        let nothing = Entitlements::default();
        let missing = resolve(&ask("vendor1.com/device=baz", true), &known, &nothing);
        assert!(matches!(missing, Err(ErrorKind::DeviceMissing { .. })));
        let refused = resolve(&ask("vendor1.com/device=foo", true), &known, &nothing);
        let text = refused.unwrap_err().to_string();
        assert_eq!(text, "device=vendor1.com/device=foo is not allowed");
        let some = Entitlements {
            devices: ["accelerator".to_owned()].into(),
            ..nothing
        };
        assert!(resolve(&ask("vendor1.com/device", true), &known, &some).is_ok());
    }
}

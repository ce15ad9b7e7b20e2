//! Reading the fields of `--mount` and `--device`.

use super::{CacheSharing, Device, Mount, MountError, MountField, MountFlag, MountKind};
use crate::csv;
use crate::expand::ExpandError;
use crate::suggest::nearest;

const KINDS: [MountKind; 5] = [
    MountKind::Bind,
    MountKind::Cache,
    MountKind::Secret,
    MountKind::Ssh,
    MountKind::Tmpfs,
];

/// The keys of `--mount`, for suggestions.
const KEYS: [&str; 19] = [
    "destination",
    "dst",
    "env",
    "from",
    "gid",
    "id",
    "mode",
    "readonly",
    "readwrite",
    "required",
    "ro",
    "rw",
    "sharing",
    "size",
    "source",
    "src",
    "target",
    "type",
    "uid",
];

fn hint(word: &str, known: &[&'static str]) -> String {
    nearest(word, known.iter().copied())
        .map(|word| format!(" (did you mean {word}?)"))
        .unwrap_or_default()
}

impl MountFlag {
    /// Reads the fields of a flag; only what does not depend on variables is checked.
    pub(crate) fn parse(value: &str) -> Result<Self, MountError> {
        let written = csv::fields(value).map_err(|problem| MountError::Csv {
            what: "mounts",
            problem,
        })?;
        let fields: Vec<_> = written.into_iter().map(MountField::new).collect();
        let dollar_inside =
            |value: &String| value.find('$').is_some_and(|at| at + 1 != value.len());
        let variable_in_from = fields
            .iter()
            .any(|field| field.key == "from" && field.value.as_ref().is_some_and(dollar_inside));
        if variable_in_from {
            return Err(MountError::VariableInFrom);
        }
        Ok(Self {
            value: value.to_owned(),
            fields,
        })
    }

    /// Returns the stage, context or image that the mount takes its source from.
    ///
    /// It is known without expansion, and so the build graph can be made before it.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        let from = self.fields.iter().rev().find(|field| field.key == "from");
        from.and_then(|field| field.value.as_deref())
            .filter(|value| !value.is_empty())
    }

    /// Expands the values with the stage's variables and checks them.
    ///
    /// `expand` is applied to each value. Fails with the first field that is wrong.
    pub fn resolve(
        &self,
        mut expand: impl FnMut(&str) -> Result<String, ExpandError>,
    ) -> Result<Mount, MountError> {
        let mut reader = MountReader {
            mount: Mount::default(),
            read_only: None,
        };
        for field in &self.fields {
            match &field.value {
                Some(value) => reader.set(field, expand(value)?)?,
                None => reader.set_bare(field)?,
            }
        }
        reader.finish()
    }
}

impl MountField {
    fn new(written: String) -> Self {
        let (key, value) = match written.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value.to_owned())),
            None => (written.to_lowercase(), None),
        };
        Self {
            written,
            key,
            value,
        }
    }
}

struct MountReader {
    mount: Mount,
    read_only: Option<bool>,
}

impl MountReader {
    fn set_bare(&mut self, field: &MountField) -> Result<(), MountError> {
        match field.key.as_str() {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => {
                self.only_for(&field.key, &[MountKind::Secret, MountKind::Ssh])?;
                self.mount.required = true;
            }
            _ => return Err(MountError::NoValue(field.written.clone())),
        }
        Ok(())
    }

    fn set(&mut self, field: &MountField, value: String) -> Result<(), MountError> {
        let key = field.key.as_str();
        match key {
            "type" => self.mount.kind = kind(&value)?,
            "from" => self.mount.from = given(value),
            "source" | "src" => self.mount.source = given(value),
            "target" | "dst" | "destination" => self.mount.target = given(value),
            "readonly" | "ro" => self.read_only = Some(boolean(key, &value)?),
            "readwrite" | "rw" => self.read_only = Some(!boolean(key, &value)?),
            "required" => {
                self.only_for(key, &[MountKind::Secret, MountKind::Ssh])?;
                self.mount.required = boolean(key, &value)?;
            }
            "size" => {
                self.only_for(key, &[MountKind::Tmpfs])?;
                self.mount.size = Some(size(&value).ok_or_else(|| wrong_value(key, &value))?);
            }
            "id" => self.mount.id = given(value),
            "sharing" => self.mount.sharing = Some(sharing(&value)?),
            "mode" => self.mount.mode = Some(number(key, &value, 8)?),
            "uid" => self.mount.uid = Some(number(key, &value, 10)?),
            "gid" => self.mount.gid = Some(number(key, &value, 10)?),
            "env" => self.mount.env = Some(value),
            _ => return Err(unknown_key(field)),
        }
        Ok(())
    }

    fn only_for(&self, key: &str, kinds: &[MountKind]) -> Result<(), MountError> {
        if kinds.contains(&self.mount.kind) {
            return Ok(());
        }
        Err(MountError::KeyForType {
            key: key.to_owned(),
            kind: self.mount.kind.name(),
        })
    }

    fn finish(mut self) -> Result<Mount, MountError> {
        self.check_ownership()?;
        let kind = self.mount.kind;
        let writable = matches!(kind, MountKind::Cache | MountKind::Tmpfs);
        self.mount.read_only = self.read_only.unwrap_or(!writable);
        if kind == MountKind::Secret {
            self.check_secret()?;
        }
        if self.mount.sharing.is_some() && kind != MountKind::Cache {
            return Err(MountError::SharingForType(kind.name()));
        }
        Ok(self.mount)
    }

    fn check_ownership(&self) -> Result<(), MountError> {
        let kind = self.mount.kind;
        if matches!(kind, MountKind::Secret | MountKind::Ssh | MountKind::Cache) {
            return Ok(());
        }
        let given = [
            ("mode", self.mount.mode.is_some()),
            ("uid", self.mount.uid.is_some()),
            ("gid", self.mount.gid.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(MountError::NotAllowed {
                key,
                kind: kind.name(),
            }),
            None => Ok(()),
        }
    }

    fn check_secret(&self) -> Result<(), MountError> {
        let mount = &self.mount;
        let named = mount.source.is_some() || mount.target.is_some() || mount.id.is_some();
        if mount.from.is_some() {
            Err(MountError::SecretFrom)
        } else if mount.sharing.is_some() {
            Err(MountError::SecretSharing)
        } else if !named {
            Err(MountError::SecretWithoutName)
        } else if mount.source.is_some() && mount.id.is_some() {
            Err(MountError::SourceAndId)
        } else {
            Ok(())
        }
    }
}

fn unknown_key(field: &MountField) -> MountError {
    MountError::UnknownKey {
        key: field.key.clone(),
        field: field.written.clone(),
        suggestion: hint(&field.key, &KEYS),
    }
}

fn given(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}

fn wrong_value(key: &str, value: &str) -> MountError {
    MountError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, MountError> {
    crate::boolean::boolean(value).ok_or_else(|| wrong_value(key, value))
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, MountError> {
    let digits = !value.starts_with('+');
    u32::from_str_radix(value, radix)
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| MountError::Number {
            key: key.to_owned(),
            value: value.to_owned(),
        })
}

fn sharing(value: &str) -> Result<CacheSharing, MountError> {
    match value.to_lowercase().as_str() {
        "shared" => Ok(CacheSharing::Shared),
        "private" => Ok(CacheSharing::Private),
        "locked" => Ok(CacheSharing::Locked),
        _ => Err(MountError::Sharing {
            value: value.to_owned(),
            suggestion: hint(value, &["locked", "private", "shared"]),
        }),
    }
}

/// Reads a size such as `64m`, `1.5 GiB` or `512` in bytes; units are powers of 1024.
pub(super) fn size(value: &str) -> Option<u64> {
    let unit_at = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(unit_at);
    let number: f64 = number.parse().ok()?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let exponent = match unit
        .strip_suffix('i')
        .filter(|it| !it.is_empty())
        .unwrap_or(unit)
    {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(exponent);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates, and no such size can be had"
    )]
    let bytes = bytes as u64;
    Some(bytes)
}

impl Device {
    /// Reads the value of a `--device` flag.
    pub(crate) fn parse(value: &str) -> Result<Self, MountError> {
        let fields = csv::fields(value).map_err(|problem| MountError::Csv {
            what: "devices",
            problem,
        })?;
        let mut device = Self::default();
        for field in fields.into_iter().map(MountField::new) {
            device.set(field)?;
        }
        Ok(device)
    }

    fn set(&mut self, field: MountField) -> Result<(), MountError> {
        match (field.key.as_str(), &field.value) {
            ("required", None) => self.required = true,
            ("required", Some(value)) => self.required = boolean("required", value)?,
            ("name", Some(value)) if self.name.is_empty() => self.name.clone_from(value),
            ("name", Some(_)) => return Err(MountError::DeviceNameTwice(self.name.clone())),
            _ if self.name.is_empty() => self.name = field.written,
            (_, None) => return Err(MountError::NoValue(field.written)),
            (key, Some(_)) => {
                return Err(MountError::UnknownKey {
                    key: key.to_owned(),
                    suggestion: hint(key, &["name", "required"]),
                    field: field.written,
                });
            }
        }
        Ok(())
    }
}

fn kind(value: &str) -> Result<MountKind, MountError> {
    let lower = value.to_lowercase();
    let found = KINDS.into_iter().find(|kind| kind.name() == lower);
    found.ok_or_else(|| MountError::Type {
        value: value.to_owned(),
        suggestion: hint(value, &KINDS.map(MountKind::name)),
    })
}

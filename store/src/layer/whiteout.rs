//! Names with a meaning in a layer's tar stream.
//!
//! Source: OCI image specification, `layer.md`, "Whiteouts"; AUFS metadata of old Docker images.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::error::EntryError;

const PREFIX: &[u8] = b".wh.";
/// Marks a directory that hides what lower layers have in it.
pub(crate) const OPAQUE: &str = ".wh..wh..opq";
const METADATA: &[u8] = b".wh..wh.";

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Marker<'a> {
    /// The name is removed.
    Whiteout(&'a OsStr),
    /// The directory is opaque.
    Opaque,
    /// AUFS wrote it for itself.
    Ignored,
}

impl<'a> Marker<'a> {
    /// Takes a name apart; `None` for a usual one.
    pub fn of(name: &'a OsStr) -> Result<Option<Self>, EntryError> {
        let bytes = name.as_bytes();
        if name == OPAQUE {
            return Ok(Some(Self::Opaque));
        }
        if bytes.starts_with(METADATA) {
            return Ok(Some(Self::Ignored));
        }
        match bytes.strip_prefix(PREFIX) {
            None => Ok(None),
            // These would remove the directory itself, or the one above.
            Some(b"" | b"." | b"..") => Err(EntryError::Whiteout),
            Some(name) => Ok(Some(Self::Whiteout(OsStr::from_bytes(name)))),
        }
    }
}

/// Returns the name that removes `name`.
pub(crate) fn whiteout_of(name: &OsStr) -> OsString {
    OsStr::from_bytes(&[PREFIX, name.as_bytes()].concat()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let check = |name: &str, expected: Option<Option<Marker<'_>>>| {
            assert_eq!(Marker::of(OsStr::new(name)).ok(), expected, "{name}");
        };
        check("wh.a", Some(None));
        check(".wh", Some(None));
        check(".wh.a", Some(Some(Marker::Whiteout(OsStr::new("a")))));
        check(".wh..a", Some(Some(Marker::Whiteout(OsStr::new(".a")))));
        check(".wh..wh..opq", Some(Some(Marker::Opaque)));
        check(".wh..wh.plnk", Some(Some(Marker::Ignored)));
        for refused in [".wh.", ".wh..", ".wh..."] {
            check(refused, None);
        }
    }
}

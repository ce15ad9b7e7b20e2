//! `--output`: where a built image goes besides the store.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use mica_oci::Reference;
use mica_store::{ArchiveFormat, Image, Store};

use crate::failure::{CliError, Failure};
use crate::printer::Printer;

/// One `--output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Nowhere else: `type=image` and `type=docker` without a destination.
    Store,
    /// To the registry that the image's names say: `type=registry`, `push=true`.
    Registry,
    /// Into an archive.
    Archive {
        /// Its format.
        format: ArchiveFormat,
        /// The file; `-` is standard output.
        destination: PathBuf,
    },
}

impl Output {
    /// Reads `type=oci,dest=PATH` and its relatives.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        let invalid = |reason: &str| CliError::FlagValue {
            flag: "-o, --output",
            value: text.to_owned(),
            reason: reason.to_owned(),
        };
        let mut kind = "local";
        let (mut destination, mut push) = (None, false);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", value)) => kind = value,
                Some(("dest", value)) => destination = Some(PathBuf::from(value)),
                Some(("push", value)) => push = value == "true",
                Some(("name", _)) => return Err(invalid("give the name with --tag")),
                Some((key, _)) => return Err(invalid(&format!("{key} is not supported yet"))),
                None if field == text => destination = Some(PathBuf::from(field)),
                None => return Err(invalid("expected KEY=VALUE")),
            }
        }
        let archive = |format| match destination.clone() {
            Some(destination) => Ok(Self::Archive {
                format,
                destination,
            }),
            None => Err(invalid("dest is missing")),
        };
        match kind {
            "registry" => Ok(Self::Registry),
            "image" if push => Ok(Self::Registry),
            "image" => Ok(Self::Store),
            "docker" if destination.is_none() => Ok(Self::Store),
            "docker" => archive(ArchiveFormat::Docker),
            "oci" => archive(ArchiveFormat::Oci),
            "local" | "tar" => Err(invalid("a file tree as output is not supported yet")),
            _ => Err(invalid(
                "unknown type: expected image, registry, docker or oci",
            )),
        }
    }

    /// Writes an archive; the other kinds have nothing to write.
    pub(crate) fn write(
        &self,
        store: &Store,
        image: &Image,
        tags: &[Reference],
        printer: Printer,
    ) -> Result<(), Failure> {
        let Self::Archive {
            format,
            destination,
        } = self
        else {
            return Ok(());
        };
        let images: Vec<_> = match tags.is_empty() {
            true => vec![(None, image.clone())],
            false => tags
                .iter()
                .map(|tag| (Some(tag.clone()), image.clone()))
                .collect(),
        };
        if destination.as_os_str() == "-" {
            if printer.is_terminal() {
                let text = "dest file is required for the archive: refusing to write to a terminal";
                return Err(CliError::NoTerminal(text).into());
            }
            return Ok(mica_store::save(
                store,
                &images,
                *format,
                std::io::stdout().lock(),
            )?);
        }
        let failed = |source| CliError::File {
            action: "write",
            path: destination.clone(),
            source,
        };
        let mut out = BufWriter::new(File::create(destination).map_err(failed)?);
        mica_store::save(store, &images, *format, &mut out)?;
        Ok(out.flush().map_err(failed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read() {
        let archive = |format, path: &str| Output::Archive {
            format,
            destination: path.into(),
        };
        let cases = [
            ("type=oci,dest=x.tar", archive(ArchiveFormat::Oci, "x.tar")),
            ("type=docker,dest=-", archive(ArchiveFormat::Docker, "-")),
            ("type=docker", Output::Store),
            ("type=image,push=true", Output::Registry),
            ("type=registry", Output::Registry),
        ];
        for (text, expected) in cases {
            assert_eq!(Output::parse(text).expect(text), expected);
        }
        for bad in [
            "type=oci",
            "type=nope",
            "dir",
            "type=local,dest=x",
            "type=oci,dest=x,zip=1",
        ] {
            assert!(Output::parse(bad).is_err(), "{bad}");
        }
    }
}

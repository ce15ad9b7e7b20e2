//! Where a build's result goes: `--output` and the flags that stand for it.
//!
//! ```text
//! flags ─ parse ─▶ Output … ─ check ─▶ (build; finished layers go up: ship) ─▶ deliver ─▶ metadata
//! ```

mod annotations;
mod attestations;
mod deliver;
mod flags;
mod metadata;
mod parse;
mod ship;
mod tree;

use std::path::PathBuf;

use mica_oci::{Digest, Platform, Reference};
use mica_store::{ArchiveFormat, Codec, ExistingLayers, MediaTypes};

use crate::failure::{CliError, Failure};
use crate::printer::Printer;

pub(crate) use annotations::Annotations;
pub(crate) use attestations::{Attestations, Attesting, Bases, Origin};
pub(crate) use deliver::Delivery;
pub(crate) use flags::OutputArgs;
pub(crate) use parse::compression;
pub(crate) use ship::Shipping;

/// What a build is to make.
#[derive(Debug)]
pub(crate) struct Goal {
    /// `--tag`.
    pub(crate) tags: Vec<Reference>,
    /// The platforms, at least one.
    pub(crate) platforms: Vec<Platform>,
    /// The places that the result goes to, at least one.
    pub(crate) outputs: Vec<Output>,
    /// What is said about the images.
    pub(crate) attestations: Attestations,
}

/// One place that a build's result goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// What is made.
    pub(crate) kind: Kind,
    /// Names that are given here; those of `--tag` otherwise.
    pub(crate) names: Vec<Reference>,
    /// The form in which an image leaves.
    pub(crate) form: Form,
}

/// What is made of a build's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An image under its names: `type=image`, `type=registry`, `type=docker` without a file.
    Image {
        /// Whether the store keeps it.
        keep: Keep,
        /// Whether it goes to a registry.
        push: Push,
    },
    /// An image in an archive.
    Archive {
        /// The archive's format.
        format: ArchiveFormat,
        /// The file; `None` is standard output.
        file: Option<PathBuf>,
    },
    /// An image in a directory that is an OCI layout.
    Layout {
        /// The directory.
        directory: PathBuf,
    },
    /// The files in a directory.
    Local {
        /// The directory.
        directory: PathBuf,
        /// Whether each platform gets a directory of its own; by default several do.
        split: Option<bool>,
    },
    /// The files in a tar stream.
    Tar {
        /// The file; `None` is standard output.
        file: Option<PathBuf>,
    },
    /// Nothing but what later builds reuse.
    CacheOnly,
}

/// Whether the store keeps an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Under its names.
    Yes,
    /// Not at all: `store=false`.
    No,
}

/// Whether an image goes to a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// It stays here.
    No,
    /// Under its names.
    Named,
    /// Without a tag.
    ByDigest,
}

/// The form in which an image leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// The compression of layers that were made here, where one was asked for.
    pub(crate) codec: Option<Codec>,
    /// What becomes of layers that came compressed, where that was said.
    pub(crate) existing: Option<ExistingLayers>,
    /// Whose media types are used, where that was said.
    pub(crate) media_types: Option<MediaTypes>,
    /// Whether files younger than `SOURCE_DATE_EPOCH` are given that time.
    pub(crate) rewrite_timestamp: bool,
    /// Annotations of manifests, indexes and descriptors.
    pub(crate) annotations: Annotations,
}

impl Output {
    /// What a build without any output makes: an image in the store.
    pub(crate) fn store() -> Self {
        Self {
            kind: Kind::Image {
                keep: Keep::Yes,
                push: Push::No,
            },
            names: Vec::new(),
            form: Form::default(),
        }
    }

    /// Returns the names that the image gets.
    pub(crate) fn names<'o>(&'o self, tags: &'o [Reference]) -> &'o [Reference] {
        match self.names.is_empty() {
            true => tags,
            false => &self.names,
        }
    }

    /// Tells whether this output sends something to a registry.
    pub(crate) fn is_pushed(&self) -> bool {
        matches!(self.kind, Kind::Image { push, .. } if push != Push::No)
    }
}

impl Kind {
    /// What progress calls the making, in BuildKit's words.
    fn title(&self) -> &'static str {
        match self {
            Self::Image { .. } => "exporting to image",
            Self::Archive {
                format: ArchiveFormat::Docker,
                ..
            } => "exporting to docker image format",
            Self::Archive { .. } | Self::Layout { .. } => "exporting to oci image format",
            Self::Local { .. } => "exporting to client directory",
            Self::Tar { .. } => "exporting to client tarball",
            Self::CacheOnly => "keeping the cache alone",
        }
    }
}

impl Form {
    /// Tells whether an image may stay as the store has it.
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Goal {
    /// Fails for outputs that cannot be made, before anything is built.
    pub(crate) fn check(&self, printer: Printer) -> Result<(), CliError> {
        flags::check(self, printer.is_terminal())
    }
}

/// Brings the result to all its places, writes the files that tell of it, and returns its ID.
pub(crate) fn deliver_all(
    outputs: &[Output],
    delivery: &Delivery<'_>,
    args: &OutputArgs,
) -> Result<Digest, Failure> {
    let mut first = None;
    for output in outputs {
        let delivered = delivery.display.step(output.kind.title(), |status| {
            deliver::deliver(output, delivery, status)
        })?;
        first = first.or(delivered);
    }
    Ok(metadata::write_results(
        args,
        delivery.built,
        first.as_ref(),
        &delivery.display.build_id(),
    )?)
}

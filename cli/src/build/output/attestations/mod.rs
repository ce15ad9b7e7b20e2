//! What is said about an image that leaves: where it comes from, and what is in it.
//!
//! ```text
//! flags ─ parse ─▶ Attestations     image ─ statement ─▶ blobs, a manifest, an entry of the index
//! ```
//!
//! Source: BuildKit, `docs/attestations/attestation-storage.md`; the in-toto statement 0.1; SLSA
//! provenance 1.1. `docs/attestations.md` says what stands where.

mod parse;
mod provenance;
mod statement;

pub(crate) use provenance::{Bases, Origin};
pub(crate) use statement::Attesting;

/// What is to be said about the images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attestations {
    /// The bill of materials.
    bill: bool,
    /// How the image was made.
    provenance: Option<Provenance>,
}

impl Attestations {
    /// Tells whether nothing is to be said.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How much is told of a build, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Provenance {
    mode: Mode,
    /// `builder-id`.
    builder: Option<String>,
    /// What the user says: nobody checks it.
    reproducible: bool,
}

/// How much is told of a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Nothing that may be secret.
    #[default]
    Min,
    /// The values of build arguments and the Dockerfile, too.
    Max,
}

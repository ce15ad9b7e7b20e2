//! How much of a hostile layer is taken before it is refused.

/// Limits on a layer that is applied. The defaults are far above any real image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most entries.
    pub entries: u64,
    /// The longest name or link target, in bytes: `PATH_MAX` of Linux.
    pub name_length: u64,
    /// The longest extended header, long name or sparse map, in bytes. Go's `archive/tar`, and so
    /// docker and containerd, refuse more than 1 MiB.
    pub header_extension: u64,
    /// The most bytes of extended attributes that an entry may have, values and names.
    pub attributes: u64,
    /// The most bytes of the uncompressed stream; no limit when absent.
    pub stream: Option<u64>,
    /// The most bytes that each compressed byte may turn into, once [`free_expansion`] bytes came
    /// out; no limit when absent. Files of zeros reach 1,000 with gzip, and 30,000 with zstd.
    ///
    /// [`free_expansion`]: Self::free_expansion
    pub expansion: Option<u64>,
    /// The bytes that may come out before the expansion is looked at: files of zeros are common.
    pub free_expansion: u64,
    /// Whose the files are that are made.
    pub ownership: Ownership,
    /// What becomes of a symbolic link to nowhere that stands on the way to an entry.
    pub dangling_links: DanglingLinks,
}

/// What becomes of a symbolic link to nowhere that stands on the way to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DanglingLinks {
    /// The directory that it points to is made: image layers are applied so.
    #[default]
    Made,
    /// The stream is refused: docker unpacks archives so that are no layers.
    Refused,
}

/// Whose the files are that a stream is unpacked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Those that the stream names: only root can make such.
    #[default]
    Archived,
    /// This process's own. Devices, and attributes that only root may set, are left out.
    Own,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 2_000_000,
            name_length: 4096,
            header_extension: 1 << 20,
            attributes: 512 << 10,
            stream: Some(1 << 40),
            expansion: Some(2_000),
            free_expansion: 4 << 30,
            ownership: Ownership::Archived,
            dangling_links: DanglingLinks::Made,
        }
    }
}

//! What a command looks into, and how it shows that: the arguments that commands have in common.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use mica_inspect::Image;

use super::open::{Looked, open, open_image};
use crate::failure::Failure;
use crate::session::Session;

/// An image as a whole.
#[derive(Args, Debug)]
pub(crate) struct ImageArgs {
    /// Choose a platform of an image that has several
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// The image: a name, an archive, a layout, `docker://NAME`, `container:NAME` or a directory
    pub(crate) image: String,
}

/// An image, or one of its layers.
#[derive(Args, Debug)]
pub(crate) struct LayerArgs {
    /// Choose a platform of an image that has several
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// The image, and perhaps one of its layers: number (negative from the top) or digest
    #[arg(value_name = "IMAGE[@LAYER]")]
    pub(crate) image: String,
}

/// The arguments that `ls`, `find` and `du` have in common.
#[derive(Args, Debug)]
pub(crate) struct FilesArgs {
    /// `json` writes one object a line
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
    #[command(flatten)]
    of: LayerArgs,
    /// The paths
    #[arg(default_value = "/", value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

/// How something is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// As data
    Json,
}

impl ImageArgs {
    /// Opens the image.
    pub(crate) fn open(&self, session: &Session) -> Result<Image, Failure> {
        open_image(session, &self.image, self.platform.as_deref())
    }
}

impl LayerArgs {
    /// Opens the image.
    pub(crate) fn open(&self, session: &Session) -> Result<Looked, Failure> {
        open(session, &self.image, self.platform.as_deref())
    }
}

impl FilesArgs {
    /// Opens the image.
    pub(crate) fn open(&self, session: &Session) -> Result<Looked, Failure> {
        self.of.open(session)
    }
}

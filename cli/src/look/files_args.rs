//! Which files a command looks at, and how it shows them.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

/// The arguments that `ls`, `find` and `du` have in common.
#[derive(Args, Debug)]
pub(crate) struct FilesArgs {
    /// `json` writes one object a line
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: FileFormat,
    /// Choose a platform of an image that has several
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// The image, and perhaps one of its layers: number (negative from the top) or digest
    #[arg(value_name = "IMAGE[@LAYER]")]
    pub(crate) image: String,
    /// The paths
    #[arg(default_value = "/", value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

/// How files are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

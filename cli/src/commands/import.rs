//! `mica import`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::thread;

use clap::Args;
use jiff::Timestamp;
use mica_oci::{History, ImageConfig, Platform, Reference};
use mica_registry_client::{FileMethod, FileRequest, RegistryError};
use mica_store::{Image, Store};

use crate::container::changes::parse_change;
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// Import the contents from a tarball to create a filesystem image
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "LIST")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "STRING")]
    message: Option<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    platform: Option<String>,
    /// A tar archive, plain or compressed, or its address (http, https); `-` reads it from STDIN
    #[arg(value_name = "FILE|URL|-")]
    source: String,
    /// The new image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<Reference>,
}

/// Runs the command.
pub(crate) fn run(args: &ImportArgs, session: &Session) -> Outcome {
    let platform = session.environment.platform(args.platform.as_deref())?;
    let config = config(args, platform)?;
    let store = session.store()?;
    let _held = store.hold()?;
    let is_address = ["http://", "https://"]
        .iter()
        .any(|scheme| args.source.starts_with(scheme));
    let image = match is_address {
        true => download(&args.source, &store, config, session)?,
        false => {
            let imported = store.import(open(&args.source)?, config);
            imported.map_err(|error| CliError::Archive {
                action: "import",
                place: match args.source.as_str() {
                    "-" => "standard input".to_owned(),
                    path => path.to_owned(),
                },
                source: error.into(),
            })?
        }
    };
    match &args.reference {
        Some(reference) => store.tag_image(&image.target, reference)?,
        None => store.keep_untagged(&image.target)?,
    }
    session.printer.line(image.id().to_string())?;
    Ok(Exit::Success)
}

fn config(args: &ImportArgs, platform: Option<Platform>) -> Result<ImageConfig, Failure> {
    let now = Timestamp::now();
    let mut config = ImageConfig::scratch(&platform.unwrap_or_else(Platform::host));
    config.created = Some(now);
    for text in &args.change {
        for change in parse_change(text, &|_| None, None)? {
            change.apply(&mut config.config);
        }
    }
    let message = args.message.clone();
    config.history.push(History {
        created: Some(now),
        comment: message.or_else(|| Some(format!("Imported from {}", args.source))),
        ..History::default()
    });
    Ok(config)
}

/// Imports an archive while it comes.
fn download(
    url: &str,
    store: &Store,
    config: ImageConfig,
    session: &Session,
) -> Result<Image, Failure> {
    let registry = session.registry()?;
    let request = FileRequest {
        url,
        method: FileMethod::Get,
        etag: None,
        modified_since: None,
        authorization: None,
    };
    let (reader, mut writer) = io::pipe()?;
    let (answer, imported) = thread::scope(|scope| {
        let importing = scope.spawn(move || store.import(reader, config));
        let answer = session.block_on(registry.file(&request, &mut writer));
        drop(writer);
        let imported = importing.join();
        (
            answer,
            imported.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    match answer? {
        // Whoever reads gave up first, and says why.
        Err(RegistryError::Keep { .. }) => Ok(imported?),
        Err(error) => Err(error.into()),
        Ok(answer) if (200..300).contains(&answer.status) => Ok(imported?),
        Ok(answer) => {
            let (url, status) = (url.to_owned(), answer.status);
            Err(CliError::Download { url, status }.into())
        }
    }
}

fn open(source: &str) -> Result<Box<dyn Read>, Failure> {
    if source == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(source).map_err(|error| CliError::File {
        action: "open",
        path: Path::new(source).to_owned(),
        source: error,
    })?;
    Ok(Box::new(file))
}

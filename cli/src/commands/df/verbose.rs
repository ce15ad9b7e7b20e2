//! `mica system df -v`: each image, container, volume and build step.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Everything;
use crate::failure::Failure;
use crate::listing::{Listing, row};
use crate::printer;
use crate::session::Session;
use crate::template::Template;

const IMAGES: Listing = Listing {
    row: "*formatter.imageContext",
    headers: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
    default: "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t\
        {{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
};

const CONTAINERS: Listing = Listing {
    row: "*formatter.ContainerContext",
    headers: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
    default: "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t\
        {{.RunningFor}}\t{{.Status}}\t{{.Names}}",
};

const VOLUMES: Listing = Listing {
    row: "*formatter.volumeContext",
    headers: &[
        ("Name", "VOLUME NAME"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
    ],
    default: "table {{.Name}}\t{{.Links}}\t{{.Size}}",
};

const CACHE: Listing = Listing {
    row: "*formatter.buildCacheContext",
    headers: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("Shared", "SHARED"),
        ("Description", "DESCRIPTION"),
    ],
    default: "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t\
        {{.Shared}}",
};

/// How much of a command and of a key is shown.
const COMMAND_WIDTH: usize = 20;
const KEY_WIDTH: usize = 12;

/// Prints all tables, or one object with all lists.
pub(super) fn print(
    everything: &Everything,
    format: Option<&str>,
    session: &Session,
) -> Result<(), Failure> {
    let lists = [
        ("Images", "Images space usage", IMAGES, images(everything)),
        (
            "Containers",
            "Containers space usage",
            CONTAINERS,
            containers(everything),
        ),
        (
            "Volumes",
            "Local Volumes space usage",
            VOLUMES,
            volumes(everything),
        ),
        ("BuildCache", "Build cache usage", CACHE, cache(everything)),
    ];
    let data = || {
        let pairs = lists
            .iter()
            .map(|(name, _, _, rows)| ((*name).to_owned(), json!(rows)));
        Value::Object(pairs.collect())
    };
    match format {
        None | Some("" | "table") => {}
        Some("json") => return Ok(session.printer.line(data().to_string())?),
        Some(format) => {
            let text = Template::parse(format)?.render(&data())?;
            return Ok(session.printer.line(text)?);
        }
    }
    for (name, title, listing, rows) in &lists {
        let title = match *name {
            "BuildCache" => format!("\n{title}: {}\n", everything.cache_size()),
            "Images" => format!("{title}:\n"),
            _ => format!("\n{title}:\n"),
        };
        session.printer.line(title)?;
        listing.print(session.printer, None, rows)?;
    }
    Ok(())
}

impl Everything {
    fn cache_size(&self) -> String {
        let own = self.usage.cache.iter().filter(|entry| !entry.shared);
        printer::size(own.map(|entry| entry.size).sum())
    }
}

fn images(everything: &Everything) -> Vec<Value> {
    const NONE: &str = "<none>";
    let mut rows = Vec::new();
    for image in &everything.usage.images {
        let names: Vec<(String, String)> = match image.names.is_empty() {
            true => vec![(NONE.to_owned(), NONE.to_owned())],
            false => image
                .names
                .iter()
                .map(|name| {
                    (
                        name.familiar_repository(),
                        name.tag().unwrap_or(NONE).to_owned(),
                    )
                })
                .collect(),
        };
        for (repository, tag) in names {
            let created = image.image.config.value().created;
            rows.push(row([
                ("Repository", repository),
                ("Tag", tag),
                ("ID", image.image.id().short().to_owned()),
                ("CreatedSince", super::super::time::since(created)),
                ("Size", printer::size(image.size)),
                ("SharedSize", printer::size(image.shared)),
                ("UniqueSize", printer::size(image.size - image.shared)),
                ("Containers", everything.users(image).to_string()),
            ]));
        }
    }
    rows
}

fn containers(everything: &Everything) -> Vec<Value> {
    let describe = |(summary, size): &(mica_container::Summary, u64)| {
        let is_volume = |mount: &&String| !mount.starts_with('/');
        row([
            ("ID", summary.id.short().to_owned()),
            ("Image", summary.reference.clone()),
            (
                "Command",
                format!(
                    "\"{}\"",
                    super::super::shorten(&summary.command, COMMAND_WIDTH)
                ),
            ),
            (
                "LocalVolumes",
                summary.mounts.iter().filter(is_volume).count().to_string(),
            ),
            ("Size", printer::size(*size)),
            (
                "RunningFor",
                printer::ago(summary.created, Timestamp::now()),
            ),
            ("Status", summary.status.clone()),
            ("Names", summary.name.clone()),
        ])
    };
    everything.containers.iter().map(describe).collect()
}

fn volumes(everything: &Everything) -> Vec<Value> {
    let describe = |(volume, links, size): &(mica_container::Volume, usize, u64)| {
        row([
            ("Name", volume.name.clone()),
            ("Links", links.to_string()),
            ("Size", printer::size(*size)),
        ])
    };
    everything.volumes.iter().map(describe).collect()
}

fn cache(everything: &Everything) -> Vec<Value> {
    let describe = |entry: &mica_store::CacheUsage| {
        let key = entry.key.rsplit(':').next().unwrap_or(&entry.key);
        let last_used = Timestamp::from_second(entry.last_used).ok();
        row([
            ("ID", key.chars().take(KEY_WIDTH).collect()),
            ("CacheType", "regular".to_owned()),
            ("Size", printer::size(entry.size)),
            (
                "CreatedSince",
                super::super::time::since(entry.created.parse().ok()),
            ),
            ("LastUsedSince", super::super::time::since(last_used)),
            ("Shared", entry.shared.to_string()),
            ("Description", entry.instruction.clone()),
        ])
    };
    everything.usage.cache.iter().map(describe).collect()
}

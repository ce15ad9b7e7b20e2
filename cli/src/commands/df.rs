//! `mica system df`.

mod verbose;

use clap::Args;
use mica_container::{ContainerId, Containers, Summary, Volume};
use mica_oci::ChainId;
use mica_store::{CacheUsage, ImageUsage, Usage};
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::listing::{Listing, row};
use crate::printer;
use crate::session::Session;

/// Show disk usage
#[derive(Args, Debug)]
pub(crate) struct DfArgs {
    /// Format output using a Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short, long)]
    verbose: bool,
}

const LISTING: Listing = Listing {
    row: "*formatter.diskUsageContext",
    headers: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    default: "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
};

/// Everything that takes space.
struct Everything {
    usage: Usage,
    containers: Vec<(Summary, u64)>,
    volumes: Vec<(Volume, usize, u64)>,
}

/// Runs the command.
pub(crate) fn run(args: &DfArgs, session: &Session) -> Outcome {
    let everything = Everything::measure(&session.containers()?)?;
    if args.verbose {
        verbose::print(&everything, args.format.as_deref(), session)?;
        return Ok(Exit::Success);
    }
    let rows = [
        everything.images_row(),
        everything.containers_row(),
        everything.volumes_row(),
        everything.cache_row(),
    ];
    LISTING.print(session.printer, args.format.as_deref(), &rows)?;
    Ok(Exit::Success)
}

impl Everything {
    fn measure(containers: &Containers) -> Result<Self, Failure> {
        let mut list = Vec::new();
        for summary in containers.list()? {
            let size = size_of(containers, &summary.id);
            list.push((summary, size));
        }
        let all = containers.volumes();
        let mut volumes = Vec::new();
        for volume in all.list()? {
            let (links, size) = (all.users(&volume.name)?.len(), volume.size()?);
            volumes.push((volume, links, size));
        }
        Ok(Self {
            usage: containers.store().usage()?,
            containers: list,
            volumes,
        })
    }

    /// Returns how many containers are made of an image.
    fn users(&self, image: &ImageUsage) -> usize {
        let id = image.image.id();
        let users = self.containers.iter();
        users.filter(|(summary, _)| summary.image == *id).count()
    }

    fn images_row(&self) -> Value {
        let images = &self.usage.images;
        let active: Vec<_> = images
            .iter()
            .filter(|image| self.users(image) > 0)
            .collect();
        let mut used: Vec<&(ChainId, u64)> =
            active.iter().flat_map(|image| &image.layers).collect();
        used.sort_unstable();
        used.dedup();
        let used: u64 = used.into_iter().map(|(_, size)| size).sum();
        let total = self.usage.image_bytes;
        let free = total.saturating_sub(used);
        summary(
            "Images",
            images.len(),
            active.len(),
            total,
            &share(free, total),
        )
    }

    fn containers_row(&self) -> Value {
        let running = |summary: &Summary| summary.state.is_running();
        let total = self.containers.iter().map(|(_, size)| size).sum();
        let active = self
            .containers
            .iter()
            .filter(|(summary, _)| running(summary));
        let stopped = self
            .containers
            .iter()
            .filter(|(summary, _)| !running(summary));
        let free = stopped.map(|(_, size)| size).sum();
        let free = share(free, total);
        summary(
            "Containers",
            self.containers.len(),
            active.count(),
            total,
            &free,
        )
    }

    fn volumes_row(&self) -> Value {
        let total = self.volumes.iter().map(|(_, _, size)| size).sum();
        let active = self.volumes.iter().filter(|(_, links, _)| *links > 0);
        let unused = self.volumes.iter().filter(|(_, links, _)| *links == 0);
        let free = share(unused.map(|(_, _, size)| size).sum(), total);
        summary(
            "Local Volumes",
            self.volumes.len(),
            active.count(),
            total,
            &free,
        )
    }

    fn cache_row(&self) -> Value {
        let own = |entry: &&CacheUsage| !entry.shared;
        let cache = &self.usage.cache;
        let total = cache.iter().filter(own).map(|entry| entry.size).sum();
        // Nothing of it is needed: a build makes it again.
        summary("Build Cache", cache.len(), 0, total, &printer::size(total))
    }
}

/// A container may go while it is measured.
fn size_of(containers: &Containers, id: &ContainerId) -> u64 {
    containers.sizes(id).map_or(0, |sizes| sizes.read_write)
}

fn summary(name: &str, total: usize, active: usize, size: u64, reclaimable: &str) -> Value {
    row([
        ("Type", name.to_owned()),
        ("TotalCount", total.to_string()),
        ("Active", active.to_string()),
        ("Size", printer::size(size)),
        ("Reclaimable", reclaimable.to_owned()),
    ])
}

/// A part of a whole, with its percentage where there is a whole.
fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => printer::size(part),
        _ => format!("{} ({}%)", printer::size(part), part * 100 / whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_percentages() {
        assert_eq!(share(0, 0), "0B");
        assert_eq!(share(0, 10), "0B (0%)");
        assert_eq!(share(1_000, 3_000), "1kB (33%)");
        assert_eq!(share(5, 5), "5B (100%)");
    }
}

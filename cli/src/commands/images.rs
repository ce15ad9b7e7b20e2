//! `mica images`.

use std::collections::{BTreeMap, HashSet};

use clap::Args;
use jiff::Timestamp;
use mica_oci::Digest;
use mica_store::{Image, Store, StoreError, Tagged};
use serde_json::Value;

use super::filter::Filters;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::listing::{Listing, row};
use crate::printer;
use crate::session::Session;

/// List images
#[derive(Args, Debug)]
pub(crate) struct ImagesArgs {
    /// Show all images
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided: dangling, label, reference, before, since
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Format output using a Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Only show images of that name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

const HEADERS: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];

const PLAIN: Listing = Listing {
    row: "*formatter.imageContext",
    headers: HEADERS,
    default: "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
};

const WITH_DIGESTS: Listing = Listing {
    default: "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    ..PLAIN
};

const NONE: &str = "<none>";

/// An entry of the list.
struct Entry {
    tagged: Tagged,
    image: Image,
}

/// Runs the command.
pub(crate) fn run(args: &ImagesArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let entries = select(args, &store, session)?;
    if args.quiet {
        let ids = entries
            .iter()
            .map(|entry| identifier(args, &entry.image) + "\n");
        session.printer.data(ids.collect::<String>())?;
        return Ok(Exit::Success);
    }
    let rows = entries.iter().map(|entry| describe(args, &store, entry));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let listing = if args.digests { WITH_DIGESTS } else { PLAIN };
    listing.print(session.printer, args.format.as_deref(), &rows)?;
    Ok(Exit::Success)
}

/// Returns the entries asked for, the newest first.
fn select(args: &ImagesArgs, store: &Store, session: &Session) -> Result<Vec<Entry>, Failure> {
    let filters = Filters::parse(
        &args.filter,
        &["dangling", "label", "reference", "before", "since"],
    )?;
    let moment = |name: &str| match filters.get(name) {
        Some(image) => Ok::<_, Failure>(created(&store.find(image)?)),
        None => Ok(None),
    };
    let (before, since) = (moment("before")?, moment("since")?);
    let mut chosen = Vec::new();
    for entry in entries(store, session)? {
        let time = created(&entry.image);
        let in_time = before.is_none_or(|limit| time < Some(limit))
            && since.is_none_or(|limit| time > Some(limit));
        if in_time && is_named(args.name.as_deref(), &entry.tagged) && fits(&filters, &entry)? {
            chosen.push(entry);
        }
    }
    chosen.sort_by_key(|entry| std::cmp::Reverse(created(&entry.image)));
    Ok(chosen)
}

/// Returns all images. One that lost a name is not listed without one while it has another, perhaps
/// in a manifest with other compression.
fn entries(store: &Store, session: &Session) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    for tagged in store.images()? {
        match store.image(&tagged.target, None) {
            Ok(image) => entries.push(Entry { tagged, image }),
            // Artifacts are in the store for those who pull them from it.
            Err(StoreError::NotAnImage { .. }) => {}
            // One image that cannot be read, or is for another platform alone, hides no other.
            Err(error) => session.printer.warning(&error.to_string()),
        }
    }
    let has_name = |entry: &&Entry| entry.tagged.reference.is_some();
    let named = entries.iter().filter(has_name);
    let named: HashSet<Digest> = named.map(|entry| entry.image.id().clone()).collect();
    entries.retain(|entry| has_name(&entry) || !named.contains(entry.image.id()));
    Ok(entries)
}

fn is_named(name: Option<&str>, tagged: &Tagged) -> bool {
    let Some(name) = name else { return true };
    let Some(reference) = &tagged.reference else {
        return false;
    };
    super::filter::matches_reference(name, reference)
}

fn fits(filters: &Filters, entry: &Entry) -> Result<bool, Failure> {
    if let Some(dangling) = filters.boolean("dangling")?
        && dangling != entry.tagged.reference.is_none()
    {
        return Ok(false);
    }
    let mut patterns = filters.all("reference").peekable();
    let is_named =
        patterns.peek().is_none() || patterns.any(|pattern| is_named(Some(pattern), &entry.tagged));
    let none = BTreeMap::new();
    let labels = entry
        .image
        .config
        .value()
        .config
        .labels
        .as_ref()
        .unwrap_or(&none);
    Ok(is_named && filters.match_labels(labels))
}

fn created(image: &Image) -> Option<Timestamp> {
    image.config.value().created
}

fn identifier(args: &ImagesArgs, image: &Image) -> String {
    match args.no_trunc {
        true => image.id().to_string(),
        false => image.id().short().to_owned(),
    }
}

fn describe(args: &ImagesArgs, store: &Store, entry: &Entry) -> Result<Value, Failure> {
    let Entry { tagged, image } = entry;
    let digests = store.repository_digests(image.id())?;
    let known = digests.first().and_then(|name| name.split_once('@'));
    let reference = tagged.reference.as_ref();
    let repository = match reference {
        Some(reference) => reference.familiar_repository(),
        None => known.map_or(NONE, |(repository, _)| repository).to_owned(),
    };
    let own = digests.iter().filter_map(|name| name.split_once('@'));
    let mut own = own.filter(|(name, _)| *name == repository);
    let digest = own.next().map_or(NONE, |(_, digest)| digest).to_owned();
    let tag = reference
        .and_then(|reference| reference.tag())
        .unwrap_or(NONE);
    let size = printer::size(super::image_json::size(store, image)?);
    let missing = || "N/A".to_owned();
    Ok(row([
        ("ID", identifier(args, image)),
        ("Repository", repository),
        ("Tag", tag.to_owned()),
        ("Digest", digest),
        ("CreatedSince", super::time::since(created(image))),
        ("CreatedAt", super::time::at(created(image))),
        ("Size", size.clone()),
        ("VirtualSize", size),
        ("SharedSize", missing()),
        ("UniqueSize", missing()),
        ("Containers", missing()),
    ]))
}

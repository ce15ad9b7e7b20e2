//! `mica search`.

use clap::Args;

use super::filter::Filters;
use super::{registry_name, shorten};
use crate::exit::Exit;
use crate::failure::{CliError, Outcome};
use crate::printer::Table;
use crate::session::Session;
use crate::template::Template;

/// Search Docker Hub, or another registry, for images
#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// Filter output: `stars=NUMBER`, `is-official=true`
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Format output using a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Max number of search results
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// What to look for; `HOST/TERM` at another registry
    #[arg(value_name = "TERM")]
    term: String,
}

/// Descriptions are cut to docker's width.
const DESCRIPTION: usize = 45;

/// Runs the command.
pub(crate) fn run(args: &SearchArgs, session: &Session) -> Outcome {
    let (registry, term) = match args.term.split_once('/') {
        Some((host, term)) if host.contains(['.', ':']) || host == "localhost" => {
            (registry_name(host), term)
        }
        _ => ("docker.io", args.term.as_str()),
    };
    let filters = Filters::parse(&args.filter, &["stars", "is-official"])?;
    let stars = filters.get("stars").map(|text| {
        text.parse::<u64>().map_err(|_| CliError::Filter {
            filter: format!("stars={text}"),
        })
    });
    let (stars, official) = (stars.transpose()?, filters.boolean("is-official")?);
    let client = session.registry()?;
    let mut found = session.block_on(client.search(registry, term, args.limit.into()))??;
    found.retain(|entry| {
        entry.star_count >= stars.unwrap_or(0) && official.is_none_or(|is| is == entry.is_official)
    });
    found.truncate(args.limit.into());
    let prefix = match registry {
        "docker.io" => String::new(),
        registry => format!("{registry}/"),
    };
    let mut table = Table::new();
    table.row("NAME\tDESCRIPTION\tSTARS\tOFFICIAL");
    for entry in &found {
        let name = format!("{prefix}{}", entry.name);
        let description = entry.description.clone().unwrap_or_default();
        let description = description.replace(['\n', '\r', '\t'], " ");
        let description = match args.no_trunc {
            true => description,
            false => shorten(&description, DESCRIPTION),
        };
        let official = if entry.is_official { "[OK]" } else { "" };
        if let Some(format) = &args.format {
            let data = serde_json::json!({
                "Name": name,
                "Description": description,
                "StarCount": entry.star_count,
                "IsOfficial": official,
            });
            session
                .printer
                .line(Template::parse(format)?.render(&data)?)?;
            continue;
        }
        let stars = entry.star_count;
        table.row(&format!("{name}\t{description}\t{stars}\t{official}"));
    }
    if args.format.is_none() {
        session.printer.data(table.render())?;
    }
    Ok(Exit::Success)
}

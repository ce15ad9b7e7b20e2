//! `mica sync`: many images at once, and only what is new.

use std::num::NonZeroUsize;

use clap::Args;
use mica_oci::{Descriptor, Reference, Resolve, Tag};
use mica_registry_client::{Actions, Registry};
use mica_store::Selection;

use super::insecure::InsecureArgs;
use super::registry_name;
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::place::Place;
use crate::session::Session;

/// Copy many images between registries, and only what is new
///
/// SOURCE is REPOSITORY, REPOSITORY:PATTERN for the tags that the pattern fits, or HOST/PATTERN
/// for the repositories that it fits. DESTINATION is a repository or namespace that the
/// repositories' last names are put behind.
#[derive(Args, Debug)]
pub(crate) struct SyncArgs {
    /// Copy the images for one platform
    #[arg(long)]
    platform: Option<String>,
    /// Say what would be copied
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Keep the whole path of repositories below DESTINATION
    #[arg(long)]
    scoped: bool,
    #[command(flatten)]
    tls: InsecureArgs,
    /// Where from, and then where to
    #[arg(required = true, num_args = 2.., value_names = ["SOURCE", "DESTINATION"])]
    places: Vec<String>,
}

/// What became of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Copied,
}

/// Runs the command.
pub(crate) fn run(args: &SyncArgs, session: &Session) -> Outcome {
    let Some((destination, sources)) = args.places.split_last() else {
        unreachable!("clap asks for two places at least");
    };
    let names = sources.iter().map(|source| split_pattern(source).0);
    let hosts = names.chain([destination.as_str()]).map(host);
    let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
    let client = args.tls.registry(session, hosts)?;
    let platform = session.environment.platform(args.platform.as_deref())?;
    let sync = Sync {
        client: &client,
        destination: destination.trim_end_matches('/'),
        is_scoped: args.scoped,
        is_dry: args.dry_run,
        selection: platform.map_or(Selection::All, Selection::Platform),
        at_once: session.transfers()?.uploads,
    };
    let (mut copied, mut same, mut failed) = (0, 0, 0);
    for source in sources {
        let before = copied + same + failed;
        for repository in session.block_on(sync.repositories(source))?? {
            let tags = session.block_on(sync.tags(source, &repository))??;
            for tag in tags {
                let from = repository.with_tag(&tag)?;
                match session.block_on(sync.image(&from))? {
                    Ok((to, change)) => {
                        let word = match change {
                            Change::None => "up to date",
                            Change::Copied if args.dry_run => "would be copied",
                            Change::Copied => "copied",
                        };
                        copied += usize::from(change == Change::Copied);
                        same += usize::from(change == Change::None);
                        let (from, to) = (from.familiar(), to.familiar());
                        session.printer.line(format!("{from} -> {to}: {word}"))?;
                    }
                    Err(failure) => {
                        failed += 1;
                        session.printer.report(&failure);
                    }
                }
            }
        }
        if copied + same + failed == before {
            let message = format!("`{source}` names no image");
            session
                .printer
                .report(&CliError::Arguments { message }.into());
            failed += 1;
        }
    }
    let word = if args.dry_run { "to copy" } else { "copied" };
    session.printer.message(format!(
        "{copied} {word}, {same} up to date, {failed} failed"
    ));
    match failed {
        0 => Ok(Exit::Success),
        _ => Err(CliError::Reported.into()),
    }
}

/// Returns the registry of a source or of a destination.
fn host(name: &str) -> Result<String, Failure> {
    let name = match name.split_once('/').filter(|_| is_pattern(name)) {
        // Whatever fits, it is in one registry.
        Some((host, _)) => format!("{}/any", registry_name(host)),
        None => format!("{}/any", name.trim_end_matches('/')),
    };
    let name: Reference = name.parse()?;
    Ok(name.registry().to_owned())
}

struct Sync<'a> {
    client: &'a Registry,
    destination: &'a str,
    is_scoped: bool,
    is_dry: bool,
    selection: Selection,
    /// Blobs that move at a time.
    at_once: NonZeroUsize,
}

impl Sync<'_> {
    /// Returns the repositories that a source names.
    async fn repositories(&self, source: &str) -> Result<Vec<Reference>, Failure> {
        let (name, _) = split_pattern(source);
        let Some((host, pattern)) = name.split_once('/').filter(|_| is_pattern(name)) else {
            return Ok(vec![name.parse()?]);
        };
        let host = registry_name(host);
        let all = self.client.catalog(host).await?;
        let fitting = all.iter().filter(|name| fits(pattern, name));
        let parsed = fitting.map(|name| Ok(format!("{host}/{name}").parse()?));
        parsed.collect()
    }

    async fn tags(&self, source: &str, repository: &Reference) -> Result<Vec<String>, Failure> {
        let (_, pattern) = split_pattern(source);
        match pattern {
            Some(tag) if !is_pattern(tag) => Ok(vec![tag.to_owned()]),
            pattern => {
                let from = self.client.repository(repository, Actions::Pull);
                let mut tags = from.tags().await?;
                tags.retain(|tag| pattern.is_none_or(|pattern| fits(pattern, tag)));
                Ok(tags)
            }
        }
    }

    /// Copies one image, unless it is there.
    async fn image(&self, from: &Reference) -> Result<(Reference, Change), Failure> {
        let repository = from.repository();
        let last = match self.is_scoped {
            true => repository,
            false => repository.rsplit('/').next().unwrap_or(repository),
        };
        let tag = from.tag().unwrap_or_default();
        let to: Reference = format!("{}/{last}:{tag}", self.destination).parse()?;
        let mut target = self.client.repository(&to, Actions::PullPush);
        if to.registry() == from.registry() {
            target = target.mount_from(repository);
        }
        let source = self.client.repository(from, Actions::Pull);
        let source = Place::Registry(Box::new(source), from.clone());
        let wanted = mica_store::select(&source, from, &self.selection).await?;
        let known: Option<Descriptor> = target.resolve(&to).await.ok();
        if known.is_some_and(|known| known.digest == wanted.digest) {
            return Ok((to, Change::None));
        }
        if !self.is_dry {
            mica_store::copy_graph(&source, &target, &wanted, self.at_once, &()).await?;
            let tagged = target.tag(&wanted, &to).await;
            tagged.map_err(|source| mica_store::TransferError::Tag {
                digest: wanted.digest.clone(),
                reference: to.to_string(),
                source,
            })?;
        }
        Ok((to, Change::Copied))
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Splits a tag or its pattern off; a colon before the last slash is a port's.
fn split_pattern(source: &str) -> (&str, Option<&str>) {
    match source.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (source, None),
    }
}

/// Tells whether a pattern of `*` and `?` fits a whole name.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                // The last star takes one character more.
                Some((position, taken)) => {
                    star = Some((position, taken + 1));
                    (at, seen) = (position + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        let cases = [
            ("*", "", true),
            ("v1.*", "v1.2", true),
            ("v1.*", "v2.1", false),
            ("v?.0", "v1.0", true),
            ("*-alpine*", "3.1-alpine-x", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "abc", false),
            ("latest", "latest", true),
            ("latest", "latest2", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn tags_are_split_off() {
        assert_eq!(split_pattern("host:5000/a"), ("host:5000/a", None));
        assert_eq!(split_pattern("host:5000/a:v*"), ("host:5000/a", Some("v*")));
        assert_eq!(split_pattern("a:1"), ("a", Some("1")));
    }
}

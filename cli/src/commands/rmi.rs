//! `mica rmi`.

use std::collections::BTreeSet;

use clap::Args;
use mica_container::{ContainerId, Containers};
use mica_oci::{Descriptor, Reference};
use mica_store::{Image, Store, StoreError};

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// Remove one or more images
#[derive(Args, Debug)]
pub(crate) struct RmiArgs {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents; parents are never images of their own here
    #[arg(long)]
    no_prune: bool,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &RmiArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let removal = Removal {
        force: args.force,
        containers: session.containers_of(store.clone())?,
        store,
    };
    let mut failed = false;
    for name in &args.images {
        match removal.remove(name) {
            Ok(lines) => session.printer.data(lines)?,
            Err(failure) => {
                // As in docker: nothing to remove is no failure with --force.
                failed |= !(args.force && is_no_such_image(&failure));
                session.printer.report(&failure);
            }
        }
    }
    removal.store.collect()?;
    match failed {
        false => Ok(Exit::Success),
        true => Err(CliError::Reported.into()),
    }
}

fn is_no_such_image(failure: &Failure) -> bool {
    matches!(
        failure.error.downcast_ref(),
        Some(StoreError::NotFound { .. })
    )
}

struct Removal {
    force: bool,
    store: Store,
    containers: Containers,
}

impl Removal {
    /// Removes what `name` stands for, and returns what is to be said about it.
    fn remove(&self, name: &str) -> Result<String, Failure> {
        if let Ok(reference) = name.parse::<Reference>()
            && let Some(target) = self.store.resolve_tag(&reference)?
        {
            self.store.check_is_own(&reference)?;
            return self.remove_name(&reference, &target);
        }
        self.remove_image(name, &self.store.find_target(name)?)
    }

    fn names(&self, target: &Descriptor) -> Result<Vec<Reference>, Failure> {
        let entries = self.store.own_images()?.into_iter();
        let own = entries.filter(|entry| entry.target.digest == target.digest);
        Ok(own.filter_map(|entry| entry.reference).collect())
    }

    /// Takes one name away; the image goes with its last one.
    fn remove_name(&self, reference: &Reference, target: &Descriptor) -> Result<String, Failure> {
        let untagged = format!("Untagged: {}\n", reference.familiar());
        if self.names(target)?.len() > 1 {
            self.store.untag(reference)?;
            return Ok(untagged);
        }
        let image = self.store.image(target, None)?;
        let users = self.containers.using_image(image.id())?;
        if let Some(user) = users.first() {
            if !self.force {
                let reason = format!(
                    "must force) - container {} is using its referenced image {}",
                    short(user),
                    image.id().short()
                );
                return Err(in_use(
                    "remove repository reference",
                    &format!("\"{}\"", reference.familiar()),
                    reason,
                ));
            }
            // The container still says which image it was made from.
            self.store.untag(reference)?;
            self.store.keep_untagged(target)?;
            return Ok(untagged);
        }
        self.delete(target, &image)
    }

    fn remove_image(&self, name: &str, target: &Descriptor) -> Result<String, Failure> {
        let image = self.store.image(target, None)?;
        let repositories: BTreeSet<_> = self
            .names(target)?
            .iter()
            .map(Reference::familiar_repository)
            .collect();
        let delete = "delete";
        if repositories.len() > 1 && !self.force {
            let reason = "must be forced) - image is referenced in multiple repositories";
            return Err(in_use(delete, name, reason.into()));
        }
        for user in self.containers.using_image(image.id())? {
            if self.containers.state(&user)?.is_running() {
                let reason = format!(
                    "cannot be forced) - image is being used by running container {}",
                    short(&user)
                );
                return Err(in_use(delete, name, reason));
            }
            if !self.force {
                let reason = format!(
                    "must be forced) - image is being used by stopped container {}",
                    short(&user)
                );
                return Err(in_use(delete, name, reason));
            }
        }
        self.delete(target, &image)
    }

    /// Takes all names of a target away, that of an index with all its images.
    fn delete(&self, target: &Descriptor, image: &Image) -> Result<String, Failure> {
        let names = self.store.remove_image(target)?;
        let mut lines: String = names
            .iter()
            .map(|name| format!("Untagged: {}\n", name.familiar()))
            .collect();
        for name in self.store.repository_digests(image.id())? {
            lines.push_str(&format!("Untagged: {name}\n"));
        }
        lines.push_str(&format!("Deleted: {}\n", image.id()));
        Ok(lines)
    }
}

fn short(id: &ContainerId) -> String {
    id.short().to_owned()
}

/// `reason` holds the closing parenthesis of docker's message.
fn in_use(action: &'static str, image: &str, reason: String) -> Failure {
    let hint = match reason.starts_with("cannot") {
        true => "stop and remove the container first",
        false => "remove the containers and other names first, or use --force",
    };
    let error = CliError::ImageInUse {
        action,
        image: image.to_owned(),
        reason,
    };
    Failure::from(error).or_hint(|| Some(hint.to_owned()))
}

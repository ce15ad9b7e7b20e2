//! The files of a build's result as a directory or a tar stream.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use mica_builder::Built;
use mica_oci::Platform;
use mica_store::{Rewrite, Times, concatenate_trees};

use super::deliver::Delivery;
use crate::failure::{CliError, Failure};

/// Writes the files into a directory, as the user who runs the build; of several platforms each
/// into its own, unless `split` says otherwise.
pub(super) fn to_directory(
    delivery: &Delivery<'_>,
    directory: &Path,
    split: Option<bool>,
) -> Result<(), Failure> {
    let split = split.unwrap_or(delivery.built.len() > 1);
    if !split {
        check_overlap(delivery)?;
    }
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    for built in delivery.built {
        let rewrite = rewrite(built, Some((user, group)));
        let stack = delivery.store.unpack(&built.image)?;
        match split {
            true => stack.write_tree_to(rewrite, &directory.join(folder(&built.platform)))?,
            false => stack.write_tree_to(rewrite, directory)?,
        }
    }
    Ok(())
}

/// Writes the files as a tar stream, with their owners; several platforms in a folder each.
pub(super) fn to_tar(delivery: &Delivery<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    if let [built] = delivery.built {
        let stack = delivery.store.unpack(&built.image)?;
        return Ok(stack.write_tree(rewrite(built, None), out)?);
    }
    let mut trees = Vec::with_capacity(delivery.built.len());
    for built in delivery.built {
        let stack = delivery.store.unpack(&built.image)?;
        trees.push((folder(&built.platform), stack, rewrite(built, None)));
    }
    Ok(concatenate_trees(&trees, out)?)
}

/// BuildKit's rule: a time that was given is that of all files.
fn rewrite(built: &Built, owner: Option<(u32, u32)>) -> Rewrite {
    let times = match built.epoch {
        Some(epoch) => Times::All(epoch.as_second()),
        None => Times::Keep,
    };
    Rewrite { times, owner }
}

/// `linux_arm64`, `linux_arm_v7`.
fn folder(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

/// Fails when two platforms have a file of the same name.
fn check_overlap(delivery: &Delivery<'_>) -> Result<(), Failure> {
    if delivery.built.len() < 2 {
        return Ok(());
    }
    let mut seen = BTreeMap::new();
    for built in delivery.built {
        let stack = delivery.store.unpack(&built.image)?;
        for path in stack.view()?.file_paths()? {
            if let Some(first) = seen.insert(path.clone(), &built.platform) {
                let (path, other) = (path.display(), &built.platform);
                let message = format!(
                    "cannot overwrite {path} from {first} with {other} when split option is disabled"
                );
                return Err(CliError::Arguments { message }.into());
            }
        }
    }
    Ok(())
}

//! `--chown` and USER: names and numbers, looked up in the image.

use std::io::Read;
use std::path::Path;

use mica_store::{Follow, View};

use crate::error::ErrorKind;

/// Looks `user[:group]` up in the image. Without a group, a user's name stands for the user's own
/// group, and a number for the group of that number.
pub(crate) fn owner_ids(image: &View, owner: &str) -> Result<(u32, u32), ErrorKind> {
    let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
    let (uid, own_group) = match user.parse() {
        Ok(number) => (number, number),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => {
            let fields = database_line(image, user, "user", "/etc/passwd")?;
            (number(&fields, 2), number(&fields, 3))
        }
    };
    let gid = match group.parse() {
        Ok(number) => number,
        Err(_) if group.is_empty() => own_group,
        Err(_) => number(&database_line(image, group, "group", "/etc/group")?, 2),
    };
    Ok((uid, gid))
}

/// Finds the line of a name in `/etc/passwd` or `/etc/group` and splits it into fields.
fn database_line(
    image: &View,
    name: &str,
    kind: &'static str,
    file: &'static str,
) -> Result<Vec<String>, ErrorKind> {
    let mut text = String::new();
    if let Some(entry) = image.lookup(Path::new(file), Follow::All)? {
        let mut bytes = Vec::new();
        let read = image.open(&entry)?.read_to_end(&mut bytes);
        read.map_err(ErrorKind::io("read", file))?;
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    let line = text
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    match line {
        Some(line) => Ok(line.split(':').map(str::to_owned).collect()),
        None => Err(ErrorKind::Owner {
            kind,
            name: name.to_owned(),
            file,
        }),
    }
}

fn number(fields: &[String], index: usize) -> u32 {
    fields
        .get(index)
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

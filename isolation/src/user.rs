//! Users and groups by the root's own `/etc/passwd` and `/etc/group`, by docker's rules.

use std::io;
use std::path::Path;

use crate::error::{At, Error, Step};

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the primary one first.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// A line of `/etc/passwd`.
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A line of `/etc/group`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Finds a user in the files of the present root directory.
pub(crate) fn find(user: &str, additional_groups: &[String]) -> Result<Identity, Error> {
    let passwd = read("/etc/passwd")?;
    let group = read("/etc/group")?;
    resolve(user, additional_groups, &passwd, &group)
}

/// An image need not have the files: a missing one has no entries.
fn read(path: &str) -> Result<String, Error> {
    match std::fs::read(Path::new(path)) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).at_path(Step::ReadUserDatabase, path),
    }
}

fn resolve(
    user: &str,
    additional_groups: &[String],
    passwd: &str,
    group: &str,
) -> Result<Identity, Error> {
    let (user_name, group_name) = user.split_once(':').unwrap_or((user, ""));
    let found = find_user(user_name, passwd);
    let mut identity = match &found {
        Some(entry) => Identity {
            uid: entry.uid,
            gid: entry.gid,
            groups: Vec::new(),
            home: entry.home.to_string(),
        },
        None => unlisted(user_name)?,
    };
    if !group_name.is_empty() {
        identity.gid = find_group(group_name, group)?;
    }
    identity.groups.push(identity.gid);
    if group_name.is_empty() {
        let memberships = found
            .iter()
            .flat_map(|entry| memberships(entry.name, group));
        identity.groups.extend(memberships.collect::<Vec<_>>());
    }
    for name in additional_groups {
        identity.groups.push(find_group(name, group)?);
    }
    let mut seen = std::collections::HashSet::new();
    identity.groups.retain(|gid| seen.insert(*gid));
    if identity.home.is_empty() {
        identity.home = "/".to_string();
    }
    Ok(identity)
}

/// A number is always a user ID, never a name; an empty user is user 0.
fn find_user<'a>(user: &str, passwd: &'a str) -> Option<User<'a>> {
    let uid = if user.is_empty() {
        Some(0)
    } else {
        user.parse().ok()
    };
    users(passwd).find(|entry| match uid {
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    })
}

/// A number needs no entry: its group is then root's.
fn unlisted(user: &str) -> Result<Identity, Error> {
    let uid = match user {
        "" => 0,
        number => number.parse().map_err(|_| Error::UnknownUser {
            user: user.to_string(),
        })?,
    };
    Ok(Identity {
        uid,
        gid: 0,
        groups: Vec::new(),
        home: "/".to_string(),
    })
}

fn find_group(name: &str, group: &str) -> Result<u32, Error> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    groups(group)
        .find(|entry| entry.name == name)
        .map(|entry| entry.gid)
        .ok_or_else(|| Error::UnknownGroup {
            group: name.to_string(),
        })
}

fn memberships<'a>(user: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    groups(group)
        .filter(move |entry| entry.members.split(',').any(|member| member.trim() == user))
        .map(|entry| entry.gid)
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User {
            name,
            uid,
            gid,
            home: fields.nth(1).unwrap_or(""),
        })
    })
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group {
            name,
            gid,
            members: fields.next().unwrap_or(""),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # a comment\n\
        app:x:1000:1001:An app:/home/app:/bin/sh\n\
        broken:line\n\
        homeless:x:1002:1002::\n\
        1005:x:7:7::/seven:\n";
    const GROUP: &str =
        "root:x:0:\nwheel:x:10:root\naudio:x:29:app,other\nvideo:x:44:other, app\napp:x:1001:\n";

    /// What is expected: uid, gid, groups, home; or the text of the error.
    type Expected = Result<(u32, u32, &'static [u32], &'static str), &'static str>;

    fn check(user: &str, additional: &[&str], expected: Expected) {
        let additional: Vec<String> = additional.iter().map(ToString::to_string).collect();
        let found = resolve(user, &additional, PASSWD, GROUP);
        match (found, expected) {
            (Ok(found), Ok((uid, gid, groups, home))) => {
                let expected = Identity {
                    uid,
                    gid,
                    groups: groups.to_vec(),
                    home: home.to_string(),
                };
                assert_eq!(found, expected, "user {user:?}");
            }
            (Err(found), Err(expected)) => assert_eq!(found.to_string(), expected),
            (found, expected) => panic!("user {user:?}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn users_are_found_by_dockers_rules() {
        check("", &[], Ok((0, 0, &[0, 10], "/root")));
        check("root", &[], Ok((0, 0, &[0, 10], "/root")));
        check("app", &[], Ok((1000, 1001, &[1001, 29, 44], "/home/app")));
        check("1000", &[], Ok((1000, 1001, &[1001, 29, 44], "/home/app")));
        check("app:wheel", &[], Ok((1000, 10, &[10], "/home/app")));
        check("app:77", &[], Ok((1000, 77, &[77], "/home/app")));
        check("homeless", &[], Ok((1002, 1002, &[1002], "/")));
        check("4242", &[], Ok((4242, 0, &[0], "/")));
        check("4242:4243", &[], Ok((4242, 4243, &[4243], "/")));
        check("1005", &[], Ok((1005, 0, &[0], "/")));
        check(
            "app",
            &["wheel", "5", "29"],
            Ok((1000, 1001, &[1001, 29, 44, 10, 5], "/home/app")),
        );
        check(
            "nobody",
            &[],
            Err("unable to find user nobody: no matching entries in passwd file"),
        );
        check(
            "app:no",
            &[],
            Err("unable to find group no: no matching entries in group file"),
        );
        check(
            "app",
            &["no"],
            Err("unable to find group no: no matching entries in group file"),
        );
    }
}

//! RPM's database, as SQLite keeps it since rpm 4.16.
//!
//! Source: rpm, `docs/manual/format_header.md`: a header is a table of tags, then their values.

use std::io::{self, Write};

use rusqlite::{Connection, OpenFlags};

use super::{Ecosystem, Package};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENSE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;

/// An entry of the table.
const ENTRY: usize = 16;

/// Reads the packages of a database; one that is none has no packages.
pub(super) fn packages(database: &[u8]) -> io::Result<Vec<Package>> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(database)?;
    Ok(query(file.path()).unwrap_or_default())
}

fn query(path: &std::path::Path) -> rusqlite::Result<Vec<Package>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare("SELECT blob FROM Packages ORDER BY hnum")?;
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    let packages = rows.filter_map(|row| package(&row.ok()?));
    Ok(packages.collect())
}

fn package(header: &[u8]) -> Option<Package> {
    let text = |tag| value(header, tag).map(String::from_utf8_lossy);
    let or_empty = |tag| text(tag).unwrap_or_default().into_owned();
    let epoch = value(header, EPOCH).and_then(|bytes| number(bytes, 0));
    let epoch = epoch.map_or(String::new(), |epoch| format!("{epoch}:"));
    let version = format!("{epoch}{}-{}", text(VERSION)?, text(RELEASE)?);
    let name = text(NAME)?;
    // Keys that signatures are checked with stand among the packages.
    if name == "gpg-pubkey" {
        return None;
    }
    Package::new(Ecosystem::Rpm, &name, &version).map(|package| Package {
        architecture: or_empty(ARCHITECTURE),
        license: or_empty(LICENSE),
        ..package
    })
}

/// Returns a tag's value: a number's four bytes, or a text without the NUL behind it.
fn value(header: &[u8], tag: u32) -> Option<&[u8]> {
    const NUMBER: u32 = 4;
    let count = number(header, 0)? as usize;
    let data = header.get(8 + count.checked_mul(ENTRY)?..)?;
    let table = header.get(8..8 + count * ENTRY)?;
    let entry = table
        .chunks_exact(ENTRY)
        .find(|entry| number(entry, 0) == Some(tag))?;
    let value = data.get(number(entry, 8)? as usize..)?;
    match number(entry, 4)? {
        NUMBER => value.get(..4),
        _ => value.split(|byte| *byte == 0).next(),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(tags: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let (mut table, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, value) in tags {
            for number in [*tag, *kind, data.len() as u32, 1] {
                table.extend(number.to_be_bytes());
            }
            data.extend_from_slice(value);
            data.push(0);
        }
        let sizes = [tags.len() as u32, data.len() as u32].map(u32::to_be_bytes);
        [sizes.concat(), table, data].concat()
    }

    #[test]
    fn a_database_is_read() {
        let bash = header(&[
            (NAME, 6, b"bash"),
            (VERSION, 6, b"5.2"),
            (RELEASE, 6, b"1.fc40"),
            (EPOCH, 4, &[0, 0, 0, 2]),
            (LICENSE, 6, b"GPL-3.0"),
            (ARCHITECTURE, 6, b"x86_64"),
        ]);
        let file = tempfile::NamedTempFile::new().unwrap();
        let connection = Connection::open(file.path()).unwrap();
        connection
            .execute_batch("CREATE TABLE Packages (hnum INTEGER, blob BLOB)")
            .unwrap();
        for blob in [&bash[..], &bash[..40], b""] {
            connection
                .execute("INSERT INTO Packages VALUES (1, ?)", [blob])
                .unwrap();
        }
        drop(connection);
        let found = packages(&std::fs::read(file.path()).unwrap()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&*found[0].name, &*found[0].version),
            ("bash", "2:5.2-1.fc40")
        );
        assert_eq!(
            (&*found[0].architecture, &*found[0].license),
            ("x86_64", "GPL-3.0")
        );
        assert_eq!(packages(b"no database").unwrap(), []);
    }
}

//! What compilers put into executables: Go's build information, Rust's audit data.
//!
//! Source: Go, `debug/buildinfo`; the `cargo auditable` project, `PARSING.md`; System V ABI, "Object
//! files".

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use serde_json::Value;

use super::{Ecosystem, Package};

/// Longer executables are not looked into.
const LONGEST: u64 = 1 << 30;

/// The most bytes of a section that are read.
const SECTION: u64 = 8 << 20;

/// The most bytes that compressed audit data may turn into.
const AUDIT_DATA: u64 = 16 << 20;

/// Begins Go's build information.
const GO: &[u8] = b"\xff Go buildinf:";

/// Go puts as many bytes before and after the text of the modules.
const SENTINEL: usize = 16;

/// Reads an executable; anything else has no packages.
pub(super) fn packages(content: &mut dyn Read) -> io::Result<Vec<Package>> {
    let mut head = Vec::new();
    (&mut *content).take(64).read_to_end(&mut head)?;
    if !head.starts_with(b"\x7fELF\x02\x01") || head.len() < 64 {
        return Ok(Vec::new());
    }
    // Sections are listed at the end of a file, so a stream does not do.
    let mut file = tempfile::tempfile()?;
    io::copy(&mut head.chain(content.take(LONGEST)), &mut file)?;
    let mut packages = Vec::new();
    if let Some(section) = section(&file, b".go.buildinfo") {
        packages.extend(go(&section).unwrap_or_default());
    }
    if let Some(section) = section(&file, b".dep-v0") {
        packages.extend(rust(&section));
    }
    Ok(packages)
}

/// Reads a section of a 64-bit little-endian ELF file.
fn section(file: &File, name: &[u8]) -> Option<Vec<u8>> {
    let head = bytes(file, 0, 64)?;
    let table = number(&head, 40, 8)?;
    let (size, count) = (number(&head, 58, 2)?, number(&head, 60, 2)?);
    let names = number(&head, 62, 2)?;
    if size < 64 || names >= count {
        return None;
    }
    let headers = bytes(file, table, size * count)?;
    let header = |index: u64| headers.get((index * size) as usize..);
    let names = place(header(names)?)?;
    let names = bytes(file, names.0, names.1)?;
    for index in 0..count {
        let header = header(index)?;
        let start = number(header, 0, 4)? as usize;
        let found = names.get(start..)?.split(|byte| *byte == 0).next()?;
        if found == name {
            let (offset, length) = place(header)?;
            return bytes(file, offset, length);
        }
    }
    None
}

/// Offset and size of a section.
fn place(header: &[u8]) -> Option<(u64, u64)> {
    Some((number(header, 24, 8)?, number(header, 32, 8)?))
}

fn bytes(file: &File, offset: u64, length: u64) -> Option<Vec<u8>> {
    if length > SECTION {
        return None;
    }
    let mut out = vec![0; length as usize];
    file.read_exact_at(&mut out, offset).ok()?;
    Some(out)
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let part = bytes.get(at..at + length)?.iter().rev();
    Some(part.fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Reads build information as Go writes it since 1.18: the texts are in the section.
fn go(section: &[u8]) -> Option<Vec<Package>> {
    let start = section.windows(GO.len()).position(|window| window == GO)?;
    let section = &section[start..];
    let are_inside = section.get(15)? & 2 != 0;
    if !are_inside {
        return None;
    }
    let (version, rest) = text(section.get(32..)?)?;
    let (modules, _) = text(rest)?;
    let modules = modules.get(SENTINEL..modules.len().checked_sub(SENTINEL)?)?;
    let modules = String::from_utf8_lossy(modules);
    let standard = String::from_utf8_lossy(version);
    let standard = standard.strip_prefix("go").unwrap_or(&standard);
    let standard = standard.split(' ').next().unwrap_or_default();
    let mut packages: Vec<Package> = Vec::new();
    packages.extend(Package::new(Ecosystem::Go, "stdlib", standard));
    for line in modules.lines() {
        let mut parts = line.split('\t');
        let kind = parts.next().unwrap_or_default();
        let module = Package::new(
            Ecosystem::Go,
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        match kind {
            "mod" | "dep" => packages.extend(module),
            // It stands for the one before.
            "=>" => {
                packages.pop();
                packages.extend(module);
            }
            _ => {}
        }
    }
    Some(packages)
}

/// Takes a text off: its length as an unsigned LEB128 number, and its bytes.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0u64;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let rest = &bytes[index + 1..];
            return rest.split_at_checked(usize::try_from(length).ok()?);
        }
    }
    None
}

/// Reads audit data: JSON in a zlib stream.
fn rust(section: &[u8]) -> Vec<Package> {
    let mut json = Vec::new();
    let decoder = flate2::read::ZlibDecoder::new(section);
    if decoder.take(AUDIT_DATA).read_to_end(&mut json).is_err() {
        return Vec::new();
    }
    let data: Value = serde_json::from_slice(&json).unwrap_or_default();
    let crates = data["packages"].as_array().into_iter().flatten();
    // What only the build needed is in no executable.
    let crates = crates.filter(|found| found["kind"] != "build");
    let package = |found: &Value| {
        let get = |name: &str| found[name].as_str().unwrap_or_default();
        Package::new(Ecosystem::Rust, get("name"), get("version"))
    };
    crates.filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// An ELF file with one section.
    fn elf(name: &[u8], content: &[u8]) -> Vec<u8> {
        let names = [b"\0", name, b"\0"].concat();
        let mut out = vec![0; 64];
        out[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let names_at = out.len();
        out.extend(&names);
        let content_at = out.len();
        out.extend(content);
        let table = out.len();
        let mut header = |name: u32, offset: usize, length: usize| {
            let mut header = vec![0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            out.extend(header);
        };
        header(0, names_at, names.len());
        header(1, content_at, content.len());
        out[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        out[58] = 64;
        out[60] = 2;
        out
    }

    fn check(file: &[u8], expected: &[&str]) {
        let found = packages(&mut &*file).unwrap();
        let shown = found
            .iter()
            .map(|package| format!("{} {}", package.name, package.version));
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn go_modules_are_read() {
        let modules =
            "path\tx\nmod\tgo.example/x\tv1.2.3\t\ndep\ta/b\tv2.0.0\th1:=\n=>\tc/d\tv3.0.0\t\n";
        let modules = format!("{0}{modules}{0}", "s".repeat(SENTINEL));
        let mut info = [GO, &[8, 2]].concat();
        info.resize(32, 0);
        for text in ["go1.25.1 X:none", &modules] {
            let length = text.len();
            let low = (length & 0x7f) as u8;
            match length > 0x7f {
                true => info.extend([low | 0x80, (length >> 7) as u8]),
                false => info.push(low),
            }
            info.extend(text.as_bytes());
        }
        let file = elf(b".go.buildinfo", &info);
        check(
            &file,
            &["stdlib 1.25.1", "go.example/x v1.2.3", "c/d v3.0.0"],
        );
        for length in 0..file.len() {
            packages(&mut &file[..length]).unwrap();
        }
    }

    #[test]
    fn rust_audit_data_is_read() {
        let json = br#"{"packages":[{"name":"serde","version":"1.0.1"},{"name":"cc","version":"1.0","kind":"build"}]}"#;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(json).unwrap();
        check(
            &elf(b".dep-v0", &encoder.finish().unwrap()),
            &["serde 1.0.1"],
        );
        check(&elf(b".dep-v0", b"none"), &[]);
        check(b"#!/bin/sh\n", &[]);
    }
}

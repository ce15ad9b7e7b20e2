//! The table of what is supported: its rows name tests that exist.

use std::fs;
use std::path::Path;

/// Returns the pairs of name and path of a row's links: `` [`name`](path) ``.
fn links(row: &str) -> impl Iterator<Item = (&str, &str)> {
    row.split("[`").skip(1).filter_map(|link| {
        let (name, rest) = link.split_once("`](")?;
        Some((name, rest.split(')').next()?))
    })
}

#[test]
fn every_row_names_tests() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let page = fs::read_to_string(docs.join("dockerfile-support.md")).expect("the page");
    let is_row = |line: &&str| {
        line.starts_with("| ") && !line.starts_with("| what") && !line.starts_with("| ---")
    };
    let rows: Vec<_> = page.lines().filter(is_row).collect();
    assert!(rows.len() > 40, "{} rows", rows.len());
    for row in rows {
        assert!(links(row).count() > 0, "no test: {row}");
        for (name, path) in links(row) {
            let file = fs::read_to_string(docs.join(path)).expect(path);
            assert!(
                file.contains(&format!("fn {name}(")),
                "{name} is not in {path}"
            );
        }
    }
}

#[test]
fn every_instruction_and_flag_has_a_row() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let page = fs::read_to_string(docs.join("dockerfile-support.md")).expect("the page");
    for name in mica_dockerfile::INSTRUCTION_NAMES {
        let rows: Vec<_> = page.lines().filter(|line| line.contains(name)).collect();
        assert!(!rows.is_empty(), "{name}");
        // The options of HEALTHCHECK and the keys of mounts share a row.
        for flag in mica_dockerfile::flags_of(name)
            .iter()
            .filter(|_| *name != "HEALTHCHECK")
        {
            let flag = format!("`--{flag}");
            assert!(rows.iter().any(|row| row.contains(&flag)), "{name} {flag}");
        }
    }
}

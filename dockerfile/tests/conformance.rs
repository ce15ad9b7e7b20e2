//! The parser, shell and ignore data of the conformance folder, where it stands beside the
//! workspace; without it each test says so and passes.

use mica_dockerfile::ignore::{Matcher, ParentMatches, PatternClass, Verdict, read};
use mica_dockerfile::{Escape, Expander, Tree, parse, parse_tree, print};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Finds a folder of the conformance data, or says that a test is skipped.
fn data(test: &str, folder: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    skipped(test, &path);
    None
}

fn skipped(test: &str, path: &Path) {
    say(&format!("skipped: {test}: {} is not here", path.display()));
}

/// Says how many cases a test looked at.
fn counted(test: &str, cases: usize) {
    say(&format!("conformance {test}: {cases} cases"));
}

/// Writes a line past the test harness, which keeps to itself what a passing test prints.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error is open");
}

fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&text(path)).expect("valid JSON")
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).expect("a folder");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().expect("an array");
    items
        .iter()
        .map(|item| item.as_str().expect("a string").to_owned())
        .collect()
}

fn tree(dockerfile: &str) -> Tree {
    let (tree, errors) = parse_tree(dockerfile);
    assert!(errors.is_empty(), "{errors:?}");
    tree
}

#[test]
fn parser_trees() {
    let Some(data) = data("parser_trees", "parser") else {
        return;
    };
    let cases = folders(&data.join("testfiles"));
    assert!(cases.len() >= 30, "{} cases", cases.len());
    let mut checked = 0;
    for case in cases {
        let found = tree(&text(case.join("Dockerfile"))).to_string();
        assert_eq!(found, text(case.join("result")), "{}", case.display());
        checked += 1;
    }
    counted("parser_trees", checked);
}

#[test]
fn parser_refusals() {
    let Some(data) = data("parser_refusals", "parser") else {
        return;
    };
    let cases = folders(&data.join("testfiles-negative"));
    for case in &cases {
        let (_, errors) = parse_tree(&text(case.join("Dockerfile")));
        assert!(!errors.is_empty(), "{}", case.display());
    }
    counted("parser_refusals", cases.len());
}

#[test]
fn parser_lines() {
    let Some(data) = data("parser_lines", "parser") else {
        return;
    };
    let tree = tree(&text(data.join("testfile-line/Dockerfile")));
    let lines: Vec<_> = tree
        .nodes
        .iter()
        .map(|node| (node.span.first_line, node.span.last_line))
        .collect();
    assert_eq!(lines, [(5, 5), (11, 12), (17, 31)]);
}

#[test]
fn printed_trees_parse_to_the_same() {
    let Some(data) = data("printed_trees_parse_to_the_same", "parser") else {
        return;
    };
    let cases = folders(&data.join("testfiles"));
    for case in &cases {
        let before = tree(&text(case.join("Dockerfile")));
        let printed = print(&before);
        let after = tree(&printed);
        assert_eq!(
            before.to_string(),
            after.to_string(),
            "{}\n{printed}",
            case.display()
        );
        assert_eq!(printed, print(&after), "{}", case.display());
    }
    counted("printed_trees_parse_to_the_same", cases.len());
}

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn shell_single_words() {
    let Some(data) = data("shell_single_words", "shell") else {
        return;
    };
    let environment = environment(&[
        ("PWD", "/home"),
        ("SHELL", "bash"),
        ("KOREAN", "한국어"),
        ("NULL", ""),
    ]);
    let mut checked = 0;
    for line in text(data.join("envVarTest")).lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let parts: Vec<_> = line.split('|').map(str::trim).collect();
        let [platform, source, expected] = parts[..] else {
            panic!("{line}")
        };
        let lookup = |name: &str| match platform {
            // Windows has no case in variables.
            "W" => environment.get(&name.to_uppercase()).cloned(),
            _ => environment.get(name).cloned(),
        };
        let found = Expander::new(Escape::Backslash, &lookup).expand(source);
        match found {
            Ok(found) => assert_eq!(found.value, expected, "{line}"),
            Err(error) => assert_eq!(expected, "error", "{line}: {error}"),
        }
        checked += 1;
    }
    assert!(checked > 200, "{checked} rows");
    counted("shell_single_words", checked);
}

#[test]
fn shell_words() {
    let Some(data) = data("shell_words", "shell") else {
        return;
    };
    let mut environment = BTreeMap::new();
    let mut checked = 0;
    for line in text(data.join("wordsTest")).lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        if let Some(variable) = line.strip_prefix("ENV ") {
            let (name, value) = variable.trim_start().split_once('=').expect("name=value");
            environment.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let (source, expected) = line.split_once('|').expect("source | words");
        let lookup = |name: &str| environment.get(name).cloned();
        let found = Expander::new(Escape::Backslash, &lookup).expand(source.trim());
        match found {
            Ok(found) => assert_eq!(found.words.join(","), expected.trim_start(), "{line}"),
            Err(error) => assert_eq!(expected.trim_start(), "error", "{line}: {error}"),
        }
        checked += 1;
    }
    counted("shell_words", checked);
}

#[test]
fn shell_matches() {
    let Some(data) = data("shell_matches", "shell") else {
        return;
    };
    let rows = json(data.join("process.json"));
    for row in rows.as_array().expect("rows") {
        let environment = &row["envs"];
        let lookup = |name: &str| {
            environment
                .get(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let input = row["input"].as_str().expect("an input");
        let found = Expander::new(Escape::Backslash, &lookup).expand(input);
        if row["error"] == Value::Bool(true) {
            assert!(found.is_err(), "{row}");
            continue;
        }
        let found = found.unwrap_or_else(|error| panic!("{row}: {error}"));
        let set = |name: &str| strings(&row[name]).into_iter().collect::<BTreeSet<_>>();
        assert_eq!(
            found.value,
            row["expected"].as_str().expect("a value"),
            "{row}"
        );
        assert_eq!(found.used, set("matches"), "{row}");
        assert_eq!(found.unmatched, set("unmatched"), "{row}");
    }
    counted("shell_matches", rows.as_array().map_or(0, Vec::len));
}

/// Asks a matcher entry by entry from the root, as a walk does.
fn walked(matcher: &Matcher, path: &str) -> Option<bool> {
    let path = mica_dockerfile::ignore::clean(path);
    let mut parent = ParentMatches::default();
    let mut verdict = Verdict::Kept;
    if path == "." {
        return Some(false);
    }
    let ends = path
        .match_indices('/')
        .map(|(at, _)| at)
        .chain([path.len()]);
    for end in ends {
        (verdict, parent) = matcher.descend(&path[..end], &parent).ok()?;
    }
    Some(verdict == Verdict::Ignored)
}

#[test]
fn ignore_matches() {
    let Some(data) = data("ignore_matches", "dockerignore") else {
        return;
    };
    let rows = json(data.join("vectors.json"));
    let rows = rows["match"].as_array().expect("rows");
    assert_eq!(rows.len(), 190);
    for row in rows {
        let path = row["path"].as_str().expect("a path");
        let matcher = Matcher::new(strings(&row["patterns"]));
        let found = matcher
            .clone()
            .and_then(|it| it.matches_or_parent_matches(path));
        if let Some(kind) = row["error"].as_str() {
            let error = found.expect_err(&row.to_string()).to_string();
            assert!(
                kind == "any" || error == "syntax error in pattern",
                "{row}: {error}"
            );
            continue;
        }
        let expected = row["match"].as_bool().expect("an answer");
        assert_eq!(found, Ok(expected), "{row}");
        let matcher = matcher.expect("made before");
        assert_eq!(walked(&matcher, path), Some(expected), "walking: {row}");
    }
    counted("ignore_matches", rows.len());
}

#[test]
fn ignore_lists() {
    let Some(data) = data("ignore_lists", "dockerignore") else {
        return;
    };
    let rows = json(data.join("vectors.json"));
    for row in rows["clean"].as_array().expect("rows") {
        let matcher = Matcher::new(strings(&row["patterns"]));
        if !row["error"].is_null() {
            assert!(matcher.is_err(), "{row}");
            continue;
        }
        let matcher = matcher.expect("valid patterns");
        if let Some(count) = row["count"].as_u64() {
            assert_eq!(matcher.patterns().len() as u64, count, "{row}");
        }
        if let Some(exclusions) = row["has_exclusions"].as_bool() {
            assert_eq!(matcher.has_exclusions(), exclusions, "{row}");
        }
    }
    counted("ignore_lists", rows["clean"].as_array().map_or(0, Vec::len));
}

#[test]
fn ignore_classes() {
    let Some(data) = data("ignore_classes", "dockerignore") else {
        return;
    };
    let rows = json(data.join("vectors.json"));
    for row in rows["compile"].as_array().expect("rows") {
        let matcher = Matcher::new([row["pattern"].as_str().expect("a pattern")]);
        let matcher = matcher.expect("a valid pattern");
        let pattern = &matcher.patterns()[0];
        let class = match pattern.class() {
            PatternClass::Exact => "exact",
            PatternClass::Prefix => "prefix",
            PatternClass::Suffix => "suffix",
            PatternClass::Regexp => "regexp",
        };
        assert_eq!(class, row["kind"].as_str().expect("a class"), "{row}");
        assert_eq!(
            pattern.regular_expression().as_deref(),
            row["regexp"].as_str(),
            "{row}"
        );
    }
    counted(
        "ignore_classes",
        rows["compile"].as_array().map_or(0, Vec::len),
    );
}

#[test]
fn ignore_reader() {
    let Some(data) = data("ignore_reader", "dockerignore") else {
        return;
    };
    let rows = json(data.join("vectors.json"));
    for row in rows["read"].as_array().expect("rows") {
        let lines = read(row["content"].as_str().expect("a content"));
        let found: Vec<_> = lines.into_iter().map(|line| line.pattern).collect();
        assert_eq!(found, strings(&row["patterns"]), "{row}");
    }
    counted("ignore_reader", rows["read"].as_array().map_or(0, Vec::len));
}

#[test]
fn recorded_parse_errors() {
    let Some(data) = data("recorded_parse_errors", "lint") else {
        return;
    };
    let cases = json(data.join("cases.json"));
    for case in cases.as_array().expect("cases") {
        let found = parse(case["dockerfile"].as_str().expect("a Dockerfile"));
        let expected = case["build_error"]["message"].as_str().unwrap_or("");
        if expected.starts_with("dockerfile parse error") {
            let errors = found.expect_err(expected);
            assert_eq!(errors[0].to_string(), expected);
        } else {
            assert!(found.is_ok(), "{}: {found:?}", case["name"]);
        }
    }
    counted(
        "recorded_parse_errors",
        cases.as_array().map_or(0, Vec::len),
    );
}

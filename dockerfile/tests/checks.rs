//! The pages of the rules: each rule has one, and its examples show what it finds.

use mica_dockerfile::check::{
    BUILDKIT_RULES, BaseImage, CheckRequest, Facts, OWN_RULES, PlatformName, Reach, Rule, check,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the Dockerfile below a heading of a page.
fn example<'p>(page: &'p str, heading: &str) -> &'p str {
    let (_, after) = page.split_once(heading).expect(heading);
    let (_, code) = after.split_once("```dockerfile\n").expect("an example");
    code.split("```").next().expect("the example ends")
}

fn findings(dockerfile: &str) -> Vec<Rule> {
    let platform = |_: &str| Err::<PlatformName, _>("unused".to_owned());
    let report = check(
        dockerfile,
        &CheckRequest {
            build_args: &BTreeMap::new(),
            predefined: &[],
            target: None,
            reach: Reach::All,
            ignore: None,
            facts: Facts {
                reference: &|_| Ok(()),
                platform: &platform,
                image: &|_, _| BaseImage::Unknown,
                replaced: &|_| false,
            },
        },
    );
    assert_eq!(report.failure, None, "{dockerfile}");
    report.findings.into_iter().map(|it| it.rule).collect()
}

#[test]
fn examples_of_every_page() {
    for rule in OWN_RULES {
        let page = text(&docs().join(rule.url().expect("a page")));
        assert!(page.starts_with(&format!("# {rule}\n")), "{rule}");
        let bad = example(&page, "## Bad");
        let good = example(&page, "## Good");
        assert!(findings(bad).contains(&rule), "{rule} is silent: {bad}");
        assert_eq!(findings(good), [], "{rule}: {good}");
        let skipped = format!("# check=skip={rule}\n{bad}");
        assert!(!findings(&skipped).contains(&rule), "{rule}: {skipped}");
    }
}

#[test]
fn every_rule_is_listed() {
    let list = text(&docs().join("docs/checks/README.md"));
    for rule in BUILDKIT_RULES.iter().chain(&OWN_RULES) {
        assert!(list.contains(&format!("`{rule}`")), "{rule}");
    }
}

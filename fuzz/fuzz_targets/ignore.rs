//! Ignore patterns: the first line is a path, the others are an ignore file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mica_dockerfile::ignore::{Matcher, ParentMatches, Verdict, clean, read};

/// Asks entry by entry from the root, as a walk does.
fn walked(matcher: &Matcher, path: &str) -> Option<bool> {
    let mut parent = ParentMatches::default();
    let mut verdict = Verdict::Kept;
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        (verdict, parent) = matcher.descend(&path[..end], &parent).ok()?;
    }
    Some(verdict == Verdict::Ignored)
}

fuzz_target!(|text: &str| {
    let (path, content) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(matcher) = Matcher::from_lines(&read(content)) else {
        return;
    };
    let path = clean(path);
    if path == "." || path.starts_with('/') {
        return;
    }
    if matcher.has_exclusions() {
        // A walk and a look at the path alone may differ then: see `Matcher::descend`.
        let _ = (matcher.matches_or_parent_matches(&path), walked(&matcher, &path));
        return;
    }
    let (direct, walked) = (matcher.matches_or_parent_matches(&path), walked(&matcher, &path));
    if let (Ok(direct), Some(walked)) = (direct, walked) {
        assert_eq!(direct, walked, "{path:?}");
    }
});

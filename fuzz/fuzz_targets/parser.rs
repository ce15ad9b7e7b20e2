//! The parser, the printer and the checks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mica_dockerfile::check::{BaseImage, CheckRequest, Facts, ImageFacts, PlatformName, Reach, check};
use mica_dockerfile::{SourceMap, parse, parse_tree, print};
use std::collections::BTreeMap;

fuzz_target!(|text: &str| {
    let (tree, errors) = parse_tree(text);
    let printed = print(&tree);
    if errors.is_empty() {
        let (again, wrong) = parse_tree(&printed);
        assert!(wrong.is_empty(), "{printed:?}: {wrong:?}");
        assert_eq!(again.to_string(), tree.to_string());
    }
    if let Err(errors) = parse(text) {
        let source = SourceMap::new(text);
        for error in errors {
            assert!(!source.excerpt(error.span, 1).is_empty());
        }
    }
    let image = ImageFacts {
        on_build: vec!["COPY $x /".to_owned()],
        ..ImageFacts::default()
    };
    let platform = |text: &str| match text.split_once('/') {
        Some((os, architecture)) => Ok(PlatformName {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
        }),
        None => Err("no platform".to_owned()),
    };
    check(
        text,
        &CheckRequest {
            build_args: &BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            predefined: &[("TARGETPLATFORM".to_owned(), "linux/amd64".to_owned())],
            target: None,
            reach: Reach::All,
            ignore: None,
            facts: Facts {
                reference: &|name| if name.is_empty() { Err("empty".to_owned()) } else { Ok(()) },
                platform: &platform,
                image: &|name, _| match name.len() % 2 {
                    0 => BaseImage::Unknown,
                    _ => BaseImage::Known(image.clone()),
                },
                replaced: &|name| name == "r",
            },
        },
    );
});

//! Variable expansion and word splitting.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mica_dockerfile::{Escape, ExpandOptions, Expander};

fuzz_target!(|text: &str| {
    let variables = |name: &str| match name.len() % 3 {
        0 => None,
        1 => Some(String::new()),
        _ => Some("a.b/c d/é.b".to_owned()),
    };
    for escape in [Escape::Backslash, Escape::Backtick] {
        for bits in 0..16 {
            let options = ExpandOptions {
                keep_quotes: bits & 1 != 0,
                keep_escapes: bits & 2 != 0,
                ignore_quotes: bits & 4 != 0,
                keep_unset: bits & 8 != 0,
            };
            let expander = Expander::new(escape, &variables).with_options(options);
            if let Err(error) = expander.expand(text) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
});

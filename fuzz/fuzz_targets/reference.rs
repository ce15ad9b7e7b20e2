//! Image names and platforms.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mica_oci::{Platform, Reference};

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let shown = reference.to_string();
        assert_eq!(shown.parse::<Reference>().as_ref(), Ok(&reference), "{shown}");
        let familiar = reference.familiar();
        assert_eq!(familiar.parse::<Reference>().as_ref(), Ok(&reference), "{familiar}");
    }
    if let Ok(platform) = text.parse::<Platform>() {
        let shown = platform.to_string();
        assert_eq!(shown.parse::<Platform>().as_ref(), Ok(&platform), "{shown}");
    }
});

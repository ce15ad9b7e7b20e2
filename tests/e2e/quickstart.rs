//! The README's first command: the whole main job on `fixtures/helloworld`.

use std::process::Command;

use mica_tests::{Outcome, mica, needs, repository, run};

/// Builds the Flask application with `pip` from the real registry, and walks the whole table of
/// commands; the script checks each result and cleans up.
pub(crate) fn the_whole_table() -> Outcome {
    needs(&[
        "debootstrap",
        "docker-registry",
        "skopeo",
        "curl",
        "python3",
    ])?;
    let mut script = Command::new(repository().join("scripts/quickstart.sh"));
    let finished = run(script.env("MICA", mica()));
    assert!(finished.ok().contains("checks held"), "{finished}");
    Ok(())
}

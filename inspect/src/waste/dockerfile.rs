//! Which line of a Dockerfile made a layer.

use mica_dockerfile::{ParseError, parse};

use crate::image::Image;

/// A Dockerfile that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the Dockerfile cannot be read: {0}")]
pub struct DockerfileError(ParseError);

/// Returns for each layer of an image the line of the Dockerfile that it was built from, counted
/// from 1. Layers of the base image have none.
///
/// Instructions of the last stage are matched with the layers from the end: each layer takes the next
/// instruction that begins with the same word. What made no layer is passed over.
///
/// # Errors
/// [`DockerfileError`] with the first mistake.
pub fn lines_of_layers(image: &Image, text: &str) -> Result<Vec<Option<usize>>, DockerfileError> {
    let parsed = parse(text).map_err(|errors| {
        DockerfileError(errors.into_iter().next().expect("a failure has an error"))
    })?;
    let stage = parsed.stages.last().expect("a parsed file has a stage");
    let mut instructions = stage.instructions.iter().rev();
    let mut lines = vec![None; image.layers.len()];
    for (layer, line) in image.layers.iter().zip(&mut lines).rev() {
        let keyword = layer
            .instruction
            .split_whitespace()
            .next()
            .unwrap_or_default();
        let found = instructions.find(|instruction| instruction.name() == keyword);
        match found {
            Some(found) => *line = Some(found.span.first_line),
            None => break,
        }
    }
    Ok(lines)
}

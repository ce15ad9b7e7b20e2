//! Applies a base layer and a layer on top of it to an empty directory:
//! `unpack BASE.tar LAYER.tar DIRECTORY`. Serves data packs of hostile layers.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use mica_store::{Limits, apply_onto};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [layers @ .., directory] = arguments.as_slice() else {
        return Err("usage: unpack LAYER... DIRECTORY".into());
    };
    for layer in layers {
        apply_onto(Path::new(directory), File::open(layer)?, &Limits::default())?;
    }
    Ok(())
}

//! Scene inference: normalisation, tiles, blending, classes and confidence. No files, no threads, no device: this is the part that a
//! browser page can run too.

pub mod blend;
pub mod normalise;
pub mod postprocess;
pub mod tiles;

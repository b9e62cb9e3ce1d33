//! Scene inference: rasters to tiles, blending, classes, confidence and the files made of them.
//!
//! [`normalise`](mod@normalise), [`tiles`], [`blend`] and [`postprocess`] know no files, threads or devices: they are the part that a browser
//! page can run too.

pub mod blend;
pub mod location;
pub mod normalise;
pub mod postprocess;
pub mod predict;
pub mod products;
pub mod scene;
mod scene_sources;
pub mod tiles;

//! Scene inference: rasters to tiles, blending, classes, confidence and the files made of them.
//!
//! [`normalise`](mod@normalise), [`tiles`], [`blend`] and [`postprocess`] know no files, threads or devices: they are the part that a browser
//! page can run too.

mod assumed_crs;
pub mod blend;
pub mod dropout;
pub mod extent;
pub mod location;
pub mod manifest;
pub mod normalise;
pub mod outlines;
pub mod postprocess;
pub mod predict;
pub mod products;
pub mod scene;
mod scene_sources;
pub mod spool;
pub mod symmetry;
pub mod tiles;
pub mod uncertainty;
mod uncertainty_rasters;

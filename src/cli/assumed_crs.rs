//! The option `--assume-crs`.

use crate::error::{Error, Result};
use crate::raster::Crs;

/// The CRS of `EPSG:CODE`.
pub(super) fn parse_crs(text: &str) -> Result<Crs> {
    let code = text.strip_prefix("EPSG:").or_else(|| text.strip_prefix("epsg:")).and_then(|code| code.parse().ok());
    match code {
        Some(code) => Crs::from_epsg(code),
        None => Err(Error::bad_argument(format!("--assume-crs {text}"), "EPSG:CODE", "give EPSG:32611, say")),
    }
}

//! The vector that tells a model where a scene lies.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::Location;
use crate::raster::{Grid, Transformer};

/// How the user says where the scene lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocationChoice<'a> {
    /// Not at all: `unknown` for a region model, the scene's centre for a coordinate model.
    Unset,
    /// A region of the model.
    Region(&'a str),
    /// A JSON file with a weight per region.
    VectorFile(&'a Path),
}

/// A region vector file: weights in the model's order, or with the names they belong to.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum VectorFile {
    Plain(Vec<f32>),
    Named { regions: Option<Vec<String>>, vector: Vec<f32> },
}

/// The model's location input for a scene: empty, one weight per region, or sines and cosines of the centre's latitude and longitude.
///
/// # Errors
/// A region the model does not know, a vector of another length, or a choice that the model has no use for.
pub fn location_vector(location: &Location, choice: LocationChoice<'_>, grid: &Grid) -> Result<Vec<f32>> {
    match (location, choice) {
        (Location::None, LocationChoice::Unset) => Ok(Vec::new()),
        (Location::Coordinates, LocationChoice::Unset) => coordinates(grid),
        (Location::Regions(names), LocationChoice::Unset) => one_hot(names, "unknown"),
        (Location::Regions(names), LocationChoice::Region(name)) => one_hot(names, name),
        (Location::Regions(names), LocationChoice::VectorFile(path)) => region_vector(names, path),
        (Location::None | Location::Coordinates, _) => Err(Error::bad_argument(
            "--region or --region-vector for a model without regions",
            "a model trained with region encoding",
            "leave the option out",
        )),
    }
}

fn one_hot(names: &[String], name: &str) -> Result<Vec<f32>> {
    if !names.iter().any(|n| n == name) {
        return Err(Error::bad_argument(
            format!("region {name}"),
            format!("one of {}", names.join(", ")),
            "choose one of the model's regions, or unknown",
        ));
    }
    Ok(names.iter().map(|n| if n == name { 1.0 } else { 0.0 }).collect())
}

fn region_vector(names: &[String], path: &Path) -> Result<Vec<f32>> {
    let text = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let wrong = |found: String| {
        Error::bad_file(
            path,
            found,
            format!("{} weights in the order {}", names.len(), names.join(", ")),
            "write a JSON array, or an object with \"vector\" and \"regions\"",
        )
    };
    let file: VectorFile = serde_json::from_slice(&text).map_err(|e| wrong(format!("no region vector ({e})")))?;
    let (order, vector) = match file {
        VectorFile::Plain(vector) => (None, vector),
        VectorFile::Named { regions, vector } => (regions, vector),
    };
    let order = order.unwrap_or_else(|| names.to_vec());
    if vector.len() != names.len() || order.len() != names.len() {
        return Err(wrong(format!("{} weights", vector.len())));
    }
    if let Some(bad) = vector.iter().find(|v| !v.is_finite()) {
        return Err(wrong(format!("the weight {bad}")));
    }
    names
        .iter()
        .map(|name| {
            let index = order.iter().position(|n| n == name).ok_or_else(|| wrong(format!("no weight for {name}")))?;
            Ok(vector[index])
        })
        .collect()
}

/// Sine and cosine of latitude, sine and cosine of longitude, of the scene's centre. Angles are radians; the published scene tool
/// takes degrees by mistake.
fn coordinates(grid: &Grid) -> Result<Vec<f32>> {
    let crs = grid.crs.as_ref().ok_or_else(|| {
        Error::bad_argument("a scene without a CRS", "a georeferenced scene", "this model needs coordinates")
    })?;
    #[expect(clippy::cast_precision_loss, reason = "rasters have fewer than 2^52 columns and rows")]
    let (x, y) = grid.position(grid.width as f64 / 2.0, grid.height as f64 / 2.0);
    let (longitude, latitude) = Transformer::to_longitude_latitude(crs)?.apply(x, y)?;
    let (latitude, longitude) = (latitude.to_radians(), longitude.to_radians());
    #[expect(clippy::cast_possible_truncation, reason = "the network works in f32")]
    let vector = [latitude.sin(), latitude.cos(), longitude.sin(), longitude.cos()].map(|v| v as f32);
    Ok(vector.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Crs;

    fn grid() -> Grid {
        let crs = Crs::from_epsg(4326).expect("WGS 84");
        Grid { width: 10, height: 10, transform: [0.2, 0.0, 29.0, 0.0, -0.2, 61.0], crs: Some(crs) }
    }

    #[test]
    fn coordinates_are_in_radians() {
        let v =
            location_vector(&Location::Coordinates, LocationChoice::Unset, &grid()).expect("a centre at 60 N, 30 E");
        let root = 3.0_f32.sqrt() / 2.0;
        for (found, expected) in v.iter().zip([root, 0.5, 0.5, root]) {
            assert!((found - expected).abs() < 1e-6, "{v:?}");
        }
    }

    #[test]
    fn regions_by_name_and_by_file() {
        let location = Location::published_regions();
        let v = location_vector(&location, LocationChoice::Region("HMA"), &grid()).expect("a published region");
        assert_eq!((v.len(), v[5], v.iter().sum::<f32>()), (12, 1.0, 1.0));
        let v = location_vector(&location, LocationChoice::Unset, &grid()).expect("unknown");
        assert_eq!(v[11], 1.0);
        assert!(location_vector(&location, LocationChoice::Region("Mars"), &grid()).is_err());
        assert!(location_vector(&Location::None, LocationChoice::Region("HMA"), &grid()).is_err());

        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("region.json");
        let small = Location::Regions(vec!["A".into(), "B".into(), "unknown".into()]);
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            location_vector(&small, LocationChoice::VectorFile(&path), &grid())
        };
        assert_eq!(read("[0.5, 0.25, 0.25]").expect("plain"), [0.5, 0.25, 0.25]);
        let named = r#"{"regions": ["unknown", "B", "A"], "vector": [0.1, 0.2, 0.7]}"#;
        assert_eq!(read(named).expect("named"), [0.7, 0.2, 0.1]);
        for bad in ["[0.5, 0.5]", "{}", "nonsense", r#"{"regions": ["x", "B", "A"], "vector": [0.1, 0.2, 0.7]}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}

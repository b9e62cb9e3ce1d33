//! Layers of classes, read row by row: rasters of any size.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::evaluate::layer::{
    GLACIER, Kind, OTHER, Source, UNKNOWN, class, classes, cut, is_probability, placed, refuse_confidences,
    warn_of_no_other, warn_of_no_pixel,
};
use crate::raster::shapes::{Features, Value};
use crate::raster::{Crs, Grid, PixelShapes, RasterFile, Window};

/// About this many pixels are read at a time, and at most this many, so that no block is unpacked twice.
const BLOCK: usize = 1 << 21;
const LARGEST_BLOCK: usize = 1 << 24;
/// The most values of an attribute by which a reference is divided.
const MOST_VALUES: usize = 64;

/// A layer on a grid.
#[derive(Debug)]
pub(super) struct LayerRows {
    path: PathBuf,
    width: usize,
    pixels: Pixels,
    seen: [bool; 3],
}

#[derive(Debug)]
enum Pixels {
    Classes(Box<RasterFile>),
    /// Cut at 0.5.
    Probabilities(Box<RasterFile>),
    /// Other than 0 and nodata.
    Valid(Box<RasterFile>),
    Shapes(PixelShapes),
}

impl LayerRows {
    /// A prediction. A raster of values between 0 and 1 is taken for probabilities: glacier above 0.5, as `glavitu predict` decides. It is read once to tell
    /// classes from probabilities.
    ///
    /// # Errors
    /// It is a raster of confidences or cannot be read; polygons cannot be put on the grid.
    pub(super) fn predicted(source: Source, grid: &Grid, assumed: Option<&Crs>) -> Result<Self> {
        let Source::Raster(file) = source else { return Self::reference(source, grid, assumed) };
        refuse_confidences(&file)?;
        let (mut all_classes, mut all_probabilities) = (true, true);
        for window in windows(grid, file.block_size().1) {
            let values = file.read_window(0, window)?;
            all_classes = all_classes && values.iter().all(|value| class(*value).is_some());
            all_probabilities = all_probabilities && values.iter().all(|value| is_probability(*value));
            if !all_classes && !all_probabilities {
                break;
            }
        }
        let path = file.path().to_path_buf();
        // What is neither is refused where the wrong value lies.
        let pixels =
            if all_probabilities && !all_classes { Pixels::Probabilities(file) } else { Pixels::Classes(file) };
        Ok(Self { path, width: grid.width, pixels, seen: [false; 3] })
    }

    /// A reference.
    ///
    /// # Errors
    /// Polygons cannot be put on the grid.
    pub(super) fn reference(source: Source, grid: &Grid, assumed: Option<&Crs>) -> Result<Self> {
        let (path, pixels) = match source {
            Source::Raster(file) => (file.path().to_path_buf(), Pixels::Classes(file)),
            Source::Polygons(path, shapes) => {
                let shapes = placed(&path, &shapes, grid, assumed)?;
                (path, Pixels::Shapes(shapes))
            }
        };
        Ok(Self { path, width: grid.width, pixels, seen: [false; 3] })
    }

    /// An area in which pixels count: 1 there, 0 elsewhere.
    ///
    /// # Errors
    /// Polygons cannot be put on the grid.
    pub(super) fn valid(source: Source, grid: &Grid, assumed: Option<&Crs>) -> Result<Self> {
        match source {
            Source::Raster(file) => {
                let path = file.path().to_path_buf();
                Ok(Self { path, width: grid.width, pixels: Pixels::Valid(file), seen: [false; 3] })
            }
            polygons @ Source::Polygons(..) => Self::reference(polygons, grid, assumed),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match &self.pixels {
            Pixels::Classes(_) | Pixels::Valid(_) => Kind::Classes,
            Pixels::Probabilities(_) => Kind::Probability,
            Pixels::Shapes(_) => Kind::Polygons,
        }
    }

    /// Rows that are best read at a time.
    pub(super) fn block_rows(&self) -> usize {
        match &self.pixels {
            Pixels::Classes(file) | Pixels::Probabilities(file) | Pixels::Valid(file) => file.block_size().1,
            Pixels::Shapes(_) => 1,
        }
    }

    /// The classes of whole rows.
    ///
    /// # Errors
    /// The raster is damaged there, or has other values.
    pub(super) fn read(&mut self, window: Window) -> Result<Vec<u8>> {
        let found = match &self.pixels {
            Pixels::Classes(file) => classes(file, window.row, &file.read_window(0, window)?)?,
            Pixels::Probabilities(file) => file.read_window(0, window)?.into_iter().map(cut).collect(),
            Pixels::Valid(file) => {
                let values = file.read_window(0, window)?;
                values.into_iter().map(|v| u8::from(!v.is_nan() && v != 0.0)).collect()
            }
            Pixels::Shapes(shapes) => {
                let mut mask = vec![false; window.height * self.width];
                shapes.burn_rows(window.row, &mut mask);
                mask.into_iter().map(u8::from).collect()
            }
        };
        for (seen, class) in self.seen.iter_mut().zip([OTHER, GLACIER, UNKNOWN]) {
            *seen = *seen || found.contains(&class);
        }
        Ok(found)
    }

    /// Says what is odd about a reference or a prediction, after all rows were read.
    pub(super) fn warn(&self, is_reference: bool) {
        let [other, glacier, unknown] = self.seen;
        match self.pixels {
            Pixels::Shapes(_) if !glacier => warn_of_no_pixel(&self.path),
            Pixels::Classes(_) if is_reference && !other && unknown => warn_of_no_other(&self.path),
            _ => {}
        }
    }
}

/// Windows of whole rows that cover a grid from the north, made for layers whose rows come in blocks of `block_rows`.
pub(super) fn windows(grid: &Grid, block_rows: usize) -> impl Iterator<Item = Window> + use<> {
    let (width, height) = (grid.width, grid.height);
    let rows = (BLOCK / width.max(1)).max(1);
    let block = block_rows.clamp(1, height.max(1));
    let rows = if rows >= block {
        rows / block * block
    } else if block.saturating_mul(width) <= LARGEST_BLOCK {
        block
    } else {
        rows
    };
    (0..height).step_by(rows).map(move |row| Window { row, col: 0, height: rows.min(height - row), width })
}

/// The polygons of a reference, by the values of an attribute.
#[derive(Debug)]
pub(super) struct AttributeShapes {
    pub(super) by: String,
    /// `None` for features without a value.
    pub(super) groups: Vec<(Option<String>, PixelShapes)>,
}

impl AttributeShapes {
    /// Reads a file of polygons again, with attributes.
    ///
    /// # Errors
    /// It is a raster, or has no such attribute or too many values.
    pub(super) fn read(path: &Path, by: &str, grid: &Grid, assumed: Option<&Crs>) -> Result<Self> {
        let features = Features::open(path)?;
        let Some(column) = features.column(by) else {
            let names: Vec<&str> = features.columns.iter().map(|column| column.name.as_str()).collect();
            let found = format!("no attribute {by}");
            let expected = if names.is_empty() { "polygons with attributes".into() } else { names.join(", ") };
            return Err(Error::bad_file(path, found, expected, "name one of these with --group-by"));
        };
        let text = |value: Option<&Value>| match value {
            Some(Value::Text(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            Some(Value::Integer(number)) => Some(number.to_string()),
            Some(Value::Real(number)) if number.is_finite() => Some(number.to_string()),
            _ => None,
        };
        let mut values: Vec<Option<String>> =
            features.features.iter().map(|feature| text(feature.values.get(column))).collect();
        values.sort_unstable();
        values.dedup();
        if values.len() > MOST_VALUES {
            return Err(Error::bad_file(
                path,
                format!("{} values of {by}", values.len()),
                format!("at most {MOST_VALUES}, such as kinds of glaciers"),
                "group by another attribute",
            ));
        }
        let groups = values.into_iter().map(|value| {
            let shapes = features.on_grid(|feature| text(feature.values.get(column)) == value, grid, assumed)?;
            Ok((value, shapes))
        });
        Ok(Self { by: by.to_owned(), groups: groups.collect::<Result<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_all_rows() {
        let grid = |width, height| Grid { width, height, transform: [1.0, 0.0, 0.0, 0.0, -1.0, 0.0], crs: None };
        for (width, height, block) in
            [(10, 10, 10), (100_000, 1000, 256), (5_000_000, 3, 1), (3000, 5000, 512), (1, 1, 0)]
        {
            let mut next = 0;
            for window in windows(&grid(width, height), block) {
                assert_eq!((window.row, window.col, window.width), (next, 0, width));
                assert!(window.height > 0);
                next += window.height;
            }
            assert_eq!(next, height);
        }
        assert!(windows(&grid(3000, 5000), 512).all(|window| window.row.is_multiple_of(512)));
        assert_eq!(windows(&grid(0, 0), 1).count(), 0);
    }
}

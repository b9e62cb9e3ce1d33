//! One tile: what the scene and the polygons say of it.

use serde::Serialize;

use super::tiling::Cut;
use crate::dataset::tile_writer::TileHeader;
use crate::error::{Error, Result};
use crate::infer::normalise::normalise;
use crate::infer::scene::SceneWindow;
use crate::model::{Feature, Normalisation};
use crate::raster::{Window, fill_gaps};

/// The label of a pixel on a glacier.
pub(super) const GLACIER: u8 = 1;
/// The label of other ground.
pub(super) const OTHER: u8 = 0;
/// No label.
pub(super) const UNLABELLED: u8 = 255;

/// Pixels by label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// On a glacier.
    pub glacier: u64,
    /// On other ground.
    pub other: u64,
    /// Without data or to be ignored; padding is not counted.
    pub unlabelled: u64,
}

impl Counts {
    fn of(labels: &[u8]) -> Self {
        let mut counts = Self::default();
        for label in labels {
            match *label {
                GLACIER => counts.glacier += 1,
                OTHER => counts.other += 1,
                _ => counts.unlabelled += 1,
            }
        }
        counts
    }

    /// Adds those of another tile.
    pub(super) fn add(&mut self, other: Self) {
        self.glacier += other.glacier;
        self.other += other.other;
        self.unlabelled += other.unlabelled;
    }

    /// The part of the labelled pixels that is glacier; 0 without labels.
    #[must_use]
    pub fn glacier_share(&self) -> f64 {
        let labelled = self.glacier + self.other;
        if labelled == 0 { 0.0 } else { self.glacier as f64 / labelled as f64 }
    }
}

/// A tile without its padding.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) window: Window,
    /// Physical values of each channel, row by row. Gaps of optical bands are 0, others are filled from the tile.
    pub(super) features: Vec<(Feature, Vec<Vec<f32>>)>,
    /// 1 glacier, 0 other, 255 no label.
    pub(super) labels: Vec<u8>,
    pub(super) counts: Counts,
    /// Pixels that have data in every raster.
    pub(super) valid: usize,
}

impl Tile {
    /// The tile of what was read of a scene; `glacier` and `ignored` tell of the same pixels. Pixels that lack data in any raster have no label.
    pub(super) fn new(read: &SceneWindow, features: &[Feature], glacier: &[bool], ignored: &[bool]) -> Self {
        let window = read.window();
        let labels: Vec<u8> = read
            .valid()
            .iter()
            .zip(glacier.iter().zip(ignored))
            .map(|(valid, (glacier, ignored))| match (*valid && !ignored, glacier) {
                (false, _) => UNLABELLED,
                (true, true) => GLACIER,
                (true, false) => OTHER,
            })
            .collect();
        let channels = |feature: Feature| {
            let filled = (0..feature.channels()).filter_map(|channel| {
                let mut values = read.channel(feature, channel)?.to_vec();
                if feature == Feature::Optical {
                    values.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = 0.0);
                } else {
                    fill_gaps(&mut values, window.width, window.height);
                }
                Some(values)
            });
            (feature, filled.collect())
        };
        Self {
            window,
            features: features.iter().map(|feature| channels(*feature)).collect(),
            counts: Counts::of(&labels),
            labels,
            valid: read.valid().iter().filter(|valid| **valid).count(),
        }
    }

    /// What a tile file says of it. `edges` are west, east, south and north in degrees.
    pub(super) fn header(
        &self,
        name: String,
        region: String,
        subregion: String,
        edges: [f64; 4],
        cut: &Cut,
    ) -> TileHeader {
        let [xmin, xmax, ymin, ymax] = edges;
        TileHeader {
            name,
            region,
            subregion,
            height: cut.side,
            width: cut.side,
            original_height: self.window.height,
            original_width: self.window.width,
            padding_height: cut.before(self.window.height),
            padding_width: cut.before(self.window.width),
            xmin,
            xmax,
            ymin,
            ymax,
        }
    }

    /// The arrays of a tile file: features normalised, padding 0.
    ///
    /// # Errors
    /// A value is not finite.
    pub(super) fn arrays(
        &self,
        header: &TileHeader,
        normalisation: &Normalisation,
    ) -> Result<Vec<(&'static str, usize, Vec<f64>)>> {
        let mut arrays = Vec::with_capacity(self.features.len() + 1);
        for (feature, channels) in &self.features {
            let mut pixels = interleaved(channels, self.labels.len());
            normalise(*feature, normalisation, &mut pixels)?;
            // No reader computes with more digits than the network has.
            let values = pixels.into_iter().map(f64::from);
            arrays.push((feature.name(), feature.channels(), padded(header, feature.channels(), values)?));
        }
        let one_hot = self.labels.iter().flat_map(|label| match *label {
            GLACIER => [0.0, 1.0],
            OTHER => [1.0, 0.0],
            _ => [0.0, 0.0],
        });
        arrays.push(("outlines", 2, padded(header, 2, one_hot)?));
        Ok(arrays)
    }
}

/// Channels, each row by row, as pixels with the channels side by side.
pub(crate) fn interleaved(channels: &[Vec<f32>], pixels: usize) -> Vec<f32> {
    let mut values = vec![0.0; pixels * channels.len()];
    for (channel, from) in channels.iter().enumerate() {
        for (pixel, value) in values.chunks_exact_mut(channels.len()).zip(from) {
            pixel[channel] = *value;
        }
    }
    values
}

/// Values of a tile's own pixels in their place among zeros.
fn padded(header: &TileHeader, channels: usize, values: impl Iterator<Item = f64>) -> Result<Vec<f64>> {
    let count = header.height * header.width * channels;
    let mut stored = Vec::new();
    stored.try_reserve_exact(count).map_err(|_| {
        Error::bad_argument(
            format!("tiles of {} x {} pixels", header.width, header.height),
            "tiles that fit into memory",
            "give a smaller --tile-size",
        )
    })?;
    stored.resize(count, 0.0);
    let own = header.original_width * channels;
    let lines =
        stored.chunks_exact_mut(header.width * channels).skip(header.padding_height).take(header.original_height);
    let places = lines.flat_map(|line| line.iter_mut().skip(header.padding_width * channels).take(own));
    places.zip(values).for_each(|(place, value)| *place = value);
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_lies_around() {
        let tile = Tile {
            window: Window { row: 0, col: 0, height: 1, width: 2 },
            features: vec![(Feature::Thermal, vec![vec![0.0, 322.080_57]])],
            labels: vec![OTHER, GLACIER],
            counts: Counts::of(&[OTHER, GLACIER]),
            valid: 2,
        };
        let cut = Cut { side: 4, padding: 0, overlap: 0 };
        let header = tile.header("a".into(), "A".into(), "A".into(), [0.0, 1.0, 0.0, 1.0], &cut);
        assert_eq!((header.padding_height, header.padding_width), (1, 1));
        let arrays = tile.arrays(&header, &Normalisation::default()).expect("finite");
        let mut expected = vec![0.0; 16];
        expected[6] = 1.0;
        assert_eq!(arrays[0], ("thermal", 1, expected));
        let mut expected = vec![0.0; 32];
        (expected[10], expected[13]) = (1.0, 1.0);
        assert_eq!(arrays[1], ("outlines", 2, expected));
        assert_eq!(interleaved(&[vec![1.0, 2.0], vec![3.0, 4.0]], 2), [1.0, 3.0, 2.0, 4.0]);
    }

    #[test]
    fn shares() {
        let mut counts = Counts::of(&[GLACIER, OTHER, OTHER, OTHER, UNLABELLED]);
        assert!((counts.glacier_share() - 0.25).abs() < 1e-12);
        counts.add(Counts { glacier: 2, other: 0, unlabelled: 1 });
        assert_eq!(counts, Counts { glacier: 3, other: 3, unlabelled: 2 });
        assert!(Counts::default().glacier_share().abs() < 1e-12);
    }
}

//! Prepared tiles on their way into files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::split::Part;
use super::tile::{Tile, UNLABELLED};
use crate::atomic_file::{StagedFiles, TEMPORARY};
use crate::dataset::tile_file::TileArray;
use crate::dataset::tile_folder::{SIDECAR, STATISTICS, Sidecar, raster_path};
use crate::dataset::tile_writer::{TileHeader, TileWriter};
use crate::error::{Error, Result};
use crate::model::{Feature, Normalisation};
use crate::raster::{Grid, Metadata, write_bands, write_bytes};

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileFormat {
    /// `train.hdf5`, `validation.hdf5` and `test.hdf5` in the published layout, compressed or, as published, not.
    Hdf5 {
        /// Without loss.
        is_compressed: bool,
    },
    /// `train/`, `validation/` and `test/` with a folder of GeoTIFFs for each tile.
    GeoTiff,
}

/// The tiles of a run. Nothing appears before [`Output::publish`].
#[derive(Debug)]
pub(super) enum Output {
    Hdf5 { folder: PathBuf, is_compressed: bool, writers: Box<[Option<TileWriter>; 3]> },
    GeoTiff { folder: PathBuf, growing: TempDir, used: [bool; 3] },
}

impl Output {
    /// Begins output to an existing folder.
    ///
    /// # Errors
    /// The folder cannot be written to, or has tile folders already.
    pub(super) fn new(folder: &Path, format: TileFormat) -> Result<Self> {
        match format {
            TileFormat::Hdf5 { is_compressed } => {
                let folder = folder.to_path_buf();
                Ok(Self::Hdf5 { folder, is_compressed, writers: Box::new([None, None, None]) })
            }
            TileFormat::GeoTiff => {
                for part in Part::ALL {
                    let target = folder.join(part.name());
                    if target.exists() {
                        let remedy = "move it away, or choose another output folder";
                        return Err(Error::bad_file(target, "a file or folder", "no tiles yet", remedy));
                    }
                }
                let growing = tempfile::Builder::new()
                    .prefix(TEMPORARY)
                    .tempdir_in(folder)
                    .map_err(|e| Error::io("create a folder in", folder, e))?;
                Ok(Self::GeoTiff { folder: folder.to_path_buf(), growing, used: [false; 3] })
            }
        }
    }

    /// The file or folder of a part.
    pub(super) fn target(&self, part: Part) -> PathBuf {
        match self {
            Self::Hdf5 { folder, .. } => folder.join(format!("{}.hdf5", part.name())),
            Self::GeoTiff { folder, .. } => folder.join(part.name()),
        }
    }

    /// Writes a tile with its attributes; `grid` is that of its own pixels.
    ///
    /// # Errors
    /// A value is not finite, or the disk is full.
    pub(super) fn add(
        &mut self,
        part: Part,
        tile: &Tile,
        (header, attributes): (&TileHeader, &BTreeMap<String, String>),
        grid: &Grid,
        normalisation: &Normalisation,
    ) -> Result<()> {
        let target = self.target(part);
        match self {
            Self::Hdf5 { is_compressed, writers, .. } => {
                let writer = match &mut writers[part as usize] {
                    Some(writer) => writer,
                    none => none.insert(if *is_compressed {
                        TileWriter::compressed(&target)?
                    } else {
                        TileWriter::create(&target)?
                    }),
                };
                let arrays = tile.arrays(header, normalisation)?;
                let arrays: Vec<(&str, usize, &[f64])> =
                    arrays.iter().map(|(name, channels, values)| (*name, *channels, values.as_slice())).collect();
                writer.add_with(header, attributes, &arrays)
            }
            Self::GeoTiff { growing, used, .. } => {
                let part_folder = growing.path().join(part.name());
                if !used[part as usize] {
                    fs::create_dir_all(&part_folder).map_err(|e| Error::io("create", &part_folder, e))?;
                    let path = part_folder.join(STATISTICS);
                    let text = serde_json::to_vec_pretty(normalisation).unwrap_or_default();
                    fs::write(&path, text).map_err(|e| Error::io("write", &path, e))?;
                    used[part as usize] = true;
                }
                write_rasters(&part_folder.join(&header.name), tile, &Sidecar::of(header, attributes), grid)
            }
        }
    }

    /// Stages what belongs to the files, and lets all of it appear together with what is staged already.
    ///
    /// # Errors
    /// The disk is full, or the system refuses a rename.
    pub(super) fn publish(self, mut staged: StagedFiles) -> Result<()> {
        match self {
            Self::Hdf5 { folder, writers, .. } => {
                for (part, writer) in Part::ALL.into_iter().zip(*writers) {
                    match writer {
                        Some(writer) => writer.stage(&mut staged)?,
                        // One of an earlier run would be taken for a part of this.
                        None => staged.remove(folder.join(format!("{}.hdf5", part.name()))),
                    }
                }
                staged.publish()
            }
            Self::GeoTiff { folder, growing, used } => {
                let moved: Vec<Part> = Part::ALL.into_iter().filter(|part| used[*part as usize]).collect();
                for (number, part) in moved.iter().enumerate() {
                    let (from, to) = (growing.path().join(part.name()), folder.join(part.name()));
                    if let Err(e) = fs::rename(&from, &to) {
                        for part in &moved[..number] {
                            // What cannot be moved back stays; the error says which rename was refused.
                            let _ = fs::rename(folder.join(part.name()), growing.path().join(part.name()));
                        }
                        return Err(Error::io("write", &to, e));
                    }
                }
                staged.publish()
            }
        }
    }
}

/// The names of a feature's bands.
fn band_names(feature: Feature) -> &'static [&'static str] {
    match feature {
        Feature::Optical => &["blue", "green", "red", "NIR", "SWIR1", "SWIR2"],
        Feature::Dem => &["elevation (m)", "slope (degrees)"],
        Feature::CoPolSar | Feature::CrossPolSar | Feature::InSar => &["ascending", "descending"],
        Feature::Thermal => &["brightness temperature (K)"],
    }
}

fn write_rasters(folder: &Path, tile: &Tile, sidecar: &Sidecar, grid: &Grid) -> Result<()> {
    fs::create_dir(folder).map_err(|e| Error::io("create", folder, e))?;
    let mut written = Vec::new();
    for (feature, channels) in &tile.features {
        let path = raster_path(folder, TileArray::Feature(*feature));
        let bands: Vec<(&str, &[f32])> =
            band_names(*feature).iter().copied().zip(channels.iter().map(Vec::as_slice)).collect();
        write_bands(&path, grid, &bands, &[])?;
        written.push(path);
    }
    let path = raster_path(folder, TileArray::Outlines);
    let metadata = Metadata { description: Some("glacier (1), other (0)".into()), items: Vec::new() };
    write_bytes(&path, grid, &tile.labels, UNLABELLED, &metadata)?;
    written.push(path);
    let path = folder.join(SIDECAR);
    let text = serde_json::to_vec_pretty(sidecar).unwrap_or_default();
    fs::write(&path, text).map_err(|e| Error::io("write", &path, e))?;
    written.push(path);
    // The folder is renamed at the end; then its content must be on the disk.
    for path in written {
        fs::File::open(&path).and_then(|file| file.sync_all()).map_err(|e| Error::io("write", &path, e))?;
    }
    Ok(())
}

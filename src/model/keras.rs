//! Import of legacy Keras weight files (`*_weights.h5`) of the published network.
//!
//! Layer names in such files carry counters of the session that saved them, so tensors are mapped by their order and
//! never by name (see [`crate::model::parameters()`] for what they become). Every size of the network follows from the shapes.
//! Only the features and the meaning of the location vector have to be told.

use std::path::Path;

use hdf5_reader::{Datatype, Hdf5File, OpenOptions};

use crate::error::{Error, Result};
use crate::model::arrays::{describe, read_file};
use crate::model::config::PUBLISHED_REGIONS;
use crate::model::keras_order::{keras_order, keras_shape};
use crate::model::weights::sha256;
use crate::model::{Feature, Location, ModelConfig, Normalisation, Tensor, Weights, parameters};

/// The largest file that is read; the published ones have 40 MB.
const LARGEST_FILE: u64 = 4 << 30;
/// Uncompressed weights take as much memory as the file; no real compression gains more than this on weights.
const LARGEST_EXPANSION: usize = 16;

/// What the location vector of a file means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LocationKind {
    /// Four entries mean coordinates, twelve the published regions.
    #[default]
    Guess,
    /// The four coordinate entries.
    Coordinates,
    /// Regions with these names; an `unknown` is appended if it is the one name missing. Without names, the published
    /// ones.
    Regions(Option<Vec<String>>),
}

/// Reads a Keras weight file. The normalisation becomes the published one.
///
/// `features` are those the model was trained with, in that order.
///
/// # Errors
/// The file cannot be read, is no such file or is damaged, belongs to other features or to another location vector.
pub fn import_keras(path: impl AsRef<Path>, features: &[Feature], location: &LocationKind) -> Result<Weights> {
    let path = path.as_ref();
    import_keras_bytes(path, read_file(path, LARGEST_FILE)?, features, location)
}

/// [`import_keras`] for a file already in memory. `path` serves for messages and the origin only.
///
/// # Errors
/// As [`import_keras`].
pub fn import_keras_bytes(
    path: impl AsRef<Path>,
    bytes: Vec<u8>,
    features: &[Feature],
    location: &LocationKind,
) -> Result<Weights> {
    let path = path.as_ref();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let origin = format!("Keras weights {name}, SHA-256 {}", sha256(&bytes));
    let groups = File { path }.groups(bytes)?;
    let config = Inference { path, groups: &groups }.config(features, location)?;
    config.validate().map_err(|e| match e {
        Error::BadArgument { found, expected, remedy } => Error::bad_file(path, found, expected, remedy),
        other => other,
    })?;
    let tensors = rename(path, groups, &config)?;
    Weights::new(config, Normalisation::default(), origin, tensors).map_err(|e| match e {
        Error::BadArgument { found, expected, remedy } => Error::bad_file(path, found, expected, remedy),
        other => other,
    })
}

/// A layer that holds tensors, as read.
struct Group {
    name: String,
    tensors: Vec<Tensor>,
}

struct File<'a> {
    path: &'a Path,
}

impl File<'_> {
    fn damaged(&self, found: impl std::fmt::Display) -> Error {
        Error::bad_file(
            self.path,
            found.to_string(),
            "a legacy Keras weight file of GlaViTU (*_weights.h5)",
            "give the file that Keras saved with save_weights, and copy it again if it is damaged",
        )
    }

    /// Every layer with tensors, in file order.
    fn groups(&self, bytes: Vec<u8>) -> Result<Vec<Group>> {
        if !bytes.starts_with(b"\x89HDF\r\n\x1a\n") {
            return Err(self.damaged(describe(&bytes)));
        }
        self.read(bytes)
    }

    fn read(&self, bytes: Vec<u8>) -> Result<Vec<Group>> {
        let size = bytes.len();
        let mut budget = size.saturating_mul(LARGEST_EXPANSION) / 4;
        let options = OpenOptions::default().with_max_read_bytes(size.saturating_mul(LARGEST_EXPANSION));
        let hdf5 = |e: hdf5_reader::error::Error| self.damaged(format!("an HDF5 file with {e}"));
        let file = Hdf5File::from_vec_with_options(bytes, options).map_err(hdf5)?;
        // The superblock says where the file must end; a cut in unused space at the end would go unnoticed otherwise.
        let end = file.superblock().eof_address;
        if usize::try_from(end).map_or(true, |end| end > size) {
            return Err(self.damaged(format!("{size} bytes of an HDF5 file of {end}")));
        }
        let root = file.root_group().map_err(hdf5)?;
        let mut groups = Vec::new();
        for layer in self.names(&root, "layer_names")? {
            let group = file.group(&layer).map_err(hdf5)?;
            let names = self.names(&group, "weight_names")?;
            if names.is_empty() {
                continue;
            }
            let mut tensors = Vec::new();
            for name in names {
                let set = file.dataset(&format!("{layer}/{name}")).map_err(hdf5)?;
                if !matches!(set.dtype(), Datatype::FloatingPoint { size: 4, .. }) {
                    return Err(self.damaged(format!("tensor {layer}/{name} of another type than float32")));
                }
                let shape: Vec<usize> = set
                    .shape()
                    .iter()
                    .map(|&n| usize::try_from(n).map_err(|_| self.damaged(format!("tensor {layer}/{name} too large"))))
                    .collect::<Result<_>>()?;
                // Checked before anything is allocated: a damaged shape may ask for any amount.
                let length = shape.iter().try_fold(1_usize, |all, &n| all.checked_mul(n));
                let length = length.filter(|&n| n <= budget).ok_or_else(|| {
                    self.damaged(format!("tensor {layer}/{name} of shape {shape:?}, larger than the file"))
                })?;
                budget -= length;
                let mut data = vec![0.0_f32; length];
                set.read_into(&mut data).map_err(hdf5)?;
                tensors.push(Tensor { shape, data });
            }
            groups.push(Group { name: layer, tensors });
        }
        Ok(groups)
    }

    /// A list of names in an attribute. Keras splits lists over 64 KB into `name0`, `name1` and so on.
    fn names(&self, group: &hdf5_reader::group::Group, attribute: &str) -> Result<Vec<String>> {
        let hdf5 = |e: hdf5_reader::error::Error| self.damaged(format!("attribute '{attribute}' with {e}"));
        let all = group.attributes().map_err(hdf5)?;
        let read = |attribute: &hdf5_reader::Attribute| {
            // An empty list has no element type worth decoding.
            if attribute.num_elements()? == 0 { Ok(Vec::new()) } else { attribute.read_strings() }
        };
        if let Some(whole) = all.iter().find(|a| a.name == attribute) {
            return read(whole).map_err(hdf5);
        }
        let parts = (0..)
            .map_while(|i| all.iter().find(|a| a.name == format!("{attribute}{i}")))
            .map(|part| read(part).map_err(hdf5))
            .collect::<Result<Vec<_>>>()?;
        if parts.is_empty() {
            return Err(self.damaged(format!("an HDF5 file without the attribute '{attribute}'")));
        }
        Ok(parts.concat())
    }
}

/// Works out the sizes of the network from the tensors.
struct Inference<'a> {
    path: &'a Path,
    groups: &'a [Group],
}

impl Inference<'_> {
    fn foreign(&self, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::bad_file(self.path, found, expected, "give the weights of a GlaViTU model")
    }

    /// One axis of a tensor that must have `rank` axes.
    fn axis(&self, group: &Group, tensor: usize, rank: usize, axis: usize) -> Result<usize> {
        let shape = group.tensors.get(tensor).map(|t| t.shape.as_slice()).unwrap_or_default();
        match shape.get(axis) {
            Some(&n) if shape.len() == rank && n > 0 => Ok(n),
            _ => Err(self.foreign(
                format!("shape {shape:?} for tensor {} of layer {}", tensor + 1, group.name),
                format!("{rank} axes"),
            )),
        }
    }

    fn config(&self, features: &[Feature], location: &LocationKind) -> Result<ModelConfig> {
        let (place, fusion, transformer, unet) = match self.groups {
            [fusion, transformer, unet, _, _] => (None, fusion, transformer, unet),
            [place, fusion, transformer, unet, _, _] => (Some(place), fusion, transformer, unet),
            other => {
                let list: Vec<_> = other.iter().map(|g| format!("{} ({})", g.name, g.tensors.len())).collect();
                return Err(self.foreign(
                    format!("{} layers with tensors: {}", list.len(), shorten(&list)),
                    "5 (fusion, transformer, U-Net and two outputs), or 6 with a location encoding first",
                ));
            }
        };
        self.features(fusion, features)?;
        let filters = self.axis(fusion, 0, 4, 3)?;
        let sizes = self.transformer(transformer, filters)?;
        // 13 tensors for each of 2 n + 1 residual blocks, 5 for each of n up-convolutions, 2 for the last layer.
        let unet_steps = self.repeats(unet, 15, 31)?;
        let location = match (place, location) {
            (None, LocationKind::Guess) => Location::None,
            (None, _) => {
                return Err(Error::bad_file(
                    self.path,
                    "weights without a location encoding",
                    "weights with one",
                    "leave out --location and --regions",
                ));
            }
            (Some(place), kind) => self.location(self.axis(place, 0, 2, 0)?, kind)?,
        };
        Ok(ModelConfig { features: features.to_vec(), location, filters, unet_steps, ..sizes })
    }

    /// Compares the channels of the fusion branches with those of the features.
    fn features(&self, fusion: &Group, features: &[Feature]) -> Result<()> {
        let branches = self.repeats(fusion, 0, 16)?;
        let found = (0..branches).map(|i| self.axis(fusion, 8 * i, 4, 2)).collect::<Result<Vec<_>>>()?;
        let expected: Vec<_> = features.iter().map(|f| f.channels()).collect();
        if found == expected {
            return Ok(());
        }
        let list = |numbers: &[usize]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let names: Vec<_> = features.iter().map(|f| f.name()).collect();
        Err(Error::bad_file(
            self.path,
            format!("weights for {branches} features with {} channels", list(&found)),
            format!("{} channels for the features {}", list(&expected), names.join(", ")),
            "give --features as the model was trained, in the same order",
        ))
    }

    /// The `n` of a group that has `base + n * each` tensors.
    fn repeats(&self, group: &Group, base: usize, each: usize) -> Result<usize> {
        let count = group.tensors.len();
        match count.checked_sub(base) {
            Some(rest) if rest > 0 && rest.is_multiple_of(each) => Ok(rest / each),
            _ => Err(self.foreign(
                format!("{count} tensors in layer {}", group.name),
                if base == 0 { format!("a multiple of {each}") } else { format!("{base} and a multiple of {each}") },
            )),
        }
    }

    fn transformer(&self, group: &Group, filters: usize) -> Result<ModelConfig> {
        // Patch kernel, bias and positions; 16 per block; 18 trainable ones and 8 statistics of the decoder.
        let blocks = self.repeats(group, 29, 16)?;
        let patch = (self.axis(group, 0, 2, 0)? / filters).isqrt();
        let side = self.axis(group, 2, 2, 0)?.isqrt();
        Ok(ModelConfig {
            embedding: self.axis(group, 0, 2, 1)?,
            heads: self.axis(group, 5, 3, 1)?,
            mlp: self.axis(group, 15, 2, 1)?,
            blocks,
            patch,
            tile: side.saturating_mul(patch),
            ..ModelConfig::default()
        })
    }

    fn location(&self, size: usize, kind: &LocationKind) -> Result<Location> {
        let wrong = |expected: String, remedy: &str| {
            Error::bad_file(self.path, format!("a location vector of {size} entries"), expected, remedy)
        };
        match kind {
            LocationKind::Guess | LocationKind::Coordinates if size == 4 => Ok(Location::Coordinates),
            LocationKind::Coordinates => Err(wrong("4 for coordinates".into(), "use --location regions")),
            LocationKind::Guess | LocationKind::Regions(None) if size == PUBLISHED_REGIONS.len() => {
                Ok(Location::published_regions())
            }
            LocationKind::Guess | LocationKind::Regions(None) => Err(wrong(
                "4 for coordinates or 12 for the published regions".into(),
                "name the model's own regions in order with --regions",
            )),
            LocationKind::Regions(Some(names)) => {
                let mut names = names.clone();
                if names.len() + 1 == size && names.last().is_none_or(|n| n != "unknown") {
                    names.push("unknown".into());
                }
                if names.len() != size {
                    return Err(wrong(
                        format!("{} for the region names given", names.len()),
                        "name every region once, in the model's order",
                    ));
                }
                Ok(Location::Regions(names))
            }
        }
    }
}

/// Gives every tensor its own name and shape.
fn rename(path: &Path, groups: Vec<Group>, config: &ModelConfig) -> Result<Vec<(String, Tensor)>> {
    let shapes: std::collections::BTreeMap<_, _> = parameters(config).into_iter().map(|p| (p.name, p.shape)).collect();
    let mut renamed = Vec::with_capacity(shapes.len());
    for (group, order) in groups.into_iter().zip(keras_order(config)) {
        if group.tensors.len() != order.names.len() {
            return Err(Error::bad_file(
                path,
                format!("{} tensors in layer {}", group.tensors.len(), group.name),
                format!("{} for the {}", order.names.len(), order.what),
                "give the weights of a GlaViTU model",
            ));
        }
        for (i, (tensor, name)) in group.tensors.into_iter().zip(order.names).enumerate() {
            let shape = shapes.get(&name).cloned().unwrap_or_default();
            let expected = keras_shape(&name, &shape, config.heads);
            if tensor.shape != expected {
                return Err(Error::bad_file(
                    path,
                    format!("shape {:?} for tensor {} of layer {}", tensor.shape, i + 1, group.name),
                    format!("{expected:?} for {name}"),
                    "give the weights of a GlaViTU model",
                ));
            }
            renamed.push((name, Tensor { shape, data: tensor.data }));
        }
    }
    Ok(renamed)
}

/// A list for a message, cut after eight entries.
fn shorten(list: &[String]) -> String {
    let more = if list.len() > 8 { ", ..." } else { "" };
    format!("{}{more}", list[..list.len().min(8)].join(", "))
}

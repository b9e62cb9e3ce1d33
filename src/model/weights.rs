//! The project's weight file: the parameters of one model with everything needed to use them.
//!
//! A safetensors file with one float32 array per entry of [`parameters()`](crate::model::parameters()), in that order,
//! and in its `__metadata__`:
//!
//! | key | value |
//! |---|---|
//! | `format` | `glavitu-weights` |
//! | `format_version` | `1` |
//! | `config` | [`ModelConfig`] as JSON; holds the region names too |
//! | `normalisation` | [`Normalisation`] as JSON |
//! | `origin` | where the parameters come from, for people |
//! | `tool` | the program and version that wrote the file |
//! | `parameters_sha256` | see [`Weights::parameters_sha256`]; checked on reading |
//!
//! Files that store the arrays as float16 or bfloat16 are read too; their hash is that of the float32 values.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::executor::ArraySource;
use crate::model::arrays::{self, Container, NamedArray, Precision};
use crate::model::parameters::{ParameterSpec, parameters};
use crate::model::{ModelConfig, Normalisation};

const FORMAT: &str = "glavitu-weights";
const FORMAT_VERSION: &str = "1";

/// One parameter's values.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The shape, outermost axis first.
    pub shape: Vec<usize>,
    /// The values, last axis fastest.
    pub data: Vec<f32>,
}

/// A model: configuration, normalisation and every parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    config: ModelConfig,
    normalisation: Normalisation,
    origin: String,
    tensors: Vec<(String, Tensor)>,
    sha256: String,
}

impl Weights {
    /// Puts a model together. `tensors` may come in any order and are put in that of
    /// [`parameters()`](crate::model::parameters()).
    ///
    /// # Errors
    /// [`Error::BadArgument`] if the configuration or the normalisation is invalid, or a parameter is missing, repeated,
    /// unknown, of the wrong shape, not finite, or a negative variance.
    pub fn new(
        config: ModelConfig,
        normalisation: Normalisation,
        origin: impl Into<String>,
        tensors: impl IntoIterator<Item = (String, Tensor)>,
    ) -> Result<Self> {
        config.validate()?;
        normalisation.validate()?;
        let mut given: BTreeMap<String, Tensor> = BTreeMap::new();
        for (name, tensor) in tensors {
            if let Some((name, _)) = given.remove_entry(&name) {
                return Err(bad_parameter(&name, "it twice", "it once"));
            }
            given.insert(name, tensor);
        }
        let mut ordered = Vec::with_capacity(given.len());
        for spec in parameters(&config) {
            let (name, tensor) = given
                .remove_entry(&spec.name)
                .ok_or_else(|| bad_parameter(&spec.name, "none", &format!("shape {:?}", spec.shape)))?;
            check(&spec, &tensor)?;
            ordered.push((name, tensor));
        }
        if let Some(name) = given.keys().next() {
            return Err(bad_parameter(name, "it", "no such parameter in this configuration"));
        }
        let sha256 = parameters_sha256(&ordered);
        Ok(Self { config, normalisation, origin: origin.into(), tensors: ordered, sha256 })
    }

    /// Reads a weight file.
    ///
    /// # Errors
    /// The file cannot be read, is not a weight file of a known version, lacks a parameter or has one of the wrong
    /// shape or with a value that is not finite, or its content does not match its hash.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_container(path, arrays::read_container(path)?)
    }

    /// Reads a weight file's bytes. `path` serves for messages only.
    ///
    /// # Errors
    /// As [`Weights::load`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        let path = path.as_ref();
        Self::from_container(path, arrays::container_from_bytes(path, bytes)?)
    }

    fn from_container(path: &Path, container: Container) -> Result<Self> {
        let get = |key: &str| {
            container.metadata.get(key).ok_or_else(|| {
                Error::bad_file(
                    path,
                    format!("a safetensors file without '{key}' in its metadata"),
                    "a weight file of glavitu",
                    "import Keras weights with `glavitu import keras`",
                )
            })
        };
        let damaged = |found: String| {
            Error::bad_file(path, found, "a valid weight file", "copy or import it again; it may be damaged")
        };
        if get("format")? != FORMAT || get("format_version")? != FORMAT_VERSION {
            return Err(Error::bad_file(
                path,
                format!("format {} version {}", get("format")?, get("format_version")?),
                format!("{FORMAT} version {FORMAT_VERSION}"),
                "use a newer version of glavitu, or import the weights again",
            ));
        }
        let config: ModelConfig =
            serde_json::from_str(get("config")?).map_err(|e| damaged(format!("a configuration with {e}")))?;
        let normalisation: Normalisation =
            serde_json::from_str(get("normalisation")?).map_err(|e| damaged(format!("a normalisation with {e}")))?;
        let origin = get("origin")?.clone();
        let expected = get("parameters_sha256")?.clone();
        let tensors =
            container.arrays.into_iter().map(|NamedArray { name, shape, data }| (name, Tensor { shape, data }));
        let weights = Self::new(config, normalisation, origin, tensors).map_err(|e| match e {
            Error::BadArgument { found, expected, .. } => damaged(format!("{found} where {expected} belongs")),
            other => other,
        })?;
        let found = weights.parameters_sha256();
        if found != expected {
            return Err(damaged(format!("parameters with SHA-256 {found}, not {expected} as the file says")));
        }
        Ok(weights)
    }

    /// Writes the weight file, whole or not at all. Equal models give equal bytes.
    ///
    /// # Errors
    /// The folder is missing or cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_as(Precision::Float32, path.as_ref())
    }

    /// Writes a weight file of half the size: every value rounded to float16. Gives the model that the file holds, whose hash is that of
    /// the rounded values.
    ///
    /// # Errors
    /// A value beyond the range of float16 (65504), or as [`Weights::save`].
    pub fn save_half(&self, path: impl AsRef<Path>) -> Result<Self> {
        let round = |(name, tensor): &(String, Tensor)| {
            let data: Vec<f32> = tensor.data.iter().map(|&v| half::f16::from_f32(v).to_f32()).collect();
            if let Some(i) = data.iter().position(|v| v.is_infinite()) {
                return Err(Error::bad_argument(
                    format!("parameter {name}: {} at position {i}", tensor.data[i]),
                    "values within 65504, which float16 can hold",
                    "keep the model in float32",
                ));
            }
            Ok((name.clone(), Tensor { shape: tensor.shape.clone(), data }))
        };
        let tensors: Vec<_> = self.tensors.iter().map(round).collect::<Result<_>>()?;
        let rounded = Self::new(self.config.clone(), self.normalisation.clone(), self.origin.clone(), tensors)?;
        rounded.save_as(Precision::Float16, path.as_ref())?;
        Ok(rounded)
    }

    fn save_as(&self, precision: Precision, path: &Path) -> Result<()> {
        let json = |result: serde_json::Result<String>| {
            result.map_err(|e| Error::bad_argument(e.to_string(), "finite settings", "correct the configuration"))
        };
        let metadata = BTreeMap::from([
            ("format".into(), FORMAT.into()),
            ("format_version".into(), FORMAT_VERSION.into()),
            ("config".into(), json(serde_json::to_string(&self.config))?),
            ("normalisation".into(), json(serde_json::to_string(&self.normalisation))?),
            ("origin".into(), self.origin.clone()),
            ("tool".into(), format!("glavitu {}", env!("CARGO_PKG_VERSION"))),
            ("parameters_sha256".into(), self.sha256.clone()),
        ]);
        let views: Vec<_> =
            self.tensors.iter().map(|(n, t)| (n.as_str(), t.shape.as_slice(), t.data.as_slice())).collect();
        arrays::write_container_as(precision, path, &metadata, &views)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The normalisation of the inputs.
    #[must_use]
    pub fn normalisation(&self) -> &Normalisation {
        &self.normalisation
    }

    /// Replaces the normalisation, for models trained with other statistics.
    ///
    /// # Errors
    /// As [`Normalisation::validate`].
    pub fn set_normalisation(&mut self, normalisation: Normalisation) -> Result<()> {
        normalisation.validate()?;
        self.normalisation = normalisation;
        Ok(())
    }

    /// Where the parameters come from, for people.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The same parameters with another origin.
    #[must_use]
    pub fn with_origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = origin.into();
        self
    }

    /// Names and values in the order of [`parameters()`](crate::model::parameters()).
    #[must_use]
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// One parameter by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// SHA-256 over all parameters, in hexadecimal: what identifies a model.
    ///
    /// For each parameter in order: the name in UTF-8 and a zero byte; the number of axes and each length as 64-bit
    /// little-endian integers; the values as little-endian float32.
    #[must_use]
    pub fn parameters_sha256(&self) -> &str {
        &self.sha256
    }
}

impl ArraySource for Weights {
    fn array(&self, name: &str) -> Option<&[f32]> {
        self.get(name).map(|tensor| tensor.data.as_slice())
    }
}

fn parameters_sha256(tensors: &[(String, Tensor)]) -> String {
    let mut hash = Sha256::new();
    for (name, tensor) in tensors {
        hash.update(name.as_bytes());
        hash.update([0]);
        for length in std::iter::once(tensor.shape.len()).chain(tensor.shape.iter().copied()) {
            hash.update((length as u64).to_le_bytes());
        }
        if cfg!(target_endian = "little") {
            hash.update(bytemuck::cast_slice(&tensor.data));
        } else {
            for value in &tensor.data {
                hash.update(value.to_le_bytes());
            }
        }
    }
    hexadecimal(&hash.finalize())
}

/// SHA-256 of some bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn check(spec: &ParameterSpec, tensor: &Tensor) -> Result<()> {
    if tensor.shape != spec.shape || tensor.data.len() != spec.len() {
        return Err(bad_parameter(
            &spec.name,
            &format!("shape {:?} with {} values", tensor.shape, tensor.data.len()),
            &format!("shape {:?}", spec.shape),
        ));
    }
    if let Some(i) = tensor.data.iter().position(|v| !v.is_finite()) {
        return Err(bad_parameter(&spec.name, &format!("{} at position {i}", tensor.data[i]), "finite values"));
    }
    // The square root of a negative variance would turn every output into NaN.
    if spec.name.ends_with(".variance")
        && let Some(i) = tensor.data.iter().position(|&v| v < 0.0)
    {
        return Err(bad_parameter(
            &spec.name,
            &format!("{} at position {i}", tensor.data[i]),
            "variances of 0 or more",
        ));
    }
    Ok(())
}

fn bad_parameter(name: &str, found: &str, expected: &str) -> Error {
    Error::bad_argument(
        format!("parameter {name}: {found}"),
        expected,
        "check that the weights belong to this configuration",
    )
}

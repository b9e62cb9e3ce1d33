//! Checkpoints: everything that a run needs to continue as if it had not stopped.
//!
//! One safetensors file, written whole or not at all: the weights by name, `moment1`, `moment2`, and in its metadata the settings and the
//! position of the run. A run that is killed at any moment leaves the last one, and everything after it is computed again.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::evaluate::confusion::Confusion;
use crate::model::arrays::{NamedArray, read_container, write_container};
use crate::model::{ModelConfig, Normalisation, Tensor, Weights};
use crate::train::log_file::{EpochRow, Losses};
use crate::train::settings::TrainSettings;
use crate::train::step::TrainingState;

/// File name of the checkpoint in its run's folder.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
const FORMAT: &str = "glavitu-checkpoint";
const FORMAT_VERSION: &str = "1";

/// A score and when it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// The IoU or the loss.
    pub value: f64,
}

/// Sums over the steps of the epoch under way.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct EpochSums {
    /// Steps done.
    pub steps: usize,
    /// Losses, summed over the steps.
    pub losses: Losses,
    /// Pixels of the training patches.
    pub confusion: Confusion,
    /// Time taken, in all sessions.
    pub seconds: f64,
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Epochs done, with their validation.
    pub epochs: u64,
    /// The epoch under way.
    pub current: EpochSums,
    /// One row per epoch done.
    pub rows: Vec<EpochRow>,
    /// The highest validation IoU so far.
    pub best_iou: Option<Best>,
    /// The lowest validation loss so far.
    pub best_loss: Option<Best>,
    /// What the training and validation tiles are: a hash of their names, regions and sizes.
    pub tiles: String,
}

/// A checkpoint in memory.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// With what the run was begun.
    pub settings: TrainSettings,
    /// How far it has come.
    pub position: Position,
    /// Weights, moments and step count.
    pub state: TrainingState,
}

impl Checkpoint {
    /// Writes the checkpoint of a run's folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(folder: &Path, settings: &TrainSettings, position: &Position, state: &TrainingState) -> Result<()> {
        let weights = &state.weights;
        let metadata = BTreeMap::from([
            ("format".into(), FORMAT.into()),
            ("format_version".into(), FORMAT_VERSION.into()),
            ("settings".into(), settings.to_toml()?),
            ("position".into(), json(position)?),
            ("config".into(), json(weights.config())?),
            ("normalisation".into(), json(weights.normalisation())?),
            ("origin".into(), weights.origin().to_owned()),
            ("step".into(), state.step.to_string()),
            ("parameters_sha256".into(), weights.parameters_sha256().to_owned()),
            ("moments_sha256".into(), moments_sha256(&state.moment1, &state.moment2)),
        ]);
        let lengths = [[state.moment1.len()], [state.moment2.len()]];
        let mut views: Vec<(&str, &[usize], &[f32])> =
            weights.tensors().iter().map(|(n, t)| (n.as_str(), t.shape.as_slice(), t.data.as_slice())).collect();
        views.push(("moment1", &lengths[0], &state.moment1));
        views.push(("moment2", &lengths[1], &state.moment2));
        write_container(&folder.join(CHECKPOINT), &metadata, &views)
    }

    /// Reads the checkpoint of a run's folder; none if there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(CHECKPOINT);
        if !path.exists() {
            return Ok(None);
        }
        let container = read_container(&path)?;
        let damaged = |found: String| {
            Error::bad_file(
                &path,
                found,
                "a checkpoint of this version of glavitu",
                "begin a new run in another folder",
            )
        };
        let get = |key: &str| container.metadata.get(key).ok_or_else(|| damaged(format!("no '{key}' in its metadata")));
        if get("format")? != FORMAT || get("format_version")? != FORMAT_VERSION {
            return Err(damaged(format!("format {} version {}", get("format")?, get("format_version")?)));
        }
        let settings =
            toml::from_str(get("settings")?).map_err(|e| damaged(format!("settings with {}", e.message())))?;
        let position = from_json(get("position")?).map_err(&damaged)?;
        let config: ModelConfig = from_json(get("config")?).map_err(&damaged)?;
        let normalisation: Normalisation = from_json(get("normalisation")?).map_err(&damaged)?;
        let step = get("step")?.parse().map_err(|_| damaged("a step that is no number".into()))?;
        let (origin, hash, moments) =
            (get("origin")?.clone(), get("parameters_sha256")?.clone(), get("moments_sha256")?.clone());
        let (mut moment1, mut moment2, mut tensors) = (Vec::new(), Vec::new(), Vec::new());
        for NamedArray { name, shape, data } in container.arrays {
            match name.as_str() {
                "moment1" => moment1 = data,
                "moment2" => moment2 = data,
                _ => tensors.push((name, Tensor { shape, data })),
            }
        }
        let weights = Weights::new(config, normalisation, origin, tensors).map_err(|e| damaged(e.to_string()))?;
        if weights.parameters_sha256() != hash || moments_sha256(&moment1, &moment2) != moments {
            return Err(damaged("values that do not match their SHA-256".into()));
        }
        Ok(Some(Self { settings, position, state: TrainingState { step, weights, moment1, moment2 } }))
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::bad_argument(e.to_string(), "settings that JSON can hold", "correct the configuration"))
}

fn from_json<T: for<'a> Deserialize<'a>>(text: &str) -> std::result::Result<T, String> {
    serde_json::from_str(text).map_err(|e| format!("metadata with {e}"))
}

fn moments_sha256(moment1: &[f32], moment2: &[f32]) -> String {
    let mut hash = Sha256::new();
    for moment in [moment1, moment2] {
        hash.update((moment.len() as u64).to_le_bytes());
        // In pieces: hashing value by value is slow, and a whole copy takes as much memory again.
        for piece in moment.chunks(1 << 16) {
            hash.update(piece.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        }
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::initialisation::initial_weights;
    use crate::train::log_file::Validation;
    use crate::train::settings::Strategy;

    fn example() -> (TrainSettings, Position, TrainingState) {
        let mut settings = TrainSettings::published(Strategy::Global);
        settings.model = ModelConfig {
            filters: 4,
            embedding: 8,
            mlp: 16,
            blocks: 1,
            heads: 2,
            unet_steps: 1,
            tile: 32,
            ..ModelConfig::default()
        };
        let weights = initial_weights(&settings.model, Normalisation::default(), 3).expect("valid");
        let losses = Losses { total: 0.1 + 0.2, deep_supervision: 1.0 / 3.0, output: f64::MIN_POSITIVE };
        let position = Position {
            epochs: 1,
            current: EpochSums { steps: 7, losses, ..EpochSums::default() },
            rows: vec![EpochRow {
                epoch: 1,
                steps: 9,
                learning_rate: 5e-4,
                train: losses,
                train_iou: None,
                validation: Validation { losses, iou: Some(2.0 / 3.0), ..Validation::default() },
                training_seconds: 0.1,
                validation_seconds: 0.2,
                samples_per_second: 3.0,
            }],
            best_iou: Some(Best { epoch: 1, value: 2.0 / 3.0 }),
            best_loss: None,
            tiles: "abc".into(),
        };
        let state =
            TrainingState { step: 16, weights, moment1: vec![1e-30, -0.5], moment2: vec![0.1, f32::MIN_POSITIVE] };
        (settings, position, state)
    }

    #[test]
    fn round_trip_to_the_bit() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Checkpoint::load(folder.path()).expect("none is fine").is_none());
        let (settings, position, state) = example();
        Checkpoint::save(folder.path(), &settings, &position, &state).expect("written");
        let found = Checkpoint::load(folder.path()).expect("read").expect("there");
        assert_eq!((found.settings, found.position), (settings, position));
        assert_eq!(found.state.step, state.step);
        assert_eq!(found.state.weights, state.weights);
        assert_eq!((found.state.moment1, found.state.moment2), (state.moment1, state.moment2));
    }

    #[test]
    fn damage_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (settings, position, state) = example();
        Checkpoint::save(folder.path(), &settings, &position, &state).expect("written");
        let path = folder.path().join(CHECKPOINT);
        let whole = std::fs::read(&path).expect("read");
        for change in [whole.len() - 1, whole.len() - 9, whole.len() / 2, 40, 3] {
            let mut bytes = whole.clone();
            bytes[change] ^= 1;
            std::fs::write(&path, &bytes).expect("written");
            assert!(Checkpoint::load(folder.path()).is_err(), "byte {change}");
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
        assert!(Checkpoint::load(folder.path()).is_err());
        state.weights.save(&path).expect("written");
        let message = Checkpoint::load(folder.path()).map(drop).expect_err("a model is no checkpoint").to_string();
        assert!(message.contains("glavitu-weights"), "{message}");
    }
}

//! Everything that decides how a model is trained: the content of a run's `config.toml`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::dataset::augmentation::Augmentation;
use crate::dataset::sampling::{Selection, Unlabelled};
use crate::error::{Error, Result};
use crate::model::{Location, ModelConfig, Weights};
use crate::plan::{MemorySize, PlanOptions};
use crate::train::objective::{AdamSettings, Objective};
use crate::train::schedule::{Schedule, ScheduleKind};

/// The five ways to train of Maslov et al. (2025).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// One model for all regions.
    #[default]
    Global,
    /// One model for the regions named.
    Regional,
    /// A trained model, continued: 80 epochs at a tenth of the rate along one cosine.
    Finetuning,
    /// One model that is told the region.
    RegionEncoding,
    /// One model that is told latitude and longitude.
    CoordinateEncoding,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Regional => "regional",
            Self::Finetuning => "finetuning",
            Self::RegionEncoding => "region-encoding",
            Self::CoordinateEncoding => "coordinate-encoding",
        })
    }
}

/// The settings of a training run. [`TrainSettings::published`] gives the recipe of Maslov et al. (2025).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// The strategy; it decides the defaults of the rest.
    pub strategy: Strategy,
    /// Tile files to learn from.
    pub train: Vec<PathBuf>,
    /// Tile files to choose the best model by.
    pub validation: Vec<PathBuf>,
    /// Take tiles of these regions only; empty for all.
    pub regions: Vec<String>,
    /// Take tiles of these subregions only; empty for all.
    pub subregions: Vec<String>,
    /// Leave tiles of these regions out, in training and in validation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_regions: Vec<String>,
    /// Take tiles of these sensors only, by their attribute `sensor`; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensors: Vec<String>,
    /// Leave tiles of these sensors out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_sensors: Vec<String>,
    /// What pixels without a label become.
    pub unlabelled: Unlabelled,
    /// The model to continue from; without one, parameters are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Epochs.
    pub epochs: u64,
    /// Patches per step.
    pub batch: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Steps per epoch; 0 for four times the number of whole batches in the consecutive patches of the training files.
    pub steps_per_epoch: usize,
    /// Labels become `t (1 - s) + s / 2`.
    pub label_smoothing: f64,
    /// Decides the drawn parameters, the patches and their augmentation.
    pub seed: u64,
    /// auto, cpu, gpu, gpu:N or a part of an adapter's name.
    pub device: String,
    /// Whether convolutions take their direct form, which rounds less and takes longer.
    #[serde(default)]
    pub exact: bool,
    /// Most memory that the training step and the validation hold on the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<MemorySize>,
    /// Threads that read and augment patches.
    pub workers: usize,
    /// Steps between checkpoints; 0 for every five minutes. One is written after every epoch in any case.
    pub checkpoint_every: u64,
    /// The learning rate over time.
    pub schedule: Schedule,
    /// What is minimised.
    pub objective: Objective,
    /// How it is minimised.
    pub adam: AdamSettings,
    /// Random changes of the patches.
    pub augmentation: Augmentation,
    /// The network.
    pub model: ModelConfig,
}

/// Settings that may change when a run continues: they do not change what is learnt, or are only about how long.
const FREE: [&str; 7] = ["epochs", "device", "max_memory", "workers", "checkpoint_every", "train", "validation"];

/// Sizes of the network that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelSize {
    /// As published: 10 million parameters.
    Published,
    /// A fifth of the filters at a third of the tile: trains on a laptop.
    Small,
    /// To see whether everything works.
    Tiny,
}

impl ModelSize {
    /// The network of this size, with optical bands and elevation.
    #[must_use]
    pub fn config(self) -> ModelConfig {
        let published = ModelConfig::default();
        match self {
            Self::Published => published,
            Self::Small => ModelConfig { filters: 16, embedding: 32, mlp: 64, blocks: 4, tile: 128, ..published },
            Self::Tiny => ModelConfig {
                filters: 4,
                embedding: 8,
                mlp: 16,
                blocks: 1,
                heads: 2,
                unet_steps: 2,
                tile: 32,
                ..published
            },
        }
    }

    fn table(self) -> Table {
        let config = self.config();
        let sizes = [
            ("filters", config.filters),
            ("embedding", config.embedding),
            ("mlp", config.mlp),
            ("blocks", config.blocks),
            ("heads", config.heads),
            ("unet_steps", config.unet_steps),
            ("tile", config.tile),
        ];
        let number = |size: usize| Value::Integer(i64::try_from(size).unwrap_or(i64::MAX));
        let model: Table = sizes.into_iter().map(|(key, value)| (key.to_owned(), number(value))).collect();
        Table::from_iter([("model".to_owned(), Value::Table(model))])
    }
}

/// What the user gave, from the weakest to the strongest.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// A named size.
    pub size: Option<ModelSize>,
    /// A file with any of the settings.
    pub file: Option<PathBuf>,
    /// Settings from the command line, as such a file would have them.
    pub flags: Table,
}

impl TrainSettings {
    /// The published recipe of a strategy, without files.
    #[must_use]
    pub fn published(strategy: Strategy) -> Self {
        let finetuning = strategy == Strategy::Finetuning;
        let location = match strategy {
            Strategy::RegionEncoding => Location::published_regions(),
            Strategy::CoordinateEncoding => Location::Coordinates,
            _ => Location::None,
        };
        Self {
            strategy,
            train: Vec::new(),
            validation: Vec::new(),
            regions: Vec::new(),
            subregions: Vec::new(),
            exclude_regions: Vec::new(),
            sensors: Vec::new(),
            exclude_sensors: Vec::new(),
            unlabelled: Unlabelled::Ignore,
            from: None,
            epochs: if finetuning { 80 } else { 150 },
            batch: 8,
            learning_rate: if finetuning { 5e-5 } else { 5e-4 },
            steps_per_epoch: 0,
            label_smoothing: 0.1,
            seed: 1,
            device: "auto".into(),
            exact: false,
            max_memory: None,
            workers: 4,
            checkpoint_every: 0,
            schedule: if finetuning { Schedule::cosine() } else { Schedule::default() },
            objective: Objective::default(),
            adam: AdamSettings::default(),
            augmentation: Augmentation::default(),
            model: ModelConfig { location, ..ModelConfig::default() },
        }
    }

    /// How the graphs of a run are planned.
    #[must_use]
    pub fn plan_options(&self) -> PlanOptions {
        let max_memory = self.max_memory.map(|size| size.0);
        PlanOptions { exact: self.exact, max_memory, ..PlanOptions::default() }
    }

    /// Puts a new run's settings together: the strategy's published ones, then what was given. The network of a run that continues from a
    /// model is that model's.
    ///
    /// # Errors
    /// A file that cannot be read or has a setting that does not exist, or settings that make no sense together.
    pub fn resolve(given: &Given) -> Result<Self> {
        let file = given.file.as_deref().map(read_table).transpose()?.unwrap_or_default();
        let get = |key: &str| given.flags.get(key).or_else(|| file.get(key)).cloned();
        let strategy = match get("strategy") {
            Some(value) => value.try_into().map_err(|e: toml::de::Error| wrong_setting(given, &e))?,
            None => Strategy::default(),
        };
        let mut base = Self::published(strategy);
        let start = match get("from") {
            Some(Value::String(path)) => Some((Weights::load(&path)?.config().clone(), path)),
            _ => None,
        };
        if let Some((config, _)) = &start {
            base.model = config.clone();
        } else if strategy == Strategy::RegionEncoding
            && let Some(Value::Array(names)) = get("regions").filter(|v| v.as_array().is_some_and(|a| !a.is_empty()))
        {
            let names: BTreeSet<&str> = names.iter().filter_map(Value::as_str).filter(|n| *n != "unknown").collect();
            base.model.location = Location::Regions(names.into_iter().chain(["unknown"]).map(String::from).collect());
        }
        let mut settings = Self::merged(&base, given, &file)?;
        if let Some((config, path)) = &start {
            let same = ModelConfig { dropout: config.dropout, ..settings.model.clone() };
            if let Some((key, found, expected)) = difference(&to_table(&same)?, &to_table(config)?) {
                return Err(Error::bad_argument(
                    format!("model.{key} = {found}"),
                    format!("{expected}, as in {path}"),
                    "leave out --features, --tile and sizes of the network: they come from the model that is continued",
                ));
            }
        }
        settings.complete()?;
        Ok(settings)
    }

    /// Settings of a run that continues: those in `config`, then what was given.
    ///
    /// # Errors
    /// As [`TrainSettings::resolve`].
    pub fn resume(config: &Path, given: &Given) -> Result<Self> {
        let old = Self::read(config)?;
        let file = given.file.as_deref().map(read_table).transpose()?.unwrap_or_default();
        let mut settings = Self::merged(&old, given, &file)?;
        settings.complete()?;
        if settings.schedule.kind == ScheduleKind::Cosine
            && u64_to_f64(settings.epochs) > settings.schedule.decay
            && settings.schedule.lowest == 0.0
        {
            tracing::warn!(
                "the learning rate is 0 after epoch {}: more epochs change nothing",
                settings.schedule.decay
            );
        }
        Ok(settings)
    }

    /// Reads a run's `config.toml`.
    ///
    /// # Errors
    /// The file cannot be read, or lacks a setting.
    pub fn read(config: &Path) -> Result<Self> {
        parse(config, &read_table(config)?)
    }

    fn merged(base: &Self, given: &Given, file: &Table) -> Result<Self> {
        let mut table = to_table(base)?;
        if let Some(size) = given.size {
            merge(&mut table, size.table());
        }
        merge(&mut table, file.clone());
        if let Some(path) = &given.file {
            // By itself first, so that the message names the file.
            let _: Self = parse(path, &table)?;
        }
        merge(&mut table, given.flags.clone());
        Table::try_into(table).map_err(|e| wrong_setting(given, &e))
    }

    /// Fills in what follows from other settings, and checks all.
    fn complete(&mut self) -> Result<()> {
        if self.schedule.kind == ScheduleKind::Cosine && self.schedule.decay == 0.0 {
            self.schedule.decay = u64_to_f64(self.epochs);
        }
        // The program may be continued from another folder.
        for path in self.train.iter_mut().chain(&mut self.validation).chain(&mut self.from) {
            *path = std::path::absolute(&path).map_err(|e| Error::io("find", &path, e))?;
        }
        self.validate()
    }

    /// Checks every setting by itself and against the strategy. Files are not opened.
    ///
    /// # Errors
    /// [`Error::BadArgument`] naming the first setting that cannot be.
    pub fn validate(&self) -> Result<()> {
        let wrong = |found: String, expected: &str, remedy: &str| Err(Error::bad_argument(found, expected, remedy));
        for (option, files) in [("--train", &self.train), ("--validation", &self.validation)] {
            if files.is_empty() {
                let expected = "at least one tile file (HDF5)";
                return wrong(format!("no {option}"), expected, "give it, or set it in the file of --config");
            }
        }
        let numbers = [
            ("epochs", u64_to_f64(self.epochs), 1.0, 1e6),
            ("batch", usize_to_f64(self.batch), 1.0, 1024.0),
            ("learning_rate", self.learning_rate, f64::MIN_POSITIVE, 10.0),
            ("steps_per_epoch", usize_to_f64(self.steps_per_epoch), 0.0, 1e9),
            ("label_smoothing", self.label_smoothing, 0.0, 0.99),
            ("workers", usize_to_f64(self.workers), 1.0, 256.0),
        ];
        for (name, value, low, high) in numbers {
            if !(low..=high).contains(&value) {
                let low = if low == f64::MIN_POSITIVE { "above 0".to_owned() } else { low.to_string() };
                return wrong(format!("{name} = {value}"), &format!("{low} to {high}"), "correct the setting");
            }
        }
        if i64::try_from(self.seed).is_err() {
            return wrong(format!("seed = {}", self.seed), "a number below 2^63", "choose another");
        }
        self.model.validate()?;
        self.schedule.validate()?;
        self.objective.validate()?;
        self.adam.validate()?;
        self.augmentation.validate()?;
        self.validate_strategy()
    }

    fn validate_strategy(&self) -> Result<()> {
        let strategy = self.strategy;
        let wrong = |found: &str, expected: &str, remedy: &str| {
            Err(Error::bad_argument(format!("strategy {strategy} {found}"), expected, remedy))
        };
        let is_encoding = matches!(self.model.location, Location::Regions(_));
        match strategy {
            Strategy::Regional if self.regions.is_empty() => wrong(
                "without regions",
                "the regions of the model",
                "give --regions ALP,CA, say, or use --strategy global",
            ),
            Strategy::Finetuning if self.from.is_none() => {
                wrong("without a model", "a trained model to continue", "give --from MODEL.safetensors")
            }
            Strategy::RegionEncoding if !is_encoding => wrong(
                "with a network that takes no region",
                "a region vector",
                "leave out [model] location, or continue from a model with regions",
            ),
            Strategy::CoordinateEncoding if self.model.location != Location::Coordinates => wrong(
                "with a network that takes no coordinates",
                "a coordinate vector",
                "leave out [model] location, or continue from a model with coordinates",
            ),
            Strategy::Global | Strategy::Regional if self.model.location != Location::None => wrong(
                "with a network that takes a location",
                "a network without a location input",
                "use --strategy region-encoding or coordinate-encoding",
            ),
            _ => Ok(()),
        }
    }

    /// What to take from the tile files.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection {
            regions: self.regions.clone(),
            subregions: self.subregions.clone(),
            exclude_regions: self.exclude_regions.clone(),
            sensors: self.sensors.clone(),
            exclude_sensors: self.exclude_sensors.clone(),
            features: self.model.features.clone(),
            tile: self.model.tile,
            location: self.model.location.clone(),
            unlabelled: self.unlabelled,
        }
    }

    /// The settings as a TOML text.
    ///
    /// # Errors
    /// A path is not Unicode.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| not_toml(&e))
    }

    /// Refuses to continue a run that was begun with another recipe.
    ///
    /// # Errors
    /// [`Error::BadArgument`] naming the first setting that differs, with both values.
    pub fn check_continues(&self, begun: &Self) -> Result<()> {
        let recipe = |settings: &Self| -> Result<Table> {
            let mut table = to_table(settings)?;
            FREE.iter().for_each(|key| drop(table.remove(*key)));
            Ok(table)
        };
        let Some((key, found, expected)) = difference(&recipe(self)?, &recipe(begun)?) else { return Ok(()) };
        Err(Error::bad_argument(
            format!("{key} = {found}"),
            format!("{expected}, with which the run was begun"),
            "leave the setting out, or begin a new run in another folder",
        ))
    }
}

fn read_table(path: &Path) -> Result<Table> {
    let bytes = crate::model::arrays::read_file(path, 1 << 20)?;
    let not_toml = |reason: String| {
        Error::bad_file(path, format!("no TOML ({})", one_line(&reason)), "a TOML text with settings", "correct it")
    };
    let text = String::from_utf8(bytes).map_err(|e| not_toml(e.to_string()))?;
    text.parse::<Table>().map_err(|e| not_toml(e.to_string()))
}

fn parse(path: &Path, table: &Table) -> Result<TrainSettings> {
    table.clone().try_into().map_err(|e: toml::de::Error| {
        let remedy = "`glavitu train --dry-run` shows every setting";
        Error::bad_file(path, one_line(e.message()), "settings of a training run", remedy)
    })
}

fn wrong_setting(given: &Given, error: &toml::de::Error) -> Error {
    let found = one_line(error.message());
    let where_from = if given.flags.is_empty() { "settings of a training run" } else { "options of `glavitu train`" };
    Error::bad_argument(found, where_from, "see `glavitu train --help`")
}

/// Error messages of this program are one line long.
fn one_line(text: &str) -> String {
    text.split_whitespace().filter(|word| *word != "|" && !word.starts_with("^")).collect::<Vec<_>>().join(" ")
}

fn to_table(value: &impl Serialize) -> Result<Table> {
    Table::try_from(value).map_err(|e| not_toml(&e))
}

fn not_toml(error: &toml::ser::Error) -> Error {
    Error::bad_argument(
        format!("settings that no TOML file can hold ({})", one_line(&error.to_string())),
        "paths in Unicode and a seed below 2^63",
        "correct the setting",
    )
}

/// Puts `over` over `base`, table by table.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            // A location is one thing or the other.
            (Some(Value::Table(base)), Value::Table(over)) if key != "location" => merge(base, over),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

/// The first setting that differs: its name and the value in each.
fn difference(found: &Table, expected: &Table) -> Option<(String, String, String)> {
    let keys: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    for key in keys {
        match (found.get(key), expected.get(key)) {
            (a, b) if a == b => {}
            (Some(Value::Table(a)), Some(Value::Table(b))) => {
                if let Some((inner, a, b)) = difference(a, b) {
                    return Some((format!("{key}.{inner}"), a, b));
                }
            }
            (a, b) => {
                let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
                return Some((key.clone(), text(a), text(b)));
            }
        }
    }
    None
}

#[expect(clippy::cast_precision_loss, reason = "for comparisons with bounds far below 2^52")]
fn u64_to_f64(value: u64) -> f64 {
    value as f64
}

fn usize_to_f64(value: usize) -> f64 {
    u64_to_f64(value as u64)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;

//! What `glavitu tune` measured, saved: one file for each adapter, valid for the driver it was measured with.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::atomic_file::StagedFiles;
use crate::error::{Error, Result};
use crate::gpu::AdapterSummary;
use crate::graph::Tuning;

/// The variable of the environment that names another file, or is `off` to ignore what was saved.
pub const VARIABLE: &str = "GLAVITU_TUNING";

/// The variants of one adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuningFile {
    /// The adapter's name.
    pub adapter: String,
    /// Its graphics interface.
    pub backend: String,
    /// The driver it was measured with.
    pub driver: String,
    /// The version of this program that measured.
    pub program: String,
    /// One for each operator and shape.
    pub choices: Vec<Choice>,
}

/// The times of an operator's variants for some shapes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Operator, settings and shapes; see [`Tuning::key`].
    pub key: String,
    /// The variant to take.
    pub variant: String,
    /// The variant that is taken without tuning.
    pub usual: String,
    /// Median time of every variant that was timed to the end.
    pub seconds: BTreeMap<String, f64>,
}

impl TuningFile {
    /// The choices of an adapter.
    #[must_use]
    pub fn new(adapter: &AdapterSummary, choices: Vec<Choice>) -> Self {
        Self {
            adapter: adapter.name.clone(),
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            choices,
        }
    }

    /// Reads the file of an adapter.
    ///
    /// # Errors
    /// A file that is no such file, or of another adapter or driver.
    pub fn read(path: &Path, adapter: &AdapterSummary) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        let wrong = |found: String, expected: String| {
            Error::bad_file(path, found, expected, "run `glavitu tune` again, or `glavitu tune --reset`")
        };
        let file: Self =
            serde_json::from_str(&text).map_err(|e| wrong(e.to_string(), "the variants of an adapter".to_owned()))?;
        let named = |name: &str, backend: &str, driver: &str| format!("{name} ({backend}, {driver})");
        let (found, expected) = (
            named(&file.adapter, &file.backend, &file.driver),
            named(&adapter.name, &adapter.backend, &adapter.driver),
        );
        if found == expected { Ok(file) } else { Err(wrong(found, expected)) }
    }

    /// Writes the file, and the folder it lies in.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        }
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::bad_file(path, e.to_string(), "numbers", "report this as a defect"))?;
        let mut staged = StagedFiles::new();
        staged.stage_bytes(path, text.as_bytes())?;
        staged.publish()
    }

    /// The choices that differ from what is taken without them.
    #[must_use]
    pub fn tuning(&self) -> Tuning {
        let mut tuning = Tuning::default();
        for choice in self.choices.iter().filter(|choice| choice.variant != choice.usual) {
            tuning.choose(&choice.key, &choice.variant);
        }
        tuning
    }
}

/// Where the file of an adapter lies: in the user's folder for caches. `None` where there is none.
#[must_use]
pub fn default_path(adapter: &AdapterSummary) -> Option<PathBuf> {
    let plain: String =
        adapter.name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).take(6).collect();
    // Names that look alike once plain differ by this.
    let digest = Sha256::digest(format!("{} {}", adapter.name, adapter.backend));
    let digest: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Some(cache_folder()?.join("glavitu").join("tuning").join(format!("{}-{digest}.json", words.join("-"))))
}

/// The user's folder for caches, as each system has it.
fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(windows) {
        return set("LOCALAPPDATA");
    }
    let home = || Some(set("HOME")?.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" }));
    set("XDG_CACHE_HOME").or_else(home)
}

/// What was saved for an adapter, unless the environment says to ignore it. A file that does not fit is ignored with one warning.
#[must_use]
pub fn saved_tuning(adapter: &AdapterSummary) -> Tuning {
    static WARNING: Once = Once::new();
    let named = env::var_os(VARIABLE).filter(|value| !value.is_empty());
    let path = match &named {
        Some(off) if off == "off" => return Tuning::default(),
        Some(file) => PathBuf::from(file),
        None => match default_path(adapter).filter(|path| path.exists()) {
            Some(path) => path,
            None => return Tuning::default(),
        },
    };
    match TuningFile::read(&path, adapter) {
        Ok(file) => {
            let tuning = file.tuning();
            tracing::info!("{} variants as measured, from {}", tuning.len(), path.display());
            tuning
        }
        Err(error) => {
            WARNING.call_once(|| tracing::warn!("what was tuned is ignored: {error}"));
            Tuning::default()
        }
    }
}

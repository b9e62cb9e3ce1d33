//! What is checked of outputs before any work begins, and folders of files that appear together.

use std::fs;
use std::path::Path;

use crate::atomic_file::StagedFiles;
use crate::error::{Error, Result};

/// Fails if `output` cannot become a file because its folder is missing or it is a folder itself, or if it is one of
/// the files that are read: replacing those would destroy them.
pub(super) fn check_output(output: &Path, inputs: &[&Path]) -> Result<()> {
    let wrong = |found: String, expected: &str, remedy: &str| Err(Error::bad_file(output, found, expected, remedy));
    if let Some(folder) = output.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return wrong(format!("no folder {}", folder.display()), "an existing folder", "make it first");
    }
    if output.is_dir() {
        return wrong("a folder".into(), "a file to write", "name a file in it");
    }
    // Links and other spellings of one path count as the same file.
    if let Ok(real) = output.canonicalize()
        && inputs.iter().any(|input| input.canonicalize().is_ok_and(|input| input == real))
    {
        return wrong("a file that is read".into(), "another file to write", "give the output another name");
    }
    Ok(())
}

/// Finds out before computing whether files can be made in a folder, or the folder in the first one above it that exists.
pub(super) fn check_writable(folder: &Path) -> Result<()> {
    let mut existing = folder;
    while !existing.exists() {
        existing = match existing.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    tempfile::tempfile_in(existing).map(drop).map_err(|e| Error::io("write to the folder", existing, e))
}

/// Writes all that `stage` stages to a folder, or nothing and leaves no new folder behind.
pub(super) fn write_folder<T>(folder: &Path, stage: impl FnOnce(&mut StagedFiles) -> Result<T>) -> Result<T> {
    let is_new = !folder.exists();
    fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let all = || {
        let mut staged = StagedFiles::new();
        let result = stage(&mut staged)?;
        staged.publish()?;
        Ok(result)
    };
    let result = all();
    if result.is_err() && is_new {
        // Only an empty folder can be removed so.
        let _ = fs::remove_dir(folder);
    }
    result
}

/// A file's name with the folder it lies in: what tells `map/outlines.tif` from `scene/outlines.tif`.
pub(super) fn short_name(path: &Path) -> String {
    let parts: Vec<_> = path.iter().collect();
    let last: std::path::PathBuf = parts.iter().skip(parts.len().saturating_sub(2)).collect();
    last.display().to_string()
}

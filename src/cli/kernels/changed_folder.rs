//! A folder of changed kernels: the value of `--kernels`.

use std::fs;
use std::path::Path;

use super::catalogue;
use crate::bench::cases::alike;
use crate::error::{Error, Result};
use crate::gpu::ChangedKernels;

/// Reads the folder. Its files have the names of built-in ones, those of `shared/` in a folder of that name.
///
/// Hidden files, backups (`~`) and a `README.md` are passed over.
///
/// # Errors
/// A folder without kernels, or a file that no kernel has the name of.
pub(super) fn read(folder: &Path) -> Result<ChangedKernels> {
    let known = catalogue::files();
    let mut changed = ChangedKernels::default();
    for (part, prefix) in [(folder.to_path_buf(), ""), (folder.join("shared"), "shared/")] {
        if !prefix.is_empty() && !part.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&part).map_err(|e| Error::io("read the folder", &part, e))? {
            let path = entry.map_err(|e| Error::io("read the folder", &part, e))?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let passed_over = file.starts_with('.') || file.ends_with('~') || file == "README.md";
            if passed_over || (prefix.is_empty() && file == "shared" && path.is_dir()) {
                continue;
            }
            let name = format!("{prefix}{}", file.strip_suffix(".wgsl").unwrap_or(&file));
            if !file.ends_with(".wgsl") || !known.contains_key(&name) {
                return Err(unknown(&path, &name, known.keys().map(String::as_str)));
            }
            let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
            changed.insert(name, path, text);
        }
    }
    if changed.is_empty() {
        return Err(Error::bad_file(
            folder,
            "no kernels",
            "files named like built-in kernels",
            "copy one there: `glavitu kernels show --source NAME`",
        ));
    }
    Ok(changed)
}

fn unknown<'a>(path: &Path, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let alike: Vec<String> = alike(name, known).iter().map(|known| format!("{known}.wgsl")).collect();
    let expected = format!("the name of a built-in one, such as {}", alike.join(", "));
    Error::bad_file(path, "a file that no kernel is called", expected, "see `glavitu kernels list`")
}

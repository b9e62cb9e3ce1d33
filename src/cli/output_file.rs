//! What is checked of an output file before any work begins.

use std::path::Path;

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

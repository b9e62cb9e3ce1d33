//! Files that appear whole or not at all: written beside their target under a temporary name, then renamed.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// How the names of files under way begin; a program that is killed leaves them behind.
pub(crate) const TEMPORARY: &str = ".glavitu-";

/// Output files of one command. All are staged first; [`StagedFiles::publish`] renames them into place together.
///
/// Dropped without `publish`, every staged file is removed.
#[derive(Debug, Default)]
pub struct StagedFiles {
    files: Vec<(NamedTempFile, PathBuf)>,
    outdated: Vec<PathBuf>,
}

impl StagedFiles {
    /// Nothing staged yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `write` with a temporary path in the folder of `target`; the file it makes there is staged.
    ///
    /// # Errors
    /// The folder is not writable, or what `write` returns.
    pub fn stage(&mut self, target: impl AsRef<Path>, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let target = target.as_ref();
        let file = temporary_beside(target)?;
        write(file.path())?;
        // The closure may have replaced the file by name, so synchronise through a new handle.
        fs::File::open(file.path()).and_then(|f| f.sync_all()).map_err(|e| Error::io("write", target, e))?;
        self.files.push((file, target.to_path_buf()));
        Ok(())
    }

    /// Stages `bytes` as the content of `target`.
    ///
    /// # Errors
    /// As [`StagedFiles::stage`].
    pub fn stage_bytes(&mut self, target: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        let target = target.as_ref();
        self.stage(target, |path| fs::write(path, bytes).map_err(|e| Error::io("write", target, e)))
    }

    /// Stages a file that was written piece by piece.
    ///
    /// # Errors
    /// The disk is full.
    pub fn add(&mut self, grown: GrowingFile) -> Result<()> {
        let GrowingFile { file, target } = grown;
        file.as_file().sync_all().map_err(|e| Error::io("write", &target, e))?;
        self.files.push((file, target));
        Ok(())
    }

    /// Removes a file when the others are published, if there is one: what an earlier output left beside them would be taken for a part of
    /// the new one, such as the spatial index of a Shapefile.
    pub fn remove(&mut self, outdated: impl Into<PathBuf>) {
        self.outdated.push(outdated.into());
    }

    /// Renames every staged file to its target.
    ///
    /// # Errors
    /// A target is a folder; then nothing is renamed. Or the system refuses a rename; files renamed before that stay.
    pub fn publish(self) -> Result<()> {
        self.files.iter().try_for_each(|(_, target)| check_replaceable(target))?;
        for outdated in &self.outdated {
            match fs::remove_file(outdated) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", outdated, e)),
                _ => {}
            }
        }
        self.files.into_iter().try_for_each(|(file, target)| rename(file, &target))
    }
}

/// One output file that is written piece by piece: a temporary file until [`GrowingFile::publish`] renames it to its target.
///
/// Dropped without `publish`, it is removed.
#[derive(Debug)]
pub struct GrowingFile {
    file: NamedTempFile,
    target: PathBuf,
}

impl GrowingFile {
    /// Starts an empty file beside `target`.
    ///
    /// # Errors
    /// The target is a folder, or its folder is not writable.
    pub fn create(target: impl AsRef<Path>) -> Result<Self> {
        let target = target.as_ref();
        check_replaceable(target)?;
        Ok(Self { file: temporary_beside(target)?, target: target.to_path_buf() })
    }

    /// Where the file lies while it grows, for writers that open it by name.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What it will be called.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Renames the file to its target.
    ///
    /// # Errors
    /// The disk is full, the target has become a folder, or the system refuses the rename.
    pub fn publish(self) -> Result<()> {
        self.file.as_file().sync_all().map_err(|e| Error::io("write", &self.target, e))?;
        check_replaceable(&self.target)?;
        rename(self.file, &self.target)
    }
}

impl Write for GrowingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

impl Seek for GrowingFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.as_file_mut().seek(position)
    }
}

fn temporary_beside(target: &Path) -> Result<NamedTempFile> {
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let extension = target.extension().and_then(|e| e.to_str()).unwrap_or("part");
    tempfile::Builder::new()
        .prefix(TEMPORARY)
        .suffix(&format!(".{extension}"))
        .tempfile_in(folder)
        .map_err(|e| Error::io("create a file in", folder, e))
}

fn rename(file: NamedTempFile, target: &Path) -> Result<()> {
    set_ordinary_permissions(file.path()).map_err(|e| Error::io("write", target, e))?;
    file.persist(target).map_err(|e| Error::io("write", target, e.error))?;
    Ok(())
}

/// Checks that a file can be renamed to `target`.
///
/// # Errors
/// It is a folder.
pub fn check_replaceable(target: &Path) -> Result<()> {
    if target.is_dir() {
        return Err(Error::bad_file(target, "a folder", "a file or nothing", "move it away, or choose another output"));
    }
    Ok(())
}

/// Writes one file whole or not at all.
///
/// # Errors
/// As [`StagedFiles::stage`] and [`StagedFiles::publish`].
pub fn write_atomically(target: impl AsRef<Path>, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut staged = StagedFiles::new();
    staged.stage(target, write)?;
    staged.publish()
}

/// Temporary files are private to their owner; outputs are shared as any new file is (0644).
#[cfg(unix)]
fn set_ordinary_permissions(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_ordinary_permissions(_path: &Path) -> io::Result<()> {
    Ok(())
}

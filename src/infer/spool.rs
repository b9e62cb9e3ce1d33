//! Probabilities on their way to the output files: appended row by row to a file in a work folder, from which an interrupted scene goes on.
//!
//! The file holds one little-endian f32 per pixel, or row by row several channels one after the other. A set sign bit of the first, the probability, marks
//! a pixel without data in some raster; its magnitude is what the network says of the filled gap, which the median filter wants. A small JSON beside it says what decides the result (as a hash) and how many rows
//! count; it is replaced as a whole, after the rows have reached the disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::atomic_file::{TEMPORARY, write_atomically};
use crate::error::{Error, Result};

/// The work folder in the output folder.
pub const WORK_FOLDER: &str = ".glavitu-work";
const ROWS: &str = "probability.f32";
const STATE: &str = "state.json";
/// Between two saved states: a state waits for the disk.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What to do with rows of an interrupted run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// Refuse to begin: they may be worth hours.
    Refuse,
    /// Go on from them; refuse if they are of another scene or other settings.
    Resume,
    /// Go on from them if they fit, else begin anew.
    ResumeIfSame,
}

/// The rows of a scene so far.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    file: File,
    width: usize,
    height: usize,
    channels: usize,
    rows: usize,
    identity: String,
    saved: Option<(usize, Instant)>,
}

/// What the JSON says.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    identity: String,
    width: usize,
    height: usize,
    rows: usize,
}

impl Spool {
    /// Opens the spool of a scene of `height` x `width` pixels in `output`'s work folder, which is made and locked. `identity` is a hash of everything that
    /// decides the probabilities. Temporary files that a killed run left in `output` are deleted.
    ///
    /// # Errors
    /// There are earlier rows that may not be used (`earlier`) or are damaged, another program works on them, or the folder cannot be written to.
    pub fn open(output: &Path, size: (usize, usize), identity: &str, earlier: Earlier) -> Result<Self> {
        Self::of_channels(output, size, 1, identity, earlier)
    }

    /// As [`Spool::open`], with `channels` values per pixel, of which the first is the probability; `identity` decides their number too.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn of_channels(
        output: &Path,
        (height, width): (usize, usize),
        channels: usize,
        identity: &str,
        earlier: Earlier,
    ) -> Result<Self> {
        let folder = output.join(WORK_FOLDER);
        let rows = match State::read(&folder)? {
            None => 0,
            Some(_) if earlier == Earlier::Refuse => {
                return Err(Error::bad_file(
                    &folder,
                    "an interrupted run",
                    "no such folder",
                    "give --resume to go on with it, or delete the folder to begin anew",
                ));
            }
            Some(state) if state.identity != identity || (state.height, state.width) != (height, width) => {
                if earlier == Earlier::Resume {
                    return Err(Error::bad_file(
                        &folder,
                        "an interrupted run of another scene or with other settings",
                        "one with the same model, rasters, device and options",
                        "repeat that run's options, or delete the folder to begin anew",
                    ));
                }
                0
            }
            Some(state) => state.rows,
        };
        fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
        let path = folder.join(ROWS);
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open().map_err(|e| Error::io("write", &path, e))?;
        let lock = file.try_lock();
        if let Err(TryLockError::WouldBlock) = lock {
            return Err(Error::bad_file(
                &folder,
                "a scene that another program is mapping",
                "a folder of one's own",
                "wait for it to end, or choose another output",
            ));
        }
        if rows == 0 {
            // A state that does not count must not be found with the rows of this run.
            let _ = fs::remove_file(folder.join(STATE));
        }
        remove_leftovers(&folder);
        // A file system without locks does not tell whether another program is writing results there.
        if lock.is_ok() {
            remove_leftovers(output);
        }
        let bytes = rows as u64 * row_bytes(width, channels);
        let length = file.metadata().map_err(|e| Error::io("read", &path, e))?.len();
        if rows > height || length < bytes {
            return Err(Error::bad_file(
                &path,
                format!("{length} bytes"),
                format!("{bytes} bytes for {rows} of {height} rows"),
                "the disk lost them: delete the folder to begin anew",
            ));
        }
        let spool = Self { folder, file, width, height, channels, rows, identity: identity.to_owned(), saved: None };
        spool.file.set_len(bytes).map_err(|e| Error::io("write", &path, e))?;
        Ok(spool)
    }

    /// Rows that are there.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows and columns of the scene.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// The work folder, where other temporary files may lie too.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Values per pixel.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Appends whole rows: probabilities, and whether each pixel has data.
    ///
    /// # Errors
    /// They are no rows or too many, or the disk is full.
    pub fn append(&mut self, probability: &[f32], valid: &[bool]) -> Result<()> {
        self.append_channels(&[probability], valid)
    }

    /// Appends whole rows of all channels, the probability first, and whether each pixel has data.
    ///
    /// # Errors
    /// As [`Spool::append`].
    pub fn append_channels(&mut self, channels: &[impl AsRef<[f32]>], valid: &[bool]) -> Result<()> {
        let (width, rows) = (self.width.max(1), valid.len() / self.width.max(1));
        let is_whole = channels.iter().all(|channel| channel.as_ref().len() == valid.len());
        if !is_whole || channels.len() != self.channels || valid.len() != rows * width || rows > self.height - self.rows
        {
            let lengths: Vec<usize> = channels.iter().map(|channel| channel.as_ref().len()).collect();
            return Err(Error::shape(
                "spool",
                format!("{lengths:?} values and {} marks after {} rows", valid.len(), self.rows),
                format!("rows of {} values in {} channels, {} in all", self.width, self.channels, self.height),
            ));
        }
        let fail = |e| Error::io("write", self.folder.join(ROWS), e);
        // An earlier write may have ended in the middle of a row.
        let end = self.rows as u64 * row_bytes(self.width, self.channels);
        self.file.seek(SeekFrom::Start(end)).map_err(fail)?;
        let mut writer = BufWriter::with_capacity(1 << 20, &self.file);
        let mut line = Vec::with_capacity(width * 4);
        for (row, valid) in valid.chunks_exact(width).enumerate() {
            for (number, channel) in channels.iter().enumerate() {
                let values = &channel.as_ref()[row * width..(row + 1) * width];
                line.clear();
                if number == 0 {
                    let marked = values.iter().zip(valid).map(|(p, valid)| if *valid { p.abs() } else { -p.abs() });
                    line.extend(marked.flat_map(f32::to_le_bytes));
                } else {
                    line.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                }
                writer.write_all(&line).map_err(fail)?;
            }
        }
        writer.flush().map_err(fail)?;
        drop(writer);
        self.rows += rows;
        let is_due = self.saved.is_none_or(|(_, when)| when.elapsed() >= SAVE_EVERY);
        if is_due || self.rows == self.height { self.save() } else { Ok(()) }
    }

    /// Makes sure that what was appended is found after whatever happens.
    ///
    /// # Errors
    /// The disk is full.
    pub fn save(&mut self) -> Result<()> {
        if self.rows == 0 || self.saved.is_some_and(|(rows, _)| rows == self.rows) {
            return Ok(());
        }
        self.file.sync_data().map_err(|e| Error::io("write", self.folder.join(ROWS), e))?;
        let (width, height, rows) = (self.width, self.height, self.rows);
        let state = State { identity: self.identity.clone(), width, height, rows };
        let target = self.folder.join(STATE);
        let text = serde_json::to_vec(&state).map_err(|e| Error::io("write", &target, e.into()))?;
        write_atomically(&target, |path| fs::write(path, &text).map_err(|e| Error::io("write", path, e)))?;
        self.saved = Some((rows, Instant::now()));
        Ok(())
    }

    /// Reads rows: probabilities of all pixels, and whether each has data.
    ///
    /// # Errors
    /// There are no such rows, or the disk fails.
    pub fn read(&mut self, first: usize, rows: usize) -> Result<(Vec<f32>, Vec<bool>)> {
        let (mut channels, valid) = self.read_channels(first, rows)?;
        Ok((if channels.is_empty() { Vec::new() } else { channels.swap_remove(0) }, valid))
    }

    /// Reads rows of all channels, the probability first, and whether each pixel has data.
    ///
    /// # Errors
    /// As [`Spool::read`].
    pub fn read_channels(&mut self, first: usize, rows: usize) -> Result<(Vec<Vec<f32>>, Vec<bool>)> {
        let fail = |e| Error::io("read", self.folder.join(ROWS), e);
        if first + rows > self.rows {
            return Err(Error::shape("spool", format!("row {}", first + rows), format!("{} rows", self.rows)));
        }
        let start = first as u64 * row_bytes(self.width, self.channels);
        self.file.seek(SeekFrom::Start(start)).map_err(fail)?;
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        let mut line = vec![0; self.width * 4];
        let mut channels: Vec<Vec<f32>> = (0..self.channels).map(|_| Vec::with_capacity(rows * self.width)).collect();
        let mut valid = Vec::with_capacity(rows * self.width);
        for _ in 0..rows {
            for (number, channel) in channels.iter_mut().enumerate() {
                reader.read_exact(&mut line).map_err(fail)?;
                let values = line.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                if number > 0 {
                    channel.extend(values);
                    continue;
                }
                for value in values {
                    channel.push(value.abs());
                    valid.push(value.is_sign_positive());
                }
            }
        }
        Ok((channels, valid))
    }

    /// Forgets all rows.
    ///
    /// # Errors
    /// The system refuses.
    pub fn clear(&mut self) -> Result<()> {
        let state = self.folder.join(STATE);
        if state.exists() {
            fs::remove_file(&state).map_err(|e| Error::io("delete", &state, e))?;
        }
        (self.rows, self.saved) = (0, None);
        self.file.set_len(0).map_err(|e| Error::io("write", self.folder.join(ROWS), e))
    }

    /// Deletes the work folder.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove(self) -> Result<()> {
        let Self { folder, file, .. } = self;
        drop(file);
        fs::remove_dir_all(&folder).map_err(|e| Error::io("delete", &folder, e))
    }
}

impl State {
    /// The state of a work folder; `None` where nothing was saved.
    fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(STATE);
        let text = match fs::read(&path) {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            text => text.map_err(|e| Error::io("read", &path, e))?,
        };
        let damaged = |found: String| {
            let remedy = "delete the folder it is in to begin anew";
            Error::bad_file(&path, found, "the state of an interrupted run", remedy)
        };
        let state: Self = serde_json::from_slice(&text).map_err(|e| damaged(format!("something else ({e})")))?;
        // The product is what a file can have.
        let bytes = state.height.checked_mul(state.width).and_then(|pixels| pixels.checked_mul(4));
        if bytes.is_none() || state.rows > state.height {
            return Err(damaged(format!("{} of {} rows of {} pixels", state.rows, state.height, state.width)));
        }
        Ok(Some(state))
    }
}

/// Bytes of a row.
fn row_bytes(width: usize, channels: usize) -> u64 {
    (width as u64).saturating_mul(4 * channels as u64)
}

/// Deletes the files that a killed program was writing. Folders stay, the work folder among them, and so do links.
fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            // One that stays does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (4, 3);

    #[test]
    fn rows_come_back_and_runs_go_on() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path();
        let mut spool = Spool::open(out, SIZE, "a", Earlier::Refuse).expect("new");
        spool.append(&[0.0, 0.5, 1.0, 0.25, 0.0, 0.1], &[true, true, false, true, false, true]).expect("two rows");
        assert!(spool.append(&[0.0; 4], &[true; 4]).is_err());
        assert!(spool.append(&[0.0; 9], &[true; 9]).is_err());
        // Another program's files are its own while it runs.
        fs::write(out.join(".glavitu-x.tif"), "half").expect("written");
        assert!(Spool::open(out, SIZE, "a", Earlier::Resume).is_err(), "in use");
        assert!(out.join(".glavitu-x.tif").exists());
        // Half a row that never counted.
        spool.file.write_all(&[1, 2, 3, 4, 5]).expect("written");
        drop(spool);
        fs::write(out.join(WORK_FOLDER).join(".glavitu-x.json"), "half").expect("written");
        fs::write(out.join("glavitu-x.tif"), "somebody's").expect("written");
        fs::create_dir(out.join(".glavitu-folder")).expect("made");
        assert!(Spool::open(out, SIZE, "a", Earlier::Refuse).is_err());
        assert!(Spool::open(out, SIZE, "b", Earlier::Resume).is_err());
        assert!(Spool::open(out, (3, 4), "a", Earlier::Resume).is_err());
        let mut spool = Spool::open(out, SIZE, "a", Earlier::Resume).expect("the same");
        assert_eq!((spool.rows(), spool.size()), (2, SIZE));
        spool.append(&[0.75; 6], &[true; 6]).expect("the rest");
        let (probability, valid) = spool.read(1, 3).expect("three rows");
        assert_eq!(probability, [0.25, 0.0, 0.1, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75]);
        assert_eq!(valid[..4], [true, false, true, true]);
        assert!(spool.read(2, 3).is_err());
        assert_eq!(fs::read_dir(out.join(WORK_FOLDER)).expect("a folder").count(), 2);
        assert!(!out.join(".glavitu-x.tif").exists());
        assert!(out.join("glavitu-x.tif").exists() && out.join(".glavitu-folder").exists());
        drop(spool);
        let spool = Spool::open(out, SIZE, "b", Earlier::ResumeIfSame).expect("anew");
        assert_eq!(spool.rows(), 0);
        spool.remove().expect("removed");
        assert!(!out.join(WORK_FOLDER).exists());
    }

    #[test]
    fn channels_come_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path();
        let open = |earlier| Spool::of_channels(out, SIZE, 2, "a", earlier);
        let mut spool = open(Earlier::Refuse).expect("new");
        let (p, sd) = (vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let valid = [true, false, true, true, true, false];
        assert!(spool.append(&p, &valid).is_err());
        assert!(spool.append_channels(&[&p[..], &sd[..3]], &valid).is_err());
        spool.append_channels(&[&p, &sd], &valid).expect("two rows");
        drop(spool);
        let mut spool = open(Earlier::Resume).expect("the same");
        assert_eq!((spool.rows(), spool.channels()), (2, 2));
        spool.append_channels(&[[0.7; 6], [7.0; 6]], &[true; 6]).expect("the rest");
        let (channels, marks) = spool.read_channels(1, 2).expect("two rows");
        assert_eq!(channels, [[0.4, 0.5, 0.6, 0.7, 0.7, 0.7], [4.0, 5.0, 6.0, 7.0, 7.0, 7.0]]);
        assert_eq!(marks, [true, true, false, true, true, true]);
        assert_eq!(spool.read(0, 1).expect("a row"), (vec![0.1, 0.2, 0.3], vec![true, false, true]));
        assert_eq!(fs::metadata(out.join(WORK_FOLDER).join(ROWS)).expect("a file").len(), 4 * 3 * 2 * 4);
    }

    #[test]
    fn damaged_states() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let work = folder.path().join(WORK_FOLDER);
        fs::create_dir(&work).expect("made");
        for text in [
            "",
            "{}",
            "[1]",
            r#"{"identity": "a", "width": 3, "height": 4, "rows": 5}"#,
            r#"{"identity": "a", "width": 3, "height": 4, "rows": -1}"#,
            r#"{"identity": "a", "width": 9000000000000000000, "height": 9000000000000000000, "rows": 2}"#,
            r#"{"identity": "a", "width": 3, "height": 4, "rows": 2}"#,
        ] {
            fs::write(work.join(STATE), text).expect("written");
            assert!(Spool::open(folder.path(), SIZE, "a", Earlier::Resume).is_err(), "{text}");
        }
    }
}

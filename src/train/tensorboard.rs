//! Event files that TensorBoard shows: scalars over steps.
//!
//! A file is a sequence of TFRecords: the length as 64-bit little endian, its masked CRC-32C, the data, their masked CRC-32C. Each record
//! is a protocol buffer `tensorflow.Event` (`tensorflow/core/util/event.proto` and `.../framework/summary.proto`); the few fields needed are
//! encoded here by hand.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

/// An event file that is written to.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Begins a new file in a folder. With `resumed`, TensorBoard forgets what earlier files of the folder hold from that step on.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(folder: &Path, resumed: Option<u64>) -> Result<Self> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        // TensorBoard reads the files of a folder in the order of their names.
        let mut number = 0;
        let (path, file) = loop {
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.glavitu.{number:03}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                // Another one of this second.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 999 => number += 1,
                Err(error) => return Err(Error::io("create", path, error)),
            }
        };
        let mut events = Self { file, path };
        let mut version = Vec::new();
        put_bytes(&mut version, 3, b"brain.Event:2");
        events.event(0, &version)?;
        if let Some(step) = resumed {
            // SessionLog { status: START }
            let mut log = Vec::new();
            put_varint_field(&mut log, 1, 1);
            let mut start = Vec::new();
            put_bytes(&mut start, 7, &log);
            events.event(step, &start)?;
        }
        Ok(events)
    }

    /// Adds named values at a step. Values that are not numbers are left out.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values.iter().filter(|(_, value)| value.is_finite()) {
            let mut item = Vec::new();
            put_bytes(&mut item, 1, tag.as_bytes());
            #[expect(clippy::cast_possible_truncation, reason = "the format has single precision")]
            put_fixed32(&mut item, 2, (*value as f32).to_bits());
            put_bytes(&mut summary, 1, &item);
        }
        if summary.is_empty() {
            return Ok(());
        }
        let mut what = Vec::new();
        put_bytes(&mut what, 5, &summary);
        self.event(step, &what)
    }

    /// Writes one record: `Event { wall_time: 1, step: 2, what }`.
    fn event(&mut self, step: u64, what: &[u8]) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        let mut event = vec![9]; // field 1, 64 bits
        event.extend(now.to_le_bytes());
        put_varint_field(&mut event, 2, step);
        event.extend(what);
        // One call, so that a killed program leaves whole records.
        self.file.write_all(&record(&event)).map_err(|e| Error::io("write", &self.path, e))
    }
}

/// Frames data as a TFRecord.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked_crc(data).to_le_bytes());
    out
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn put_varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3);
    put_varint(out, value);
}

fn put_fixed32(out: &mut Vec<u8>, field: u64, bits: u32) {
    put_varint(out, field << 3 | 5);
    out.extend(bits.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// The checksum of TFRecords: CRC-32C, rotated and shifted.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli 1993), bit by bit: records have a hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn varints() {
        let mut out = Vec::new();
        put_varint(&mut out, 300);
        put_varint(&mut out, 127);
        assert_eq!(out, [0xac, 0x02, 0x7f]);
    }

    #[test]
    fn records_are_whole_and_hold_the_values() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut events = EventFile::create(folder.path(), Some(7)).expect("created");
        events.scalars(7, &[("train/loss", 0.25), ("bad", f64::NAN)]).expect("written");
        EventFile::create(folder.path(), None).expect("a second file beside the first");
        let bytes = std::fs::read(&events.path).expect("read");
        let (mut rest, mut events) = (bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<8>().expect("a length");
            let size = usize::try_from(u64::from_le_bytes(*length)).expect("small");
            assert_eq!(masked_crc(length).to_le_bytes(), after[..4]);
            let data = &after[4..4 + size];
            assert_eq!(masked_crc(data).to_le_bytes(), after[4 + size..8 + size]);
            events.push(data.to_vec());
            rest = &after[8 + size..];
        }
        assert_eq!(events.len(), 3);
        let tail = |event: &[u8]| event[9..].to_vec();
        assert_eq!(tail(&events[0]), [&[16, 0, 26, 13][..], b"brain.Event:2"].concat());
        assert_eq!(tail(&events[1]), [16, 7, 58, 2, 8, 1]);
        let value = [&[10, 17, 10, 10][..], b"train/loss", &[21], &0.25_f32.to_le_bytes()].concat();
        assert_eq!(tail(&events[2]), [&[16, 7, 42, 19][..], &value].concat());
    }
}

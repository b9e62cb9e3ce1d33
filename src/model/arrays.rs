//! Plain named arrays in safetensors files: inputs and outputs of a forward pass, and the container of weight files.
//!
//! Format: <https://github.com/huggingface/safetensors>. Reading goes through the `safetensors` crate. Writing is done
//! here, because that crate orders the metadata at random and sorts the tensors: equal content must give equal bytes,
//! and the file keeps the order it was given.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::atomic_file::write_atomically;
use crate::error::{Error, Result};

/// The largest file that is read. Ten times the largest model anyone has made of this kind.
const LARGEST_FILE: u64 = 8 << 30;

/// An array with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedArray {
    /// The name, unique in its file.
    pub name: String,
    /// The shape, outermost axis first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values, last axis fastest.
    pub data: Vec<f32>,
}

/// Reads every array of a safetensors file as f32, sorted by place in the file.
///
/// Takes float64, float32, float16 and bfloat16; float64 is rounded to float32.
///
/// # Errors
/// The file cannot be read, is not safetensors, or has an array of another type.
pub fn read_arrays(path: impl AsRef<Path>) -> Result<Vec<NamedArray>> {
    Ok(read_container(path.as_ref())?.arrays)
}

/// Writes arrays as float32 safetensors, in the order given.
///
/// # Errors
/// A shape does not match its data, a name repeats, or the file cannot be written.
pub fn write_arrays(path: impl AsRef<Path>, arrays: &[NamedArray]) -> Result<()> {
    let views: Vec<_> = arrays.iter().map(|a| (a.name.as_str(), a.shape.as_slice(), a.data.as_slice())).collect();
    write_container(path.as_ref(), &BTreeMap::new(), &views)
}

/// What a safetensors file holds.
pub(crate) struct Container {
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) arrays: Vec<NamedArray>,
}

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
    let mut bytes = Vec::new();
    // One byte over the limit is enough to know, also for pipes and files that grow.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
    if u64::try_from(bytes.len()).is_ok_and(|n| n <= limit) {
        return Ok(bytes);
    }
    Err(Error::bad_file(path, format!("more than {limit} bytes"), "a smaller file", "give the right file"))
}

/// Reads a safetensors file.
pub(crate) fn read_container(path: &Path) -> Result<Container> {
    container_from_bytes(path, &read_file(path, LARGEST_FILE)?)
}

/// Reads the content of a safetensors file. `path` serves for messages only.
pub(crate) fn container_from_bytes(path: &Path, bytes: &[u8]) -> Result<Container> {
    let not_safetensors = |reason: String| {
        Error::bad_file(
            path,
            format!("{} ({reason})", describe(bytes)),
            "a whole safetensors file",
            match bytes {
                [0x89, b'H', b'D', b'F', ..] => "import Keras weights with `glavitu import keras` first",
                [0x80, 2..=5, ..] => "import a pickled calibrator with `glavitu import calibration` first",
                _ => "give a .safetensors file, or copy it again if it was cut short",
            },
        )
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| not_safetensors(e.to_string()))?;
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| not_safetensors(e.to_string()))?;

    let mut names = header.offset_keys();
    let mut arrays = Vec::with_capacity(names.len());
    for name in names.drain(..) {
        let view = tensors.tensor(&name).map_err(|e| not_safetensors(e.to_string()))?;
        let data = match view.dtype() {
            Dtype::F32 => convert(path, view.data(), f32::from_le_bytes)?,
            Dtype::F64 => convert(path, view.data(), |b| round(f64::from_le_bytes(b)))?,
            Dtype::F16 => convert(path, view.data(), |b| half::f16::from_le_bytes(b).to_f32())?,
            Dtype::BF16 => convert(path, view.data(), |b| half::bf16::from_le_bytes(b).to_f32())?,
            other => {
                return Err(Error::bad_file(
                    path,
                    format!("array '{name}' of type {other}"),
                    "float32, float64, float16 or bfloat16",
                    "store it as float32",
                ));
            }
        };
        arrays.push(NamedArray { name, shape: view.shape().to_vec(), data });
    }
    Ok(Container { metadata, arrays })
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to float32 is what is asked for")]
fn round(value: f64) -> f32 {
    value as f32
}

/// Decodes the values of an array. Files may be larger than what memory is left, so this can fail.
fn convert<const N: usize>(path: &Path, bytes: &[u8], decode: impl Fn([u8; N]) -> f32) -> Result<Vec<f32>> {
    let chunks = bytes.as_chunks::<N>().0;
    let mut values = Vec::new();
    values.try_reserve_exact(chunks.len()).map_err(|e| Error::io("read", path, e.into()))?;
    values.extend(chunks.iter().map(|chunk| decode(*chunk)));
    Ok(values)
}

/// Names a file's kind by its first bytes, for messages.
pub(crate) fn describe(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "an empty file",
        [0x89, b'H', b'D', b'F', ..] => "an HDF5 file",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive (the newer .keras format is one)",
        [0x80, 2..=5, ..] => "a Python pickle",
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => "a TIFF image",
        [_, _, _, _, _, _, _, 0, b'{', ..] => "a safetensors file",
        [b'{', ..] => "a JSON text",
        _ if bytes.iter().take(512).all(|b| matches!(b, 9 | 10 | 13 | 32..=126)) => "a text file",
        _ => "data of an unknown kind",
    }
}

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    /// As they are.
    Float32,
    /// Rounded to half precision.
    Float16,
}

impl Precision {
    /// The name in safetensors files, and the bytes of a value.
    fn layout(self) -> (&'static str, usize) {
        match self {
            Self::Float32 => ("F32", 4),
            Self::Float16 => ("F16", 2),
        }
    }
}

/// Writes a float32 safetensors file, metadata sorted by key and arrays in the order given.
pub(crate) fn write_container(
    path: &Path,
    metadata: &BTreeMap<String, String>,
    arrays: &[(&str, &[usize], &[f32])],
) -> Result<()> {
    write_container_as(Precision::Float32, path, metadata, arrays)
}

/// [`write_container`] with values of a precision.
pub(crate) fn write_container_as(
    precision: Precision,
    path: &Path,
    metadata: &BTreeMap<String, String>,
    arrays: &[(&str, &[usize], &[f32])],
) -> Result<()> {
    let header = header(precision, metadata, arrays)?;
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty() && !f.is_dir()) {
        return Err(Error::bad_file(
            path,
            format!("no folder {}", folder.display()),
            "an existing folder",
            "make it first",
        ));
    }
    write_atomically(path, |temporary| {
        let write = || -> std::io::Result<()> {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(temporary)?);
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(header.as_bytes())?;
            for value in arrays.iter().flat_map(|(_, _, data)| data.iter()) {
                match precision {
                    Precision::Float32 => out.write_all(&value.to_le_bytes())?,
                    Precision::Float16 => out.write_all(&half::f16::from_f32(*value).to_le_bytes())?,
                }
            }
            out.flush()
        };
        write().map_err(|e| Error::io("write", path, e))
    })
}

/// The JSON header, padded so that the data start at a multiple of 8 bytes.
fn header(
    precision: Precision,
    metadata: &BTreeMap<String, String>,
    arrays: &[(&str, &[usize], &[f32])],
) -> Result<String> {
    let (dtype, width) = precision.layout();
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let mut entries = Vec::with_capacity(arrays.len() + 1);
    if !metadata.is_empty() {
        let pairs: Vec<_> = metadata.iter().map(|(k, v)| format!("{}:{}", quote(k), quote(v))).collect();
        entries.push(format!("\"__metadata__\":{{{}}}", pairs.join(",")));
    }
    let mut offset = 0_usize;
    let mut names = std::collections::BTreeSet::new();
    for (name, shape, data) in arrays {
        if shape.iter().product::<usize>() != data.len() || !names.insert(name) || *name == "__metadata__" {
            return Err(Error::bad_argument(
                format!("array '{name}' of shape {shape:?} with {} values", data.len()),
                "as many values as the shape says, and every name once",
                "correct the array",
            ));
        }
        let end = offset + width * data.len();
        let mut entry = quote(name);
        // Writing to a string cannot fail.
        let _ = write!(entry, ":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{offset},{end}]}}");
        entries.push(entry);
        offset = end;
    }
    let mut text = format!("{{{}}}", entries.join(","));
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_round_trip_in_order() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.safetensors");
        let arrays = [
            NamedArray { name: "z \"quoted\"".into(), shape: vec![2, 1], data: vec![1.5, -0.0] },
            NamedArray { name: "a".into(), shape: vec![], data: vec![f32::MIN_POSITIVE] },
        ];
        write_arrays(&path, &arrays).expect("writes");
        assert_eq!(read_arrays(&path).expect("reads"), arrays);
        assert!(write_arrays(&path, &[arrays[0].clone(), arrays[0].clone()]).is_err());
        let message =
            write_arrays(folder.path().join("none/a.safetensors"), &arrays).expect_err("no folder").to_string();
        assert!(message.contains("no folder"), "{message}");
    }

    #[test]
    fn other_float_types_are_converted() {
        let header = r#"{"h":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[2,4]},"d":{"dtype":"F64","shape":[1],"data_offsets":[4,12]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(half::f16::from_f32(0.5).to_le_bytes());
        bytes.extend(half::bf16::from_f32(-2.0).to_le_bytes());
        bytes.extend(0.1_f64.to_le_bytes());
        let arrays = container_from_bytes(Path::new("x"), &bytes).map(|c| c.arrays).expect("reads");
        let values: Vec<_> = arrays.iter().map(|a| a.data[0]).collect();
        assert_eq!(values, [0.5, -2.0, 0.1]);
    }

    #[test]
    fn other_files_are_named() {
        for (bytes, kind) in [(&b""[..], "empty"), (b"hello there", "text file"), (b"\x89HDF\r\n\x1a\n", "HDF5")] {
            let message =
                container_from_bytes(Path::new("w.bin"), bytes).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(message.starts_with("w.bin: found ") && message.contains(kind), "{message}");
        }
    }
}

//! Shapefiles out (ESRI White Paper, July 1998): `.shp` and `.shx` with the polygons, `.dbf` (dBASE III) with the attributes, `.prj` with the CRS in
//! ESRI's spelling, `.cpg` with the encoding.

use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::SpooledTempFile;

use super::shapefile::FILE_CODE;
use super::writer::Layer;
use crate::atomic_file::{GrowingFile, StagedFiles};
use crate::error::{Error, Result};
use crate::raster::geopackage::{Column, ColumnType, Value, envelope};
use crate::raster::polygons::Polygon;

const POLYGON: u32 = 5;
/// Offsets are counted in pairs of bytes by signed 32-bit numbers, but many programs count bytes.
const LARGEST_BYTES: u64 = (1 << 31) - 1;
/// Longest text of a dBASE field.
const LONGEST_TEXT: usize = 254;
/// Digits of integers that other programs still read as integers.
const INTEGER_WIDTH: usize = 18;
/// Enough for every double.
const REAL_WIDTH: usize = 24;
/// Files of an earlier Shapefile that are no part of this one: spatial and attribute indices, metadata.
const OUTDATED: [&str; 6] = ["qix", "sbn", "sbx", "idm", "ind", "shp.xml"];

/// A Shapefile being written.
#[derive(Debug)]
pub(super) struct ShapefileWriter {
    target: PathBuf,
    shapes: BufWriter<GrowingFile>,
    index: BufWriter<GrowingFile>,
    /// Rows of texts, each behind its length, until the widths of the columns are known.
    rows: BufWriter<SpooledTempFile>,
    columns: Vec<Column>,
    widths: Vec<usize>,
    prj: Option<String>,
    count: u32,
    bytes: u64,
    extent: Option<[f64; 4]>,
    has_cut_text: bool,
}

impl ShapefileWriter {
    pub(super) fn create(target: &Path, layer: &Layer<'_>) -> Result<Self> {
        if layer.columns.len() > 255 {
            let found = format!("{} attributes", layer.columns.len());
            return Err(Error::bad_file(
                target,
                found,
                "at most 255 in a Shapefile",
                "choose a name that ends in .gpkg",
            ));
        }
        let grow = |extension: &str| -> Result<BufWriter<GrowingFile>> {
            let mut file = BufWriter::with_capacity(1 << 16, GrowingFile::create(target.with_extension(extension))?);
            file.write_all(&[0; 100]).map_err(|e| Error::io("write", target, e))?;
            Ok(file)
        };
        Ok(Self {
            target: target.to_path_buf(),
            shapes: grow(target.extension().and_then(|e| e.to_str()).unwrap_or("shp"))?,
            index: grow("shx")?,
            rows: BufWriter::new(SpooledTempFile::new(1 << 24)),
            columns: layer.columns.to_vec(),
            widths: vec![1; layer.columns.len()],
            prj: layer.crs.and_then(crate::raster::Crs::esri_wkt),
            count: 0,
            bytes: 100,
            extent: None,
            has_cut_text: false,
        })
    }

    pub(super) fn add(&mut self, polygons: &[Polygon<f64>], values: &[Value]) -> Result<()> {
        let record = self.record(polygons)?;
        let offset = self.bytes;
        self.bytes += 8 + record.len() as u64;
        let rows = u64::from(self.count + 1) * (1 + self.widths.iter().map(|w| *w as u64).sum::<u64>());
        if self.bytes > LARGEST_BYTES || rows > LARGEST_BYTES || self.count == u32::MAX {
            return Err(self.too_large());
        }
        self.count += 1;
        let content = words(record.len() as u64)?;
        let fail = |e| Error::io("write", &self.target, e);
        self.shapes.write_all(&self.count.to_be_bytes()).map_err(fail)?;
        self.shapes.write_all(&content).map_err(fail)?;
        self.shapes.write_all(&record).map_err(fail)?;
        self.index.write_all(&words(offset)?).map_err(fail)?;
        self.index.write_all(&content).map_err(fail)?;
        for (column, value) in values.iter().enumerate() {
            let mut text = self.field(value)?;
            if text.len() > LONGEST_TEXT {
                text.truncate(text.floor_char_boundary(LONGEST_TEXT));
                self.has_cut_text = true;
            }
            self.widths[column] = self.widths[column].max(text.len());
            let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
            let fail = |e| Error::io("write", &self.target, e);
            self.rows.write_all(&[length]).and_then(|()| self.rows.write_all(text.as_bytes())).map_err(fail)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self, staged: &mut StagedFiles) -> Result<()> {
        if self.has_cut_text {
            tracing::warn!("{}: texts longer than {LONGEST_TEXT} bytes were cut", self.target.display());
        }
        self.stage_attributes(staged)?;
        let index_bytes = 100 + 8 * u64::from(self.count);
        let headers = [header(self.bytes, self.extent)?, header(index_bytes, self.extent)?];
        let target = self.target;
        let fail = |e| Error::io("write", &target, e);
        for (file, header) in [self.shapes, self.index].into_iter().zip(headers) {
            let mut file = file.into_inner().map_err(|e| fail(e.into_error()))?;
            file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header)).map_err(fail)?;
            staged.add(file)?;
        }
        staged.stage_bytes(target.with_extension("cpg"), b"UTF-8")?;
        match self.prj {
            Some(text) => staged.stage_bytes(target.with_extension("prj"), text.as_bytes())?,
            None => staged.remove(target.with_extension("prj")),
        }
        for extension in OUTDATED {
            staged.remove(target.with_extension(extension));
        }
        Ok(())
    }

    /// The content of a record: the type, the bounding box, where rings begin, the vertices. Exteriors run clockwise here.
    fn record(&mut self, polygons: &[Polygon<f64>]) -> Result<Vec<u8>> {
        if polygons.is_empty() {
            return Ok(0_u32.to_le_bytes().to_vec());
        }
        let [x0, x1, y0, y1] = envelope(polygons)?;
        let [a0, a1, b0, b1] = self.extent.unwrap_or([x0, x1, y0, y1]);
        self.extent = Some([a0.min(x0), a1.max(x1), b0.min(y0), b1.max(y1)]);
        let rings = || polygons.iter().flat_map(Polygon::rings);
        let vertices: usize = rings().map(Vec::len).sum();
        let count = |n: usize| u32::try_from(n).map(u32::to_le_bytes).map_err(|_| self.too_large());
        let mut record = Vec::with_capacity(44 + 4 * rings().count() + 16 * vertices);
        record.extend(POLYGON.to_le_bytes());
        record.extend([x0, y0, x1, y1].iter().flat_map(|value| value.to_le_bytes()));
        record.extend(count(rings().count())?);
        record.extend(count(vertices)?);
        let mut start = 0;
        for ring in rings() {
            record.extend(count(start)?);
            start += ring.len();
        }
        for (x, y) in rings().flat_map(|ring| ring.iter().rev()) {
            record.extend(x.to_le_bytes());
            record.extend(y.to_le_bytes());
        }
        Ok(record)
    }

    /// A value as dBASE holds it; empty for none.
    fn field(&self, value: &Value) -> Result<String> {
        match value {
            Value::Null => Ok(String::new()),
            // A zero byte would end the text for other readers.
            Value::Text(text) => Ok(text.replace('\0', "")),
            Value::Integer(value) => {
                let text = value.to_string();
                if text.len() > INTEGER_WIDTH {
                    let expected = format!("integers of at most {INTEGER_WIDTH} characters in a Shapefile");
                    return Err(Error::bad_file(&self.target, text, expected, "choose a name that ends in .gpkg"));
                }
                Ok(text)
            }
            Value::Real(value) if !value.is_finite() => Ok(String::new()),
            Value::Real(value) => {
                let plain = value.to_string();
                Ok(if plain.len() <= REAL_WIDTH { plain } else { format!("{value:e}") })
            }
        }
    }

    fn too_large(&self) -> Error {
        let remedy = "choose a name that ends in .gpkg or .fgb";
        Error::bad_file(&self.target, "more than 2 GiB of polygons", "at most 2 GiB in a Shapefile", remedy)
    }

    /// Writes the `.dbf`, now that the widths are known.
    fn stage_attributes(&mut self, staged: &mut StagedFiles) -> Result<()> {
        // The format has no table without columns.
        let has_own = !self.columns.is_empty();
        let fields: Vec<(String, u8, usize, u8)> = if has_own {
            let names = field_names(&self.columns);
            let with_kind = self.columns.iter().zip(names).zip(&self.widths);
            with_kind
                .map(|((column, name), width)| match column.kind {
                    ColumnType::Text => (name, b'C', *width, 0),
                    ColumnType::Integer => (name, b'N', INTEGER_WIDTH, 0),
                    ColumnType::Real => (name, b'N', REAL_WIDTH, 15),
                })
                .collect()
        } else {
            vec![("FID".into(), b'N', 10, 0)]
        };
        let record = 1 + fields.iter().map(|field| field.2).sum::<usize>();
        let (Ok(header_bytes), Ok(record_bytes)) = (u16::try_from(33 + 32 * fields.len()), u16::try_from(record))
        else {
            let found = format!("attributes of {record} bytes");
            let remedy = "choose a name that ends in .gpkg";
            return Err(Error::bad_file(&self.target, found, "at most 65535 bytes in a Shapefile", remedy));
        };
        if u64::from(self.count) * u64::from(record_bytes) > LARGEST_BYTES {
            return Err(self.too_large());
        }
        let mut head = vec![3, 126, 1, 1]; // dBASE III; a date that is the same in every run: 1 January 2026
        head.extend(self.count.to_le_bytes());
        head.extend(header_bytes.to_le_bytes());
        head.extend(record_bytes.to_le_bytes());
        head.resize(32, 0);
        for (name, kind, width, decimals) in &fields {
            let mut field = name.as_bytes().to_vec();
            field.resize(11, 0);
            field.extend([*kind, 0, 0, 0, 0, u8::try_from(*width).unwrap_or(u8::MAX), *decimals]);
            field.resize(32, 0);
            head.extend(field);
        }
        head.push(0x0d);
        let fail = |e| Error::io("write", &self.target, e);
        let mut table = BufWriter::new(GrowingFile::create(self.target.with_extension("dbf"))?);
        table.write_all(&head).map_err(fail)?;
        self.rows.flush().map_err(fail)?;
        self.rows.get_mut().seek(SeekFrom::Start(0)).map_err(fail)?;
        let mut rows = BufReader::new(self.rows.get_mut());
        for number in 0..self.count {
            let mut line = vec![b' '];
            if has_own {
                for (_, kind, width, _) in &fields {
                    let mut length = [0];
                    rows.read_exact(&mut length).map_err(fail)?;
                    let mut text = vec![0; usize::from(length[0])];
                    rows.read_exact(&mut text).map_err(fail)?;
                    let blanks = width.saturating_sub(text.len());
                    // Texts begin on the left, numbers end on the right.
                    let (before, after) = if *kind == b'C' { (0, blanks) } else { (blanks, 0) };
                    line.extend(std::iter::repeat_n(b' ', before));
                    line.extend(text);
                    line.extend(std::iter::repeat_n(b' ', after));
                }
            } else {
                line.extend(format!("{number:10}").bytes());
            }
            table.write_all(&line).map_err(fail)?;
        }
        table.write_all(&[0x1a]).map_err(fail)?;
        staged.add(table.into_inner().map_err(|e| fail(e.into_error()))?)
    }
}

/// The 100 bytes at the beginning of `.shp` and `.shx`.
fn header(bytes: u64, extent: Option<[f64; 4]>) -> Result<Vec<u8>> {
    let [x0, x1, y0, y1] = extent.unwrap_or([0.0; 4]);
    let mut header = FILE_CODE.to_be_bytes().to_vec();
    header.resize(24, 0);
    header.extend(words(bytes)?);
    header.extend(1000_u32.to_le_bytes());
    header.extend(POLYGON.to_le_bytes());
    header.extend([x0, y0, x1, y1, 0.0, 0.0, 0.0, 0.0].iter().flat_map(|value: &f64| value.to_le_bytes()));
    Ok(header)
}

/// A length or an offset in units of two bytes, big-endian.
fn words(bytes: u64) -> Result<[u8; 4]> {
    let words = u32::try_from(bytes / 2).map(u32::to_be_bytes);
    words.map_err(|_| Error::bad_argument(format!("{bytes} bytes"), "at most 2 GiB", "choose a GeoPackage"))
}

/// Names of at most ten characters, each once, whatever their case.
fn field_names(columns: &[Column]) -> Vec<String> {
    let mut taken: Vec<String> = Vec::with_capacity(columns.len());
    for column in columns {
        let mut name: String = column.name.chars().take(10).collect();
        let mut number = 1;
        while taken.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
            number += 1;
            let end = format!("_{number}");
            name = column.name.chars().take(10 - end.len()).collect::<String>() + &end;
        }
        taken.push(name);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names() {
        let columns = ["mean_confidence", "mean_confidence_of_rim", "MEAN_CONFI", "id"];
        let columns = columns.map(|name| Column::new(name, ColumnType::Real));
        assert_eq!(field_names(&columns), ["mean_confi", "mean_con_2", "MEAN_CON_3", "id"]);
    }
}

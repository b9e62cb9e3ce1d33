//! Attributes of a Shapefile: dBASE III tables (`.dbf`) and the encoding beside them (`.cpg`).

use std::io::ErrorKind;
use std::path::Path;

use super::damaged;
use crate::error::{Error, Result};
use crate::raster::geopackage::{Column, ColumnType, Value};

/// The attributes beside a Shapefile.
#[derive(Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    pub(super) columns: Vec<Column>,
    first: usize,
    length: usize,
    count: usize,
    is_utf8: Option<bool>,
}

#[derive(Debug)]
struct Field {
    kind: u8,
    start: usize,
    width: usize,
}

impl Table {
    /// The table beside a `.shp`; `None` if there is none.
    pub(super) fn beside(shapefile: &Path) -> Result<Option<Self>> {
        let Some((path, bytes)) = read_beside(shapefile, ["dbf", "DBF"])? else { return Ok(None) };
        let encoding = read_beside(shapefile, ["cpg", "CPG"])?.and_then(|(_, text)| {
            let text = String::from_utf8_lossy(&text).trim().to_ascii_uppercase().replace(['-', '_', ' '], "");
            match text.as_str() {
                "UTF8" | "65001" => Some(true),
                "ISO88591" | "88591" | "LATIN1" | "1252" | "ANSI1252" | "CP1252" | "WINDOWS1252" => Some(false),
                _ => None,
            }
        });
        Self::parse(&path, bytes, encoding).map(Some)
    }

    /// Header: version, date, number of rows, bytes of the header and of a row, language; then 32 bytes for each field.
    fn parse(path: &Path, bytes: Vec<u8>, is_utf8: Option<bool>) -> Result<Self> {
        let bad = |found: String| damaged(path, found);
        let short = |at: usize| bytes.get(at..)?.first_chunk().map(|b| usize::from(u16::from_le_bytes(*b)));
        let truncated = || bad(format!("a table of {} bytes, fewer than it says it has", bytes.len()));
        let count = bytes.get(4..).and_then(|rest| rest.first_chunk()).map(|b| u32::from_le_bytes(*b) as usize);
        let (Some(count), Some(first), Some(length)) = (count, short(8), short(10)) else { return Err(truncated()) };
        let head = bytes.get(32..first).ok_or_else(truncated)?;
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        let mut start = 1;
        for field in head.as_chunks::<32>().0.iter().take_while(|field| field[0] != 0x0d) {
            let name = field[..11].split(|byte| *byte == 0).next().unwrap_or_default();
            let (kind, width, decimals) = (field[11].to_ascii_uppercase(), usize::from(field[16]), field[17]);
            let column = match kind {
                b'N' | b'F' if decimals == 0 && width < 19 => ColumnType::Integer,
                b'N' | b'F' => ColumnType::Real,
                b'L' => ColumnType::Integer,
                _ => ColumnType::Text,
            };
            columns.push(Column::new(decoded(name, is_utf8).trim().to_owned(), column));
            fields.push(Field { kind, start, width });
            start += width;
        }
        if start > length.max(1) || count.checked_mul(length).is_none_or(|rows| rows > bytes.len() - first) {
            return Err(truncated());
        }
        // Without rows that long, every row would be the same byte.
        let count = if length == 0 { 0 } else { count };
        Ok(Self { bytes, fields, columns, first, length, count, is_utf8 })
    }

    /// Number of rows.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The values of a row; `None` for one that is marked as deleted or does not exist.
    pub(super) fn row(&self, number: usize) -> Option<Vec<Value>> {
        let start = self.first + number.checked_mul(self.length)?;
        let row = self.bytes.get(start..start + self.length).filter(|_| number < self.count)?;
        if row.first() == Some(&b'*') {
            return None;
        }
        let values = self.fields.iter().zip(&self.columns).map(|(field, column)| {
            let bytes = row.get(field.start..field.start + field.width).unwrap_or_default();
            // Some programs end a text with a zero byte.
            let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii_end();
            let text = decoded(bytes, self.is_utf8);
            let trimmed = text.trim();
            match (field.kind, column.kind) {
                _ if trimmed.is_empty() => Value::Null,
                (b'L', _) => match trimmed {
                    "T" | "t" | "Y" | "y" => Value::Integer(1),
                    "F" | "f" | "N" | "n" => Value::Integer(0),
                    _ => Value::Null,
                },
                (b'D', _) if trimmed.len() == 8 && trimmed.bytes().all(|b| b.is_ascii_digit()) => {
                    if trimmed == "00000000" {
                        Value::Null
                    } else {
                        Value::Text(format!("{}-{}-{}", &trimmed[..4], &trimmed[4..6], &trimmed[6..]))
                    }
                }
                (_, ColumnType::Integer) => {
                    let whole = trimmed.parse().map(Value::Integer);
                    whole.unwrap_or_else(|_| super::features::fitted(number_of(trimmed), ColumnType::Integer))
                }
                (_, ColumnType::Real) => number_of(trimmed),
                (_, ColumnType::Text) => Value::Text(text.into_owned()),
            }
        });
        Some(values.collect())
    }
}

/// A number; what is none, such as the stars of one that was too wide, is no value.
fn number_of(text: &str) -> Value {
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map_or(Value::Null, Value::Real)
}

fn read_beside(path: &Path, extensions: [&str; 2]) -> Result<Option<(std::path::PathBuf, Vec<u8>)>> {
    for extension in extensions {
        let file = path.with_extension(extension);
        match std::fs::read(&file) {
            Ok(bytes) => return Ok(Some((file, bytes))),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("read", file, e)),
        }
    }
    Ok(None)
}

/// Text in UTF-8 or Windows-1252. Where a file does not say, it is UTF-8 if it can be.
fn decoded(bytes: &[u8], is_utf8: Option<bool>) -> std::borrow::Cow<'_, str> {
    match (is_utf8, std::str::from_utf8(bytes)) {
        (Some(true) | None, Ok(text)) => text.into(),
        (Some(true), Err(_)) => String::from_utf8_lossy(bytes),
        _ => bytes.iter().map(|byte| windows_1252(*byte)).collect::<String>().into(),
    }
}

/// Latin-1 but for 32 places.
fn windows_1252(byte: u8) -> char {
    const OTHERS: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => OTHERS[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of a text, a number, a date and a truth value; the second row is deleted.
    fn table() -> Vec<u8> {
        let fields: [(&[u8], u8, u8, u8); 5] = [
            (b"NAME", b'C', 6, 0),
            (b"AREA", b'N', 8, 3),
            (b"COUNT", b'N', 5, 0),
            (b"DAY", b'D', 8, 0),
            (b"IS", b'L', 1, 0),
        ];
        let mut bytes = vec![3, 126, 1, 1];
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(193_u16.to_le_bytes());
        bytes.extend(29_u16.to_le_bytes());
        bytes.resize(32, 0);
        for (name, kind, width, decimals) in fields {
            let mut field = name.to_vec();
            field.resize(11, 0);
            field.extend([kind, 0, 0, 0, 0, width, decimals]);
            field.resize(32, 0);
            bytes.extend(field);
        }
        bytes.push(0x0d);
        bytes.extend(b" \xc5ngstr  12.500   4220200816T");
        bytes.extend(b"*gone                        ");
        bytes.extend(b"       ********              ");
        bytes
    }

    #[test]
    fn rows() {
        let path = Path::new("a.dbf");
        let found = Table::parse(path, table(), None).expect("whole");
        let kinds: Vec<_> = found.columns.iter().map(|column| (column.name.as_str(), column.kind)).collect();
        use ColumnType::{Integer, Real, Text};
        assert_eq!(kinds, [("NAME", Text), ("AREA", Real), ("COUNT", Integer), ("DAY", Text), ("IS", Integer)]);
        let expected = [
            Value::Text("Ångstr".into()),
            Value::Real(12.5),
            Value::Integer(42),
            Value::Text("2020-08-16".into()),
            Value::Integer(1),
        ];
        assert_eq!(found.row(0).as_deref(), Some(&expected[..]));
        assert_eq!((found.row(1), found.row(3)), (None, None));
        assert_eq!(found.row(2), Some(vec![Value::Null; 5]));
    }

    #[test]
    fn damage_is_refused() {
        let path = Path::new("a.dbf");
        let whole = table();
        for cut in 0..whole.len() {
            assert!(Table::parse(path, whole[..cut].to_vec(), None).is_err(), "cut at {cut}");
        }
        for at in 0..193 {
            for value in [0, 0x7f, 0xff] {
                let mut bad = whole.clone();
                bad[at] = value;
                if let Ok(table) = Table::parse(path, bad, Some(true)) {
                    (0..table.count().min(10)).for_each(|row| drop(table.row(row)));
                }
            }
        }
    }
}

//! Tables of attributes as text: comma-separated values (RFC 4180) with a line of names.

use crate::raster::shapes::{Column, Value};

/// The table as text. Missing values and numbers that are none are empty.
#[must_use]
pub fn csv(columns: &[Column], rows: &[Vec<Value>]) -> String {
    let field = |value: &Value| match value {
        Value::Integer(value) => value.to_string(),
        Value::Real(value) if value.is_finite() => value.to_string(),
        Value::Null | Value::Real(_) => String::new(),
        Value::Text(value) => value.clone(),
    };
    let names = columns.iter().map(|column| column.name.clone()).collect();
    csv_of(std::iter::once(names).chain(rows.iter().map(|row| row.iter().map(field).collect())))
}

/// Records as text.
pub(crate) fn csv_of(records: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    // Memory takes all that is written, and records may be of any length.
    let written = records.into_iter().try_for_each(|record| writer.write_record(record));
    debug_assert!(written.is_ok(), "{written:?}");
    writer.into_inner().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// A number with decimals; what rounds to zero has no sign.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b'.')) => rest.to_owned(),
        _ => text,
    }
}

/// The same with a plus sign where it is above zero.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    let is_above = value > 0.0 && text.bytes().any(|byte| matches!(byte, b'1'..=b'9' | b'i'));
    if is_above { format!("+{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_have_no_sign() {
        let found = [-0.004, -0.0, 0.004, 0.006, -0.006, -12.0].map(|value| (fixed(value, 2), signed(value, 2)));
        let expected = [
            ("0.00", "0.00"),
            ("0.00", "0.00"),
            ("0.00", "0.00"),
            ("0.01", "+0.01"),
            ("-0.01", "-0.01"),
            ("-12.00", "-12.00"),
        ];
        assert_eq!(found, expected.map(|(fixed, signed)| (fixed.to_owned(), signed.to_owned())));
        assert_eq!((signed(f64::INFINITY, 1), fixed(-0.4, 0)), ("+inf".into(), "0".into()));
    }
    use crate::raster::shapes::ColumnType;

    #[test]
    fn quotes_where_needed() {
        let columns = [Column::new("id", ColumnType::Text), Column::new("area_km2", ColumnType::Real)];
        let rows = [vec![Value::Text("a \"b\", c".into()), Value::Real(0.5)], vec![Value::Null, Value::Real(f64::NAN)]];
        assert_eq!(csv(&columns, &rows), "id,area_km2\n\"a \"\"b\"\", c\",0.5\n,\n");
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::shapes::ColumnType;

    #[test]
    fn quotes_where_needed() {
        let columns = [Column::new("id", ColumnType::Text), Column::new("area_km2", ColumnType::Real)];
        let rows = [vec![Value::Text("a \"b\", c".into()), Value::Real(0.5)], vec![Value::Null, Value::Real(f64::NAN)]];
        assert_eq!(csv(&columns, &rows), "id,area_km2\n\"a \"\"b\"\", c\",0.5\n,\n");
    }
}

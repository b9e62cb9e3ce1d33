//! Tables of attributes as text: comma-separated values (RFC 4180) with a line of names.

use crate::raster::shapes::{Column, Value};

/// The table as text. Missing values and numbers that are none are empty.
#[must_use]
pub fn csv(columns: &[Column], rows: &[Vec<Value>]) -> String {
    let mut text = columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(",");
    text.push('\n');
    for row in rows {
        let fields: Vec<String> = row
            .iter()
            .map(|value| match value {
                Value::Null => String::new(),
                Value::Integer(value) => value.to_string(),
                Value::Real(value) if value.is_finite() => value.to_string(),
                Value::Real(_) => String::new(),
                Value::Text(value) => quoted(value),
            })
            .collect();
        text += &fields.join(",");
        text.push('\n');
    }
    text
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
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

//! Tables: sorted by a click on a heading or the space bar, searched where they are long.

use std::fmt::Write as _;

use crate::evaluate::table::fixed;
use crate::raster::geopackage::{self, ColumnType, Value};
use crate::svg::escape;

/// Longer tables get a field to search them.
const SEARCHED_FROM: usize = 12;

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    caption: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    total: Option<Vec<Cell>>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    name: String,
    /// Decimals of a column of numbers.
    decimals: Option<usize>,
}

/// A field.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number.
    Number(f64),
    /// Nothing is known.
    Empty,
}

impl Column {
    /// A column of words.
    #[must_use]
    pub fn text(name: impl Into<String>) -> Self {
        Self { name: name.into(), decimals: None }
    }

    /// A column of numbers, shown with so many decimals.
    #[must_use]
    pub fn number(name: impl Into<String>, decimals: usize) -> Self {
        Self { name: name.into(), decimals: Some(decimals) }
    }
}

impl Cell {
    /// Words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A number; what is not finite counts as not known.
    #[must_use]
    pub fn number(value: f64) -> Self {
        if value.is_finite() { Self::Number(value) } else { Self::Empty }
    }

    /// A value of a file of polygons.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::text(text),
            Value::Real(value) => Self::number(*value),
            Value::Integer(value) => Self::number(*value as f64),
            Value::Null => Self::Empty,
        }
    }

    /// A number that may be missing.
    #[must_use]
    pub fn maybe(value: Option<f64>) -> Self {
        value.map_or(Self::Empty, Self::number)
    }
}

impl Table {
    /// A table; rows have as many cells as there are columns.
    #[must_use]
    pub fn new(caption: impl Into<String>, columns: Vec<Column>, rows: Vec<Vec<Cell>>) -> Self {
        Self { caption: caption.into(), columns, rows, total: None }
    }

    /// The rows of a file of polygons, columns with their units.
    #[must_use]
    pub fn of_values<'a>(
        caption: impl Into<String>,
        columns: &[geopackage::Column],
        rows: impl Iterator<Item = &'a [Value]>,
    ) -> Self {
        let column = |column: &geopackage::Column| match (column.kind, column.name.as_str()) {
            (ColumnType::Text, name) => Column::text(label(name)),
            (ColumnType::Integer, name) => Column::number(label(name), 0),
            (ColumnType::Real, name) if name.contains("percent") => Column::number(label(name), 1),
            (ColumnType::Real, name) => Column::number(label(name), 3),
        };
        let rows = rows.map(|row| row.iter().map(Cell::of).collect()).collect();
        Self::new(caption, columns.iter().map(column).collect(), rows)
    }

    /// The same without the columns in which nothing is known.
    #[must_use]
    pub fn without_empty_columns(mut self) -> Self {
        let is_known = |column: usize| {
            let rows = self.rows.iter().chain(&self.total);
            rows.filter_map(|row| row.get(column)).any(|cell| *cell != Cell::Empty)
        };
        let kept: Vec<bool> = (0..self.columns.len()).map(is_known).collect();
        keep(&mut self.columns, &kept);
        self.rows.iter_mut().chain(&mut self.total).for_each(|row| keep(row, &kept));
        self
    }

    /// The same with a last row that stays last.
    #[must_use]
    pub fn with_total(mut self, total: Vec<Cell>) -> Self {
        self.total = Some(total);
        self
    }

    /// The table's HTML. `id` tells it from others.
    #[must_use]
    pub fn html(&self, id: &str) -> String {
        let mut html = String::from("<div class=\"sortable\">");
        // Writing to a string cannot fail.
        if self.rows.len() >= SEARCHED_FROM {
            let _ = write!(
                html,
                "<div class=\"find\"><label for=\"find-{id}\">Search</label><input type=\"search\" id=\"find-{id}\">\
                 <output>{} rows</output></div>",
                self.rows.len()
            );
        }
        let _ = write!(
            html,
            "<div class=\"scroller\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption>\n<thead><tr>",
            escape(&self.caption)
        );
        for column in &self.columns {
            let class = if column.decimals.is_some() { " class=\"number\"" } else { "" };
            let _ = write!(
                html,
                "<th scope=\"col\"{class} aria-sort=\"none\"><button type=\"button\">{}</button></th>",
                escape(&column.name)
            );
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        let rows = self.rows.iter().map(|row| (row, "<tr>"));
        for (row, open) in rows.chain(self.total.iter().map(|row| (row, "<tr class=\"total\">"))) {
            html.push_str(open);
            for (column, cell) in self.columns.iter().zip(row) {
                html.push_str(&column.cell(cell));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div></div>");
        html
    }
}

/// Leaves out what is not to be kept.
fn keep<T>(values: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next().copied().unwrap_or(true));
}

/// A column's name in words: `area_km2` is `area (km²)`.
#[must_use]
pub fn label(name: &str) -> String {
    let units = [
        ("_km2_per_year", "km² a year"),
        ("_percent_per_year", "% a year"),
        ("_km2", "km²"),
        ("_km", "km"),
        ("_m2", "m²"),
        ("_m", "m"),
        ("_percent", "%"),
        ("_deg", "°"),
    ];
    match units.iter().find_map(|(end, unit)| Some((name.strip_suffix(end)?, unit))) {
        Some((name, unit)) => format!("{} ({unit})", name.replace('_', " ")),
        None => name.replace('_', " "),
    }
}

impl Column {
    fn cell(&self, cell: &Cell) -> String {
        let (value, shown) = match cell {
            Cell::Text(text) => (escape(text), escape(text)),
            Cell::Number(number) => (number.to_string(), fixed(*number, self.decimals.unwrap_or(3))),
            Cell::Empty => (String::new(), "\u{2013}".to_owned()),
        };
        let class = match (self.decimals, cell) {
            (Some(_), _) => " class=\"number\"",
            (None, Cell::Text(text)) if text.chars().count() > 40 => " class=\"wide\"",
            _ => "",
        };
        format!("<td{class} data-value=\"{value}\">{shown}</td>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_carry_what_they_are_sorted_by() {
        let columns = vec![Column::text("glacier"), Column::number("area (km²)", 2)];
        let row = |name: &str, area: Cell| vec![Cell::text(name), area];
        let rows =
            vec![row("a", Cell::number(1.234_567)), row("b", Cell::maybe(None)), row("c", Cell::number(f64::NAN))];
        let html = Table::new("Areas", columns, rows).with_total(row("total", Cell::number(1.0))).html("t");
        assert!(html.contains("data-value=\"1.234567\">1.23</td>"), "{html}");
        assert_eq!(html.matches("data-value=\"\">\u{2013}</td>").count(), 2);
        assert_eq!(html.matches("<tr class=\"total\">").count(), 1);
        assert!(!html.contains("type=\"search\""));
    }

    #[test]
    fn columns_without_values_can_be_left_out() {
        let columns = vec![Column::text("glacier"), Column::number("low", 1), Column::number("high", 1)];
        let row = |high: Cell| vec![Cell::text("a"), Cell::Empty, high];
        let table =
            Table::new("t", columns, vec![row(Cell::Empty), row(Cell::number(1.0))]).with_total(row(Cell::Empty));
        let html = table.without_empty_columns().html("t");
        assert!(!html.contains("low") && html.contains("high"), "{html}");
        assert_eq!(html.matches("<td").count(), 6);
    }

    #[test]
    fn long_tables_are_searched() {
        let rows = vec![vec![Cell::text("x")]; SEARCHED_FROM];
        assert!(Table::new("Long", vec![Column::text("a")], rows).html("1-2").contains("id=\"find-1-2\""));
    }

    #[test]
    fn names_become_words() {
        for (name, words) in [
            ("area_km2", "area (km²)"),
            ("perimeter_km", "perimeter (km)"),
            ("mean_confidence", "mean confidence"),
            ("change_percent_per_year", "change (% a year)"),
        ] {
            assert_eq!(label(name), words);
        }
    }
}

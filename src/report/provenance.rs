//! How a result was made, in words that people and programs can check.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::svg::escape;

/// The command of this process, as one would type it.
#[must_use]
pub fn command() -> String {
    let quoted = |word: String| {
        let is_plain = |c: char| c.is_alphanumeric() || "-_./,:=+@%".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    let words = std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned()));
    ["glavitu".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// Today's date, UTC, as YYYY-MM-DD.
#[must_use]
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = date_of_day(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a day counted from 1 January 1970 (Gregorian calendar).
fn date_of_day(mut day: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

/// A JSON value as nested lists of names and values.
#[must_use]
pub fn tree(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut html = String::from("<dl class=\"tree\">");
            for (name, value) in members {
                // Writing to a string cannot fail.
                let _ = write!(html, "<dt>{}</dt><dd>{}</dd>", escape(&name.replace('_', " ")), tree(value));
            }
            html + "</dl>"
        }
        Value::Array(values) if values.iter().all(|value| !value.is_object() && !value.is_array()) => {
            values.iter().map(tree).collect::<Vec<_>>().join(", ")
        }
        Value::Array(values) => {
            let items =
                values.iter().enumerate().map(|(n, value)| format!("<dt>{}</dt><dd>{}</dd>", n + 1, tree(value)));
            format!("<dl class=\"tree\">{}</dl>", items.collect::<String>())
        }
        Value::Null => "\u{2013}".to_owned(),
        Value::Bool(value) => if *value { "yes" } else { "no" }.to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => escape(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        for (day, date) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (789, (1972, 2, 29)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_783, (2026, 11, 26)),
        ] {
            assert_eq!(date_of_day(day), date, "{day}");
        }
        assert_eq!(today().len(), 10);
    }

    #[test]
    fn trees_show_everything() {
        let html = tree(&serde_json::json!({ "a_b": [1, 2.5], "c": { "d": null }, "e": [{ "f": true }] }));
        for part in ["<dt>a b</dt><dd>1, 2.5</dd>", "<dt>d</dt><dd>\u{2013}</dd>", "<dt>f</dt><dd>yes</dd>"] {
            assert!(html.contains(part), "{html}");
        }
    }
}

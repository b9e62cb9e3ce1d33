//! A picture of a comparison: for every measure a group of bars, one a machine.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::comparison::{Entrant, Measure};
use crate::atomic_file::write_atomically;
use crate::error::{Error, Result};
use crate::svg::{COLOURS, GREY, document, escape, three_digits, tick_label, tick_step};

const WIDTH: f64 = 860.0;
/// Where bars begin, and the room after the longest for its number.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 80.0;
const TITLE: f64 = 34.0;
/// A line of the list of machines.
const LINE: f64 = 20.0;
/// From one bar to the next, and a bar's height.
const PITCH: f64 = 19.0;
const BAR: f64 = 14.0;
/// Above and below a group's bars: its title; ticks and their numbers.
const ABOVE: f64 = 34.0;
const BELOW: f64 = 26.0;
/// Letters of a label beside a bar; longer ones are cut.
const LABEL: usize = 24;
/// Values further apart than this would leave bars too short to see: their axis is logarithmic.
const LOGARITHMIC_FROM: f64 = 30.0;

/// Writes the chart.
///
/// # Errors
/// The file cannot be written.
pub fn write_chart(path: &Path, entrants: &[Entrant], measures: &[Measure]) -> Result<()> {
    let text = draw(entrants, measures);
    write_atomically(path, |temporary| fs::write(temporary, &text).map_err(|e| Error::io("write", path, e)))
}

fn draw(entrants: &[Entrant], measures: &[Measure]) -> String {
    let mut svg = String::new();
    let mut top = TITLE;
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<text x=\"20\" y=\"{:.1}\" font-size=\"17\" font-weight=\"bold\" fill=\"#111111\">GlaViTU on {}</text>",
        top - 6.0,
        if entrants.len() == 1 { "one device".to_owned() } else { format!("{} devices", entrants.len()) }
    );
    for (number, entrant) in entrants.iter().enumerate() {
        top += LINE;
        let words = format!("{}: {}", entrant.label, entrant.describe());
        let _ = writeln!(
            svg,
            "<rect x=\"20\" y=\"{:.1}\" width=\"11\" height=\"11\" fill=\"{}\"/><text x=\"38\" y=\"{top:.1}\" font-size=\"12\" \
             fill=\"#111111\">{}</text>",
            top - 10.0,
            colour(number),
            escape(&cut(&words, 125))
        );
    }
    for measure in measures {
        top = group(&mut svg, top, entrants, measure);
    }
    document(WIDTH, top + 16.0, &svg)
}

/// Draws a measure's bars below `top`; gives where they end.
fn group(svg: &mut String, top: f64, entrants: &[Entrant], measure: &Measure) -> f64 {
    let axis = Axis::of(measure);
    let better = if measure.more_is_better { "more is better" } else { "less is better" };
    let scale = if axis.logarithmic { ", logarithmic" } else { "" };
    let _ = writeln!(
        svg,
        "<text x=\"20\" y=\"{:.1}\" font-weight=\"bold\" fill=\"#111111\">{}<tspan font-weight=\"normal\" fill=\"{GREY}\"> \
         ({}; {better}{scale})</tspan></text>",
        top + ABOVE - 10.0,
        escape(&measure.title),
        measure.unit
    );
    let first = top + ABOVE;
    let end = first + PITCH * entrants.len() as f64;
    for (at, label) in axis.ticks() {
        let x = axis.x(at);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {first:.1}V{end:.1}\" stroke=\"#dddddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"11\" \
             text-anchor=\"middle\" fill=\"{GREY}\">{label}</text>",
            end + 14.0
        );
    }
    for (number, (entrant, value)) in entrants.iter().zip(&measure.values).enumerate() {
        let y = first + PITCH * number as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\" text-anchor=\"end\" fill=\"#111111\">{}</text>",
            LEFT - 8.0,
            y + 13.5,
            escape(&cut(&entrant.label, LABEL))
        );
        let (x, words) = match value {
            Some(value) => (axis.x(*value), three_digits(*value)),
            None => (LEFT, "not measured".to_owned()),
        };
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{}\"/>",
            y + 2.0,
            x - LEFT,
            colour(number)
        );
        // White under the letters, where they cross a line.
        for paint in ["stroke=\"#ffffff\" stroke-width=\"3\"", "fill=\"#111111\""] {
            let (x, y) = (x + 6.0, y + 13.5);
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"12\" {paint}>{words}</text>");
        }
    }
    let _ = writeln!(svg, "<path d=\"M{LEFT} {first:.1}V{end:.1}\" stroke=\"{GREY}\"/>");
    end + BELOW
}

/// A measure's axis.
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    fn of(measure: &Measure) -> Self {
        let values = || measure.values.iter().flatten().copied().filter(|v| v.is_finite() && *v > 0.0);
        let (least, most) = values().fold((f64::INFINITY, 0.0_f64), |(a, b), v| (a.min(v), b.max(v)));
        if most <= 0.0 {
            return Self { low: 0.0, high: 1.0, logarithmic: false };
        }
        if most / least > LOGARITHMIC_FROM {
            // Half a decade below the least, so that its bar can be seen.
            let low = 10.0_f64.powf((least.log10() - 0.5).floor());
            return Self { low, high: most, logarithmic: true };
        }
        Self { low: 0.0, high: most, logarithmic: false }
    }

    fn x(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            value / self.high
        };
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let mut ticks = Vec::new();
        if self.logarithmic {
            let mut at = self.low;
            while at <= self.high * 1.001 {
                ticks.push((at, tick_label(at, at)));
                at *= 10.0;
            }
        } else {
            let step = tick_step(self.high);
            let mut at = 0.0;
            while at <= self.high * 1.001 {
                ticks.push((at, tick_label(at, step)));
                at += step;
            }
        }
        ticks
    }
}

fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

/// The text, or its beginning with an ellipsis.
fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters - 1).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(values: &[Option<f64>]) -> Measure {
        Measure { title: "Memory <&>".to_owned(), unit: "GB/s", more_is_better: true, values: values.to_vec() }
    }

    #[test]
    fn axes_suit_their_values() {
        let axis = Axis::of(&measure(&[Some(20.0), None, Some(31.0)]));
        assert!(!axis.logarithmic && axis.x(31.0) == WIDTH - RIGHT && axis.x(0.0) == LEFT);
        assert_eq!(axis.ticks().last().map(|t| t.1.clone()), Some("30".to_owned()));
        let axis = Axis::of(&measure(&[Some(9.0), Some(60_000.0)]));
        assert!(axis.logarithmic && axis.x(9.0) > LEFT + 20.0);
        assert_eq!(axis.ticks().iter().map(|t| t.1.as_str()).collect::<Vec<_>>(), ["1", "10", "100", "1000", "10000"]);
        let empty = Axis::of(&measure(&[None, Some(0.0)]));
        assert!(empty.x(0.0).is_finite() && !empty.ticks().is_empty());
    }

    #[test]
    fn long_labels_are_cut() {
        assert_eq!((cut("abc", 3), cut("abcd", 3)), ("abc".to_owned(), "ab\u{2026}".to_owned()));
    }
}

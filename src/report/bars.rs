//! Horizontal bars, in the page's own colours.

use std::fmt::Write as _;

use crate::evaluate::table::fixed;
use crate::svg::{escape, tick_label, tick_step};

const WIDTH: f64 = 720.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 80.0;
const PITCH: f64 = 26.0;
const BAR: f64 = 16.0;
/// Letters of a name beside a bar; longer ones are cut.
const LABEL: usize = 24;

/// A chart of bars that begin at 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bars {
    /// What is shown.
    pub title: String,
    /// Its unit; empty for none.
    pub unit: String,
    /// Names and values; no bar where a value is missing.
    pub bars: Vec<(String, Option<f64>)>,
    /// The end of the scale, where it does not follow from the values, such as 1 for scores.
    pub full: Option<f64>,
    /// Decimals of the numbers beside the bars.
    pub decimals: usize,
}

impl Bars {
    /// The chart's HTML.
    #[must_use]
    pub fn html(&self) -> String {
        let values = || self.bars.iter().filter_map(|(_, value)| *value).filter(|value| value.is_finite());
        let high = self.full.unwrap_or_else(|| values().fold(0.0, f64::max));
        let low = values().fold(0.0, f64::min);
        let span = if high - low > 0.0 { high - low } else { 1.0 };
        let x = |value: f64| LEFT + (value - low) / span * (WIDTH - LEFT - RIGHT);
        let bottom = PITCH * self.bars.len() as f64 + 6.0;
        let height = bottom + 24.0;
        let unit = if self.unit.is_empty() { String::new() } else { format!(" ({})", self.unit) };
        let words = format!("{}{unit}", self.title);
        let mut svg = format!(
            "<figure class=\"bars\" tabindex=\"0\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}: {}\">\n",
            escape(&words),
            escape(&self.in_words())
        );
        let step = tick_step(span);
        let mut tick = (low / step).ceil() * step;
        // Writing to a string cannot fail.
        while tick <= low + span + step * 1e-6 {
            let at = x(tick);
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} 0V{bottom:.1}\" class=\"track\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                tick_label(tick, step)
            );
            tick += step;
        }
        for (number, (name, value)) in self.bars.iter().enumerate() {
            let top = PITCH * number as f64 + 6.0;
            let name: String = if name.chars().count() > LABEL {
                name.chars().take(LABEL - 1).chain(['\u{2026}']).collect()
            } else {
                name.clone()
            };
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                top + 13.0,
                escape(&name)
            );
            let Some(value) = value.filter(|value| value.is_finite()) else {
                let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">\u{2013}</text>", x(0.0) + 6.0, top + 13.0);
                continue;
            };
            let (from, to) = (x(value.min(0.0)), x(value.max(0.0)));
            let class = if value < 0.0 { "bar negative" } else { "bar" };
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                to - from,
                to + 6.0,
                top + 13.0,
                fixed(value, self.decimals)
            );
        }
        let _ = write!(svg, "<path d=\"M{0:.1} 0V{bottom:.1}\" class=\"axis\"/></svg>", x(0.0));
        let _ = write!(svg, "<figcaption>{}</figcaption></figure>", escape(&words));
        svg
    }

    /// The values for who does not see them.
    fn in_words(&self) -> String {
        let one = |(name, value): &(String, Option<f64>)| match value {
            Some(value) => format!("{name} {}", fixed(*value, self.decimals)),
            None => format!("{name} unknown"),
        };
        self.bars.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_both_signs() {
        let bars = vec![("lost".into(), Some(-2.0)), ("gained".into(), Some(1.0)), ("unknown".into(), None)];
        let html = Bars { title: "Change".into(), unit: "km²".into(), bars, full: None, decimals: 1 }.html();
        // Two thirds of the span lie left of 0.
        let zero = LEFT + (WIDTH - LEFT - RIGHT) * 2.0 / 3.0;
        assert!(html.contains(&format!("class=\"bar negative\" x=\"{LEFT:.1}\"")), "{html}");
        assert!(html.contains(&format!("class=\"bar\" x=\"{zero:.1}\"")), "{html}");
        assert!(html.contains("lost -2.0, gained 1.0, unknown unknown"));
        for bars in [vec![], vec![("flat".to_owned(), Some(0.0))], vec![("nan".to_owned(), Some(f64::NAN))]] {
            let html = Bars { bars, ..Bars::default() }.html();
            assert!(!html.contains("=\"NaN") && !html.contains("inf"), "{html}");
        }
    }
}
